"""`elysium registry …`: which model versions there are, and which one is champion."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from elysium.cli import print_json
from elysium.config import Settings, load_settings
from elysium.errors import UsageError
from elysium.options import home_option, json_option, set_option, together, tracking_uri_option
from elysium.registry.approval_commands import approve_command, candidate_command

if TYPE_CHECKING:
    from elysium.registry.models import Version
    from elysium.registry.store import Store

_options = together(home_option, tracking_uri_option, set_option, json_option)


@click.group()
def registry() -> None:
    """List, show, approve, promote and roll back models."""


registry.add_command(candidate_command)
registry.add_command(approve_command)


@registry.command("list")
@_options
def list_command(home: Path, tracking_uri: str | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """List the versions of the model, the newest first.

    \b
    Example:
      elysium registry list --home runs
    """
    from elysium.registry.models import history, versions

    store = _open(home, tracking_uri, overrides)
    known = list(reversed(versions(store)))
    if as_json:
        print_json({"model": store.model_name, "versions": [_plain(v) for v in known], "champions": history(store)})
        return
    if not known:
        click.echo(f"the model {store.model_name!r} has no version yet")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Model {store.model_name}", title_justify="left")
    for column in ("version", "alias", "decision", "run", "data", "made (UTC)"):
        table.add_column(column, overflow="fold")
    for version in known:
        plain = _plain(version)
        table.add_row(
            version.version,
            ", ".join(version.aliases),
            plain["decision"] or "–",
            plain["run"] or "–",
            (plain["data_hash"] or "–")[:12],
            plain["created"],
        )
    Console(highlight=False).print(table)


@registry.command("show")
@click.argument("version", metavar="VERSION")
@_options
def show_command(version: str, home: Path, tracking_uri: str | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """Show one version, by number or alias: where it came from, its figures and why it was promoted or not.

    \b
    Example:
      elysium registry show champion
    """
    from elysium.registry.models import find, stored_metrics

    store = _open(home, tracking_uri, overrides)
    found = find(store, version)
    if as_json:
        tasks = stored_metrics(store, found, home).get("tasks", {})
        metrics = {name: task["model"] for name, task in tasks.items()}
        print_json({**_plain(found), "metrics": metrics, "source": found.source, "tags": found.tags})
        return
    for name, value in _plain(found).items():
        click.echo(f"{name + ':':<16} {', '.join(value) if isinstance(value, list) else value}")
    for name, value in sorted(found.tags.items()):
        if name.startswith("elysium.check."):
            click.echo(f"  {value}")
    click.echo(f"\n{found.description}")


@registry.command("promote")
@click.argument("version", metavar="VERSION")
@_options
def promote_command(
    version: str, home: Path, tracking_uri: str | None, overrides: tuple[str, ...], as_json: bool
) -> None:
    """Make VERSION champion by hand, whatever the policy said; `rollback` takes it back.

    \b
    Example:
      elysium registry promote 3
    """
    from elysium.registry.models import CHAMPION, aliases, find, make_champion

    store = _open(home, tracking_uri, overrides)
    number = find(store, version).version
    before = aliases(store).get(CHAMPION)
    if before != number:
        make_champion(store, number)
        store.client.set_model_version_tag(store.model_name, number, "elysium.decision", "promoted by hand")
        store.client.set_model_version_tag(store.model_name, number, "elysium.champion_before", before or "none")
    _tell(f"version {number} is champion (before: {before or 'none'})", number, before, as_json)


@registry.command("rollback")
@_options
def rollback_command(home: Path, tracking_uri: str | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """Make the champion before the current one champion again; can be repeated.

    \b
    Example:
      elysium registry rollback
    """
    from elysium.registry.models import roll_back

    store = _open(home, tracking_uri, overrides)
    left, taken = roll_back(store)
    store.client.set_model_version_tag(store.model_name, left, "elysium.decision", "rolled back")
    _tell(f"version {taken} is champion again (before: {left})", taken, left, as_json)


def _open(home: Path, tracking_uri: str | None, overrides: tuple[str, ...]) -> Store:
    settings: Settings = load_settings("nano", overrides)
    section = settings.registry.model_copy(update={"tracking_uri": tracking_uri} if tracking_uri else {})
    if section.tracking_uri is None and not (home / "mlflow" / "mlflow.db").is_file():
        raise UsageError(
            f"there is no registry in {home.resolve()} (no mlflow/mlflow.db); name the runs' folder with --home, "
            "or a server with --tracking-uri"
        )
    from elysium.registry.store import open_store

    return open_store(section, home)


def _plain(version: Version) -> dict[str, Any]:
    """Returns what commands show of a version, as plain data."""
    tags = version.tags
    created = datetime.datetime.fromtimestamp(version.created / 1000, datetime.UTC)
    return {
        "version": version.version,
        "aliases": list(version.aliases),
        "decision": tags.get("elysium.decision"),
        "summary": tags.get("elysium.decision_summary"),
        "champion_before": tags.get("elysium.champion_before"),
        "run": tags.get("elysium.run_id"),
        "data_hash": tags.get("elysium.data_hash"),
        "dvc_remote": tags.get("elysium.dvc_remote"),
        "code_version": tags.get("elysium.code_version"),
        "created": created.isoformat(timespec="seconds").removesuffix("+00:00"),
    }


def _tell(text: str, version: str, before: str | None, as_json: bool) -> None:
    click.echo(text, err=as_json)
    if as_json:
        print_json({"champion": version, "champion_before": before})
