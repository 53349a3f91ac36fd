"""Gathers the wheels of one layer of an image: what is needed beyond what is installed already.

    /opt/elysium/bin/python wheelhouse.py --into /wheels --extras train,registry

Runs in a build stage, in the environment that the wheels are for, with the standard library and the pip of the Python
that the environment was made from. Which index pip asks is pip's own configuration.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

_OWN_EXTRAS = re.compile(r"^elysium\[(?P<extras>[^]]+)\]$")


def requirements(project: Path, extras: Iterable[str]) -> list[str]:
    """Returns what the core and the extras ask for, sorted; extras that name extras are followed.

    Args:
        project: `pyproject.toml`.
        extras: Their names; none gives the core alone.

    Raises:
        KeyError: If there is no extra of that name.
    """
    table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    found = set(table["dependencies"])
    for extra in extras:
        found |= set(_followed(table["optional-dependencies"], extra))
    return sorted(found)


def _followed(table: dict[str, list[str]], extra: str) -> Iterator[str]:
    for requirement in table[extra]:
        own = _OWN_EXTRAS.match(requirement)
        if own is None:
            yield requirement
            continue
        for name in own["extras"].split(","):
            yield from _followed(table, name.strip())


def gather(wanted: list[str], constraints: Path, into: Path) -> list[str]:
    """Puts a wheel of every distribution that `wanted` still needs into a folder; sdists are built.

    Args:
        wanted: Requirements; what is installed already is not gathered again.
        constraints: Pins every one of them, and what they need.
        into: Folder of wheels; those that lie there already (built with options of their own) are taken from there.

    Returns:
        `name==version` of each, sorted.
    """
    into.mkdir(parents=True, exist_ok=True)
    base = str(Path(sys.base_prefix) / "bin" / "python3")
    pip = [base, "-m", "pip", "--python", sys.executable, "--disable-pip-version-check"]
    options = ["--quiet", "--no-cache-dir", "--find-links", str(into)]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        limits = ["--constraint", str(constraints)]
        resolve = [*pip, "install", *options, *limits, "--dry-run", "--report", str(report), *wanted]
        subprocess.run(resolve, check=True)
        items = json.loads(report.read_text(encoding="utf-8"))["install"]
    pins = sorted(f"{item['metadata']['name']}=={item['metadata']['version']}" for item in items)
    if pins:
        subprocess.run([*pip, "wheel", *options, "--no-deps", "--wheel-dir", str(into), *pins], check=True)
    return pins


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, required=True, help="folder of wheels")
    parser.add_argument("--project", type=Path, default=Path("pyproject.toml"))
    parser.add_argument("--constraints", type=Path, default=Path("constraints.txt"))
    parser.add_argument("--extras", default="", help="of the project, with commas between")
    parser.add_argument("only", nargs="*", help="requirements to gather instead of the project's")
    arguments = parser.parse_args()
    extras = [name.strip() for name in arguments.extras.split(",") if name.strip()]
    wanted = arguments.only or requirements(arguments.project, extras)
    for pin in gather(wanted, arguments.constraints, arguments.into):
        print(pin)


if __name__ == "__main__":
    main()
