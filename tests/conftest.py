"""The order of the tests: the longest files first, so that no worker is left with one of them alone at the end."""

from pathlib import Path

TESTS = Path(__file__).parent
# Modules of this name in several folders cannot all be looked through for doctests.
collect_ignore = ["conftest.py"]
# Folders whose tests train, or run the whole pipeline.
LONG = ("training", "pipeline", "evaluation", "inference", "ablation")


def pytest_collection_modifyitems(items):
    def place(item):
        folder = item.path.relative_to(TESTS).parts[0] if TESTS in item.path.parents else ""
        return LONG.index(folder) if folder in LONG else len(LONG)

    items.sort(key=place)
