"""`elysium evaluate champion`."""

from __future__ import annotations

import click

from elysium.cli import print_json
from elysium.errors import UsageError
from elysium.options import json_option


@click.command("champion")
@click.option("--workspace", required=True, metavar="URI", help="A run with a finished snapshot of fresh data.")
@json_option
def champion_command(workspace: str, as_json: bool) -> None:
    """Measure the champion on fresh data and compare that with the figures that it was promoted with.

    What is compared, and what drop is too much, says the `regression` part of the promotion policy.

    \b
    Exit codes: 0 it holds, or there is no champion yet; 3 it has become worse.

    Example:
      elysium evaluate champion --workspace runs/nightly
    """
    from elysium.evaluation.champion import measure_champion
    from elysium.pipeline.workspace import open_workspace

    place = open_workspace(workspace)
    if place.info() is None:
        raise UsageError(f"there is no run in {place.uri}")
    found = measure_champion(place, place.settings())
    click.echo(found["summary"], err=as_json)
    if as_json:
        print_json(found)
