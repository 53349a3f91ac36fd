"""Reads what images are made from, and finds out what a step needs installed."""

import ast
import functools
import re
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DOCKERFILES = {path.suffix[1:]: path for path in sorted((ROOT / "components").glob("Dockerfile.*"))}
ROLES = ("orchestrator", "trainer", "curator")


def instructions(path):
    """Returns the stages of a Dockerfile, each a list of (instruction, its text with continued lines joined)."""
    text = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    found = [tuple(line.split(maxsplit=1)) for line in lines]
    stages = [[]]
    for name, rest in found:
        if name == "FROM":
            stages.append([])
        stages[-1].append((name, " ".join(rest.split())))
    return stages


def extras(role):
    """Returns the extras that a role's Dockerfile installs by default."""
    (named,) = re.findall(r'^ARG EXTRAS="([^"]*)"$', DOCKERFILES[role].read_text(), re.MULTILINE)
    return named.split(",")


def closure(requirements):
    """Returns the names of the distributions that requirements bring, by what is installed here."""
    found, todo = set(), [Requirement(text) for text in requirements]
    seen = set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            found.add(name)
            try:
                needs = [Requirement(text) for text in requires(name) or ()]
            except PackageNotFoundError:
                continue  # of another platform
            todo += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]
    return found


def step_imports(row):
    """Returns distribution → module of elysium, for all that a step may import, in functions too.

    What stands in a `try` that survives its absence is not needed, nor is what only types name.
    """
    todo = [row.function.partition(":")[0], *([row.outside] if row.outside else [])]
    seen, found = set(), {}
    while todo:
        module = todo.pop()
        if module in seen or _file(module) is None:
            continue
        seen.add(module)
        for name in _imports(module):
            top = name.partition(".")[0]
            if top == "elysium":
                parts = name.split(".")
                todo += [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
            elif top not in sys.stdlib_module_names:
                found.setdefault(top, module)
    distributions = _distributions()
    return {frozenset(map(canonicalize_name, distributions[top])): (top, module) for top, module in found.items()}


@functools.cache
def _distributions():
    return packages_distributions()


def _file(module):
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


@functools.cache
def _imports(module):
    found = set()
    todo = [ast.parse(_file(module).read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            todo += node.orelse
        elif isinstance(node, ast.Try) and any(
            "ImportError" in ast.dump(each.type) for each in node.handlers if each.type
        ):
            todo += [*node.handlers, *node.orelse, *node.finalbody]
        else:
            todo += ast.iter_child_nodes(node)
    return found
