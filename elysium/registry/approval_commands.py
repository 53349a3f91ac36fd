"""`elysium registry candidate` and `elysium registry approve`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from elysium.cli import print_json
from elysium.errors import UsageError
from elysium.options import json_option, together

if TYPE_CHECKING:
    from elysium.registry.models import Version
    from elysium.registry.store import Store

_options = together(
    click.option(
        "--workspace",
        required=True,
        metavar="URI",
        help="A run: its settings say where the registry is, its model is meant where no VERSION is named.",
    ),
    json_option,
)


@click.command("candidate")
@click.argument("version", metavar="[VERSION]", default="")
@_options
def candidate_command(version: str, workspace: str, as_json: bool) -> None:
    """Show what the policy said of a model, and whether it waits for somebody's approval.

    \b
    Exit codes: 0 it is champion or may become it, 3 the policy refused it.

    Example:
      elysium registry candidate --workspace runs/latest
    """
    from elysium.registry.approval import candidate

    store, found = _open(workspace, version)
    told = candidate(store, found)
    click.echo(told["summary"], err=as_json)
    if as_json:
        print_json(told)


@click.command("approve")
@click.argument("version", metavar="[VERSION]", default="")
@click.option("--by", required=True, metavar="NAME", help="Who approves; written down with the version.")
@_options
def approve_command(version: str, by: str, workspace: str, as_json: bool) -> None:
    """Make a model champion that passed a policy with `approval: manual` and waits for it.

    \b
    Exit codes: 0 it is champion, 3 the policy refused it.

    Example:
      elysium registry approve --workspace runs/latest --by "Ada Lovelace"
    """
    from elysium.registry.approval import approve

    store, found = _open(workspace, version)
    told = approve(store, found, by)
    click.echo(told["summary"], err=as_json)
    if as_json:
        print_json(told)


def _open(workspace: str, version: str) -> tuple[Store, Version]:
    from elysium.pipeline.steps import step
    from elysium.pipeline.workspace import open_workspace
    from elysium.registry.models import find
    from elysium.registry.store import open_store

    row, place = step("promote"), open_workspace(workspace)
    if place.info() is None:
        raise UsageError(f"there is no run in {place.uri}")
    settings = place.adapted(place.settings(), row)
    store = open_store(settings.registry, place.home)
    if not version:
        content = place.read(row, "decision.json")
        if content is None:
            raise UsageError(f"the run in {place.uri} has not asked the policy yet: run its step promote first")
        version = str(json.loads(content)["version"])
    return store, find(store, version)
