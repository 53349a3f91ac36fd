"""`elysium pipeline …` and `elysium step …`."""

from __future__ import annotations

import click

from elysium.cli import print_json
from elysium.pipeline.steps import STEPS, step
from elysium.pipeline.workspace import Workspace

set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting, e.g. curate.min_iou=0.4."
)
json_option = click.option("--json", "as_json", is_flag=True, help="End with one JSON object on standard output.")


@click.group()
def pipeline() -> None:
    """Run the whole retraining pipeline, or write it for Kubeflow."""


@click.command("step")
@click.argument("name", type=click.Choice([row.name for row in STEPS]), metavar="NAME")
@click.option("--workspace", required=True, metavar="URI", help="The run's folder; made if it is not there.")
@click.option("--preset", default=None, help="Preset of a new run: nano (default), or a YAML file.")
@set_option
@json_option
def step_command(name: str, workspace: str, preset: str | None, overrides: tuple[str, ...], as_json: bool) -> int:
    """Run step NAME of a workspace; a finished step is skipped, a half-finished one goes on.

    \b
    Exit codes: 0 done, 1 failed, 2 bad usage, 3 a quality gate said no.
    Example:
      elysium step curate --workspace runs/first --set curate.min_iou=0.4
    """
    from elysium.pipeline.execute import run_step

    row = step(name)
    place = Workspace.at(workspace)
    outcome = run_step(place, row, place.settings(preset, overrides))
    manifest = outcome.manifest
    verb = "refused" if manifest.status == "refused" else "skipped (finished before)" if outcome.skipped else "done"
    click.echo(f"{name}: {verb} in {manifest.seconds:.1f} s: {manifest.summary}", err=True)
    if as_json:
        shown = manifest.model_dump(mode="json", exclude={"files"})
        print_json({**shown, "skipped": outcome.skipped, "folder": str(place.folder(row))})
    return 3 if manifest.status == "refused" else 0
