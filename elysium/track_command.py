"""`elysium track`; outside of `elysium.inference`, whose import takes seconds."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from elysium.cli import print_json
from elysium.inference_options import (
    Box,
    engine_options,
    read_options,
    source_options,
    take_engine_options,
)
from elysium.options import json_option

if TYPE_CHECKING:
    from elysium.inference.engine import Engine
    from elysium.inference.jobs import Outcome
    from elysium.inference.results import PixelBox
    from elysium.inference.tracks import Target

_FORMATS = click.Choice(["jsonl", "otb", "lasot", "mot", "coco", "mp4", "gif", "webp"])
_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option("--expression", "expressions", multiple=True, metavar="TEXT", help="Follow the object of this name.")
@click.option(
    "--box",
    "boxes",
    type=Box(),
    multiple=True,
    metavar="X1,Y1,X2,Y2[=NAME]",
    help="Follow the object in this box, pixels of the first frame.",
)
@click.option("--output", "outputs", type=_FILE, multiple=True, help="A result file, or a folder for several videos.")
@click.option(
    "--format", "formats", type=_FORMATS, multiple=True, help="Of the outputs, where their suffixes do not tell."
)
@click.option("--resume", is_flag=True, help="Go on where a run with the same arguments was cut off.")
@click.option("--multi", is_flag=True, help="Follow every object that an expression fits, not one.")
@click.option(
    "--max-objects", type=click.IntRange(1), default=8, show_default=True, help="Most objects that --multi follows."
)
@click.option(
    "--absent-below",
    type=float,
    default=None,
    metavar="CONFIDENCE",
    help="Say that an object is absent rather than give a less sure box, and look for it by its name.",
)
@click.option("--zoom", is_flag=True, help="Look a second time at tiny objects, in a crop at full size.")
@click.option(
    "--zoom-below",
    type=float,
    default=0.15,
    show_default=True,
    metavar="SHARE",
    help="Tiny is less than this share of the frame's side.",
)
@click.option("--show-confidence", is_flag=True, help="Write the confidence beside each label that is drawn.")
@click.option(
    "--trails", type=click.IntRange(0), default=30, show_default=True, help="Frames of path drawn behind an object."
)
@source_options
@click.option("--buffer", type=int, default=8, show_default=True, help="Live only: frames that may wait.")
@click.option(
    "--drop/--no-drop", default=None, help="Live only: lose late frames, or hold up the sender [default: pipes wait]."
)
@click.option(
    "--timeout", type=float, default=10.0, show_default=True, help="Live only: seconds without data that end it."
)
@engine_options
@click.option(
    "--clip-frames", type=click.IntRange(2), default=8, show_default=True, help="Frames that are asked about at once."
)
@click.option("--drafts/--no-drafts", default=True, help="Guess boxes from the motion: same results, sooner.")
@click.option(
    "--max-videos", type=click.IntRange(1), default=16, show_default=True, help="Videos that are followed at once."
)
@click.option("--speed-of-light", is_flag=True, help="End with the share of what this machine could do.")
@json_option
def track(
    sources: tuple[str, ...],
    expressions: tuple[str, ...],
    boxes: tuple[tuple[PixelBox, str | None], ...],
    outputs: tuple[Path, ...],
    formats: tuple[str, ...],
    resume: bool,
    multi: bool,
    max_objects: int,
    absent_below: float | None,
    zoom: bool,
    zoom_below: float,
    show_confidence: bool,
    trails: int,
    max_videos: int,
    speed_of_light: bool,
    as_json: bool,
    **others: Any,
) -> int:
    """Follow objects through videos, by name or by box, several at once.

    SOURCE is a video file, a folder of frames, a glob, a URL (http, https, s3), a camera's number, a live stream (rtsp,
    rtmp, srt, udp), `pipe:`, a named pipe, `sample:NAME`, or `-` for a list on standard input: one source a line, or
    JSON objects with source, expressions and boxes.

    Without --output, standard output gets JSON lines: frame, timestamp, object, label, box in pixels, confidence,
    visible. The suffix of --output chooses the format: .jsonl, .json (COCO), .mp4, .gif, .webp; .txt needs --format.

    \b
    Examples:
      elysium track sample:simulated --expression "the large red circle" --output found.mp4
      elysium track clip.mp4 --box 10,20,110,90 --expression "a man" --output a.mp4 --output a.jsonl
      elysium track 'clips/*.mp4' --expression "a dog" --format lasot --output results/
      ffmpeg -i rtsp://camera/1 -c copy -f mpegts - | elysium track pipe: --expression "a person" --multi
    """
    from elysium.inference import jobs, planning
    from elysium.inference.checkpoints import find_checkpoint, open_engine
    from elysium.inference.drawing import DrawOptions
    from elysium.inference.journal import identify
    from elysium.inference.progress import open_progress
    from elysium.inference.sources import expand
    from elysium.inference.tracks import TrackOptions

    specs = [spec for source in sources for spec in expand(source, sys.stdin)]
    run_options = jobs.RunOptions(
        read=read_options(others),
        track=TrackOptions(absent_below, zoom_below if zoom else None, max_objects, max_videos),
        draw=DrawOptions(show_confidence=show_confidence, trails=trails),
        resume=resume,
    )
    planned = planning.plan(specs, _targets(boxes, expressions, multi), outputs, formats)
    engine_options = take_engine_options(others)
    folder = find_checkpoint(engine_options.checkpoint, engine_options.home, engine_options.tracking_uri)
    engine = open_engine(engine_options)
    run_options.facts.update(
        checkpoint=identify(folder),
        clip_frames=engine.clip_frames,
        dtype=str(engine.model.dtype).removeprefix("torch."),
    )
    meter = engine.measure() if speed_of_light else None
    run = jobs.TrackRun(engine, planned, run_options, open_progress(len(planned)))
    begun = time.perf_counter()
    outcomes = run.run()
    seconds = time.perf_counter() - begun
    if run.reader_left:
        # What is still in the buffer has nowhere to go; without this, Python says so when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    summary = _summary(engine, outcomes, run.num_new_frames, seconds)
    if meter is not None and run.num_new_frames:
        from elysium.model.roofline import find_roofline
        from elysium.model.roofline import speed_of_light as line

        summary["speed_of_light"] = line(
            run.num_new_frames, seconds, meter, find_roofline(engine.model.device, engine.model.dtype)
        )
    _tell(summary, outcomes)
    if as_json:
        print_json(summary)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if any(outcome.status == "stopped" for outcome in outcomes):
        return 130
    if len(outcomes) == 1 and failed:
        return getattr(failed[0].error, "exit_code", 1)
    return 1 if failed else 0


def _targets(boxes: Iterable[tuple[PixelBox, str | None]], expressions: Iterable[str], multi: bool) -> list[Target]:
    from elysium.inference.tracks import Target

    targets = [Target(box=box, expression=name) for box, name in boxes]
    return targets + [Target(expression=text, every=multi) for text in expressions]


def _summary(engine: Engine, outcomes: list[Outcome], frames: int, seconds: float) -> dict[str, Any]:
    stats = engine.stats
    return {
        "videos": [outcome.as_json() for outcome in outcomes],
        "frames": frames,
        "seconds": round(seconds, 3),
        "frames_per_second": round(frames / seconds, 3),
        "passes_per_frame": round(stats.passes / frames, 3) if frames else None,
        "guesses_right": round(stats.agreed / stats.guessed, 4) if stats.guessed else None,
    }


def _tell(summary: dict[str, Any], outcomes: list[Outcome]) -> None:
    if summary["frames"]:
        speed = f"{summary['frames_per_second']:.1f} frames/s, {summary['passes_per_frame']:.2f} passes/frame"
        right = summary["guesses_right"]
        guesses = "" if right is None else f", {100 * right:.0f} % of guesses right"
        click.echo(f"{summary['frames']} frames in {summary['seconds']:.1f} s, {speed}{guesses}", err=True)
    if "speed_of_light" in summary:
        click.echo(summary["speed_of_light"], err=True)
    for outcome in outcomes:
        if outcome.status == "failed":
            kept = f" ({outcome.num_frames} frames are kept)" if outcome.num_frames else ""
            click.echo(f"error: {outcome.error}{kept}", err=True)
    stopped = [outcome for outcome in outcomes if outcome.status == "stopped"]
    if stopped:
        again = "" if any(str(output.path) == "-" for output in stopped[0].job.outputs) else "; --resume goes on"
        click.echo(f"stopped after {sum(outcome.num_frames for outcome in stopped)} frames{again}", err=True)
    files = [str(output.path) for outcome in outcomes for output in outcome.job.outputs if str(output.path) != "-"]
    if files:
        click.echo(
            f"results: {', '.join(files[:4])}{f' and {len(files) - 4} more' if len(files) > 4 else ''}", err=True
        )
