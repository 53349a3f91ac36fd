"""`elysium curate …`: ElysiumTrack generation alone, how far it is, and what became of one clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from elysium.cli import print_json
from elysium.errors import ElysiumError
from elysium.options import json_option, set_option


@click.group()
def curate() -> None:
    """Generate expression-track pairs from captioned videos."""


@curate.command("run")
@click.option("--source", required=True, help="`builtin`, a folder, a CSV/JSONL of path-or-URL and caption, or s3://…")
@click.option("--output", required=True, metavar="DIR", help="Where to; a killed run goes on there.")
@click.option("--preset", default="nano", show_default=True, help="Preset that the settings start from.")
@set_option
@json_option
def run_command(source: str, output: str, preset: str, overrides: tuple[str, ...], as_json: bool) -> int:
    """Take clips in from SOURCE and turn them into tracks, without the rest of the pipeline.

    \b
    DIR/raw holds the clips, DIR/tracks the result: train.jsonl, evaluation.jsonl, rejects.jsonl, stats.json, frames/.

    \b
    Examples:
      elysium curate run --source builtin --output tracks
      elysium curate run --source my_videos/ --output tracks --set curate.min_iou=0.5
    """
    import dataclasses

    from elysium.pipeline.execute import run_step
    from elysium.pipeline.steps import step
    from elysium.pipeline.workspace import Workspace

    place = Workspace.at(output)
    existing = place.info()
    settings = place.settings(None if existing else preset, (f"ingest.source={source}", *overrides), keep=True)
    # Without the raw gate: on its own, curation takes every clip that can be read.
    ungated = dataclasses.replace(step("curate"), inputs=("raw",))
    for row in (step("ingest"), ungated):
        outcome = run_step(place, row, settings)
        click.echo(f"{row.name}: {outcome.manifest.summary} ({outcome.manifest.seconds:.1f} s)", err=True)
    if as_json:
        folder = place.folder(ungated)
        print_json({**outcome.manifest.metrics, "folder": str(folder), "stats": _read_stats(folder)})
    return 0


@curate.command("status")
@click.argument("folder", metavar="DIR")
@json_option
def status_command(folder: str, as_json: bool) -> None:
    """Show how far curation in DIR is, or what it gave.

    \b
    DIR is the output of `elysium curate run`, or any run's workspace.

    Example:
      elysium curate status runs/latest
    """
    from elysium.curation.report import format_status, read_status

    status = read_status(Path(folder))
    click.echo(format_status(status), err=as_json)
    if as_json:
        print_json(status)


@curate.command("explain")
@click.argument("folder", metavar="DIR")
@click.argument("video", metavar="VIDEO")
@json_option
def explain_command(folder: str, video: str, as_json: bool) -> None:
    """Tell what became of the clip VIDEO (its id) in DIR: each noun chunk's way through the stages.

    \b
    Example:
      elysium curate explain runs/latest carphone
    """
    from elysium.curation.report import explain, format_explanation

    explanation = explain(Path(folder), video)
    click.echo(format_explanation(explanation), err=as_json)
    if as_json:
        print_json(explanation)


def _read_stats(folder: Path) -> dict[str, Any]:
    import json

    path = folder / "stats.json"
    if not path.is_file():
        raise ElysiumError(f"{path} does not exist; run `elysium curate run` first")
    stats: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return stats
