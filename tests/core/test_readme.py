"""What README and docs tell people to type exists: every `elysium …` line, its commands, its options."""

import importlib
import re
import shlex
from pathlib import Path

import click
import pytest

from elysium.cli import _COMMANDS

ROOT = Path(__file__).parents[2]


def lines():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for block in re.findall(r"```\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S):
            for line in block.splitlines():
                if line.startswith("elysium "):
                    yield pytest.param(line.split("#")[0].strip(), id=f"{page.name}: {line.split('#')[0].strip()}")


@pytest.mark.parametrize("line", list(lines()))
def test_a_command_of_the_pages_exists_with_its_options(line):
    words = shlex.split(line)[1:]
    module, _, name = _COMMANDS[words.pop(0)][0].partition(":")
    command = getattr(importlib.import_module(module), name)
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    known = {flag for parameter in command.params for flag in parameter.opts}
    given = {word for word in words if word.startswith("--")}
    assert given <= known, f"{command.name} has no {given - known}"


def test_the_pages_hold_commands_at_all():
    assert len(list(lines())) >= 8


@pytest.mark.parametrize("target", ["run", "test"])
def test_the_two_commands_of_the_readme_are_what_ci_runs(target):
    assert f"make {target}\n" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"make {target}\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
