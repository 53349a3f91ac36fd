"""`elysium curate …`: ElysiumTrack generation alone, how far it is, what became of one video, and a stage again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from elysium.cli import print_json
from elysium.curation.dataset.review_command import review_command
from elysium.curation.plan_command import plan_command
from elysium.errors import UsageError
from elysium.options import ShardOption, json_option, set_option


@click.group()
def curate() -> None:
    """Generate expression-track pairs from captioned videos."""


@curate.command("run")
@click.option("--source", required=True, help="`builtin`, a folder, a CSV/JSONL of path-or-URL and caption, or s3://…")
@click.option("--output", required=True, metavar="DIR", help="Where to; a killed run goes on there.")
@click.option("--preset", default="nano", show_default=True, help="Preset that the settings start from.")
@click.option("--engine", type=click.Choice(["local", "ray"]), help="What carries it out; engine.name by default.")
@click.option("--address", metavar="ADDR", help="Of a Ray cluster; without one Ray is started on this machine.")
@click.option(
    "--shard",
    "share",
    type=ShardOption(),
    metavar="INDEX/COUNT",
    help="Do one machine's part, from 0/COUNT on: every shard whose number leaves INDEX when divided by COUNT.",
)
@click.option("--retry-failed", is_flag=True, help="Fetch again what could not be fetched.")
@click.option(
    "--dry-run", "num_tried", type=click.IntRange(1), metavar="N", help="Try the first N videos, and estimate."
)
@click.option("--price", type=click.FloatRange(0), metavar="X", help="Of one machine-hour, for the estimate.")
@set_option
@json_option
def run_command(
    source: str,
    output: str,
    preset: str,
    engine: str | None,
    address: str | None,
    share: tuple[int, int] | None,
    retry_failed: bool,
    num_tried: int | None,
    price: float | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> int:
    """Turn the videos of SOURCE into tracks, without the rest of the pipeline.

    \b
    DIR/tracks holds the result: train.jsonl, evaluation.jsonl, rejects.jsonl, stats.json, the frames, a card and a
    contact sheet, and in shards/ one outcome for every video. The same command goes on where a killed one was.

    \b
    Examples:
      elysium curate run --source builtin --output tracks
      elysium curate run --source my_videos/ --output tracks --set curate.min_iou=0.5
      elysium curate run --source s3://bucket/videos.csv --output /data/tracks --dry-run 100
      elysium curate run --source s3://bucket/videos.csv --output /data/tracks --engine ray --address auto
      elysium curate run --source s3://bucket/videos.csv --output /data/tracks --shard $INDEX/8
    """
    from elysium.config import load_settings
    from elysium.curation.running import estimate, format_estimate, run

    chosen = [f"ingest.source={source}"]
    if engine is not None:
        chosen.append(f"engine.name={engine}")
    if address is not None:
        if engine == "local":
            raise UsageError("--address names a Ray cluster; give --engine ray")
        chosen += ["engine.name=ray", f"engine.address={address}"]
    settings = load_settings(preset, (*chosen, *overrides))
    root = Path(output) / "tracks"
    if num_tried is not None:
        tried = estimate(root, settings, num_tried, price)
        click.echo(format_estimate(tried), err=as_json)
        if as_json:
            print_json(tried)
        return 0
    stats = run(root, settings, share or (0, 1), retry_failed=retry_failed)
    if stats is None:
        click.echo(f"this part is done; others are not: see `elysium curate status {output}`", err=True)
    else:
        kept = stats["records"]["by_split"]
        counts = f"{kept.get('train', 0)} train and {kept.get('evaluation', 0)} evaluation tracks"
        click.echo(f"{counts} out of {stats['num_candidates']} candidates in {stats['num_clips']} videos", err=True)
    if as_json:
        print_json(
            {
                "folder": str(root),
                "clips": stats["num_clips"] if stats else None,
                "train_records": stats["records"]["by_split"].get("train", 0) if stats else None,
                "evaluation_records": stats["records"]["by_split"].get("evaluation", 0) if stats else None,
                "stats": stats,
            }
        )
    return 0


@curate.command("status")
@click.argument("folder", metavar="DIR")
@click.option("--verify", is_flag=True, help="Read everything that is finished again and check its checksums.")
@json_option
def status_command(folder: str, verify: bool, as_json: bool) -> int:
    """Show how far curation in DIR is: progress, rate, time left, rejects by stage, failures by kind.

    \b
    DIR is the output of `elysium curate run`, or any run's workspace.

    Example:
      elysium curate status runs/latest
    """
    from elysium.curation.locating import find_curation
    from elysium.curation.status import format_status, read_status

    status = read_status(Path(folder))
    damaged: list[str] = []
    if verify:
        curation = find_curation(Path(folder))
        for shard in curation.store.published():
            found = curation.store.damage(shard, checksums=True)
            damaged += [found] if found else []
        status["damaged"] = damaged
    click.echo(format_status(status), err=as_json)
    for what in damaged:
        click.echo(f"damaged: {what}", err=True)
    if verify and not damaged:
        click.echo("every finished shard is as it was written", err=True)
    if as_json:
        print_json(status)
    return 1 if damaged else 0


@curate.command("explain")
@click.argument("folder", metavar="DIR")
@click.argument("video", metavar="VIDEO")
@click.option("--picture", type=click.Path(dir_okay=False), metavar="FILE", help="Draw it into a PNG, too.")
@json_option
def explain_command(folder: str, video: str, picture: str | None, as_json: bool) -> None:
    """Tell what became of VIDEO (its id) in DIR: each noun chunk's way through the stages.

    \b
    Examples:
      elysium curate explain runs/latest carphone
      elysium curate explain tracks bikes --picture bikes.png
    """
    from elysium.curation.explain import explain, format_explanation
    from elysium.curation.locating import find_curation
    from elysium.curation.running import draw_video

    curation = find_curation(Path(folder))
    explanation = explain(curation, video)
    if picture is not None:
        draw_video(curation, Path(folder), video, Path(picture))
        explanation["picture"] = picture
    click.echo(format_explanation(explanation), err=as_json)
    if as_json:
        print_json(explanation)


@curate.command("replay")
@click.argument("stage", type=click.Choice(["chunk", "decode", "ground", "track", "filters"]))
@click.argument("folder", metavar="DIR")
@click.option("--video", "videos", multiple=True, metavar="ID", help="Only this video; may be given several times.")
@click.option("--show", default=10, show_default=True, type=click.IntRange(0), help="Changes that are shown.")
@set_option
@json_option
def replay_command(
    stage: Any, folder: str, videos: tuple[str, ...], show: int, overrides: tuple[str, ...], as_json: bool
) -> None:
    """Run one STAGE of the curation in DIR again, alone, on what was stored before it, and tell what changes.

    \b
    chunk    noun chunks and word filters, from the captions
    decode   times of the frames and filters of pieces, from the videos: do boxes and frames line up here?
    ground   detections, on the same frames
    track    tracks, from the same first boxes
    filters  those of candidates, from the stored numbers alone: what would another threshold keep?

    \b
    Examples:
      elysium curate replay filters tracks --set curate.min_iou=0.5
      elysium curate replay track tracks --video bikes --set curate.tracker=sam2
    """
    from elysium.curation.locating import find_curation
    from elysium.curation.replay import replay
    from elysium.curation.running import open_listing, settings_of

    curation = find_curation(Path(folder))
    settings = settings_of(curation, overrides)
    result = replay(curation, stage, settings, open_listing(curation, Path(folder)), videos)
    click.echo(f"{stage}: {result.same} of {result.compared} as they were, {len(result.changes)} changed", err=as_json)
    for note, count in result.notes.items():
        click.echo(f"{note}: {count}", err=as_json)
    for change in result.changes[:show]:
        click.echo(f"  {change['what']}: {_short(change['before'])} -> {_short(change['now'])}", err=as_json)
    if as_json:
        print_json(
            {
                "stage": stage,
                "compared": result.compared,
                "same": result.same,
                "missing": result.missing,
                "changed": len(result.changes),
                "changes": result.changes[:show],
                "notes": dict(result.notes),
            }
        )


curate.add_command(plan_command)
curate.add_command(review_command)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 100 else f"{text[:97]}…"
