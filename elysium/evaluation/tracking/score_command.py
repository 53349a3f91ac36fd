"""`elysium evaluate score`: figures of any tracker's result files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from elysium.cli import print_json
from elysium.errors import UsageError
from elysium.evaluation.run_options import read_names
from elysium.options import json_option, together

if TYPE_CHECKING:
    from elysium.evaluation.scoring import ScoredSequences

_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
_PLACE = click.Path(path_type=Path, exists=True)
# `--attributes` without a folder.
_OF_THE_SET = "(the set's)"

_what = together(
    click.option(
        "--format", "layout", type=click.Choice(["lasot", "otb"]), help="Layout of the files; not with --dataset."
    ),
    click.option(
        "--predictions", type=_PLACE, required=True, help="One text file a sequence, x,y,w,h a line; or a zip."
    ),
    click.option("--ground-truth", type=_PLACE, help="The same, or the set's own folders."),
    click.option("--absent", type=_FOLDER, help="Absence flags, one text file a sequence, 0 or 1 a frame."),
    click.option(
        "--absent-frames",
        type=click.Choice(["miss", "drop", "ordinary"]),
        default="miss",
        show_default=True,
        help="Absent frames are failures (the LaSOT toolkit's way), left out, or frames like all others.",
    ),
    click.option(
        "--dataset",
        metavar="NAME",
        help="The published set that --ground-truth holds, instead of --format: lasot, lasot_ext, uav123, uav20l, otb, "
        "got10k, trackingnet, nfs, tnl2k, elysiumtrack; or auto. It brings its own protocol, flags and attributes.",
    ),
    click.option("--split", help="Of the --dataset, e.g. val of got10k or 2013 of otb."),
    click.option("--only", metavar="NAMES", help="Score these sequences alone: a,b,c or @FILE with one a line."),
)
_how = together(
    click.option(
        "--protocol",
        type=click.Choice(["one-pass", "toolkit", "got10k", "trackingnet", "release"]),
        help="How to measure; one-pass, or what the --dataset is published by. release explains old figures only.",
    ),
    click.option(
        "--units",
        type=click.Choice(["pixels", "normalised", "percent", "thousandths"]),
        help="What the results' numbers are; shares of the frame are of 1, 100 or 1000. Pixels, and checked to be.",
    ),
    click.option(
        "--boxes", type=click.Choice(["xywh", "xyxy"]), help="What a row of results is. xywh, and checked to be."
    ),
    click.option(
        "--one-based/--zero-based",
        "one_based",
        default=None,
        help="From where the results count pixels; as the truth does, with a word where they seem not to.",
    ),
    click.option(
        "--lengths",
        type=click.Choice(["exact", "short", "any"]),
        help="Results have a row for each frame; may end early, which counts as no box; or may also go on after the "
        "last frame. exact, but short for OTB.",
    ),
    click.option(
        "--invalid",
        type=click.Choice(["refuse", "miss"]),
        default="refuse",
        show_default=True,
        help="Rows that are no box by mistake (infinite, partly NaN, of negative size) are refused, or failures.",
    ),
    click.option("--frame-size", metavar="WxH", help="Of all frames, for --units where the set does not say."),
)
_out = together(
    click.option(
        "--attributes",
        is_flag=False,
        flag_value=_OF_THE_SET,
        metavar="[DIR]",
        help="Also figures by attribute; DIR has a file of flags a sequence, as LaSOT's toolkit in annos/att.",
    ),
    click.option("--curves", type=click.Path(path_type=Path, dir_okay=False), help="Write the curves, .json or .csv."),
    click.option(
        "--output",
        type=click.Path(path_type=Path, file_okay=False),
        help="Write scores.json, sequences.csv and attributes.csv there.",
    ),
    json_option,
)


@click.command("score")
@_what
@_how
@_out
def score_command(**given: Any) -> None:
    """Score any tracker's result files, in percent: one-pass evaluation, mean over sequences.

    \b
    Standard output is one JSON object: auc, precision, norm_precision, sequences, frames. --dataset, --protocol,
    --only and --attributes add to it what they say; GOT-10k's figures are ao, sr50, sr75. Numbers of a row may be
    parted by commas, tabs, blanks or semicolons. Rows of NaN or of zeros are frames without a box: failures.

    \b
    Examples:
      elysium evaluate score --format lasot --predictions results/ --ground-truth LaSOT/ --absent absent/
      elysium evaluate score --dataset got10k --predictions results/ --ground-truth GOT-10k/ --output figures/
    """
    if given["protocol"] == "release" and given["ground_truth"] is None:
        _score_answers(given["predictions"])
        return
    if given["ground_truth"] is None:
        raise UsageError("--ground-truth is needed: a folder with the truth of each sequence")
    if (given["layout"] is None) == (given["dataset"] is None):
        raise UsageError("one of --format (lasot or otb) and --dataset (the name of a published set) is needed")
    scored, summary = _score(given)
    _tell(scored)
    if given["attributes"]:
        from elysium.evaluation.tracking.tables import attribute_rows

        summary["attributes"] = attribute_rows(scored.protocol, scored.by_attribute())
    _write(scored, summary, given)
    if not given["as_json"]:
        _show(summary)
    print_json(summary)


def _score(given: dict[str, Any]) -> tuple[ScoredSequences, dict[str, Any]]:
    """Returns the figures, and what is shown of them."""
    from elysium.evaluation.scoring import score_folders, score_set
    from elysium.evaluation.tracking.opening import open_tracking_set
    from elysium.evaluation.tracking.tables import figures

    reading, only = _reading(given), list(read_names([given["only"]])) if given["only"] else None
    folder = None if given["attributes"] in (None, _OF_THE_SET) else Path(given["attributes"])
    if given["dataset"]:
        if given["absent"]:
            raise UsageError("--absent is for --format: a --dataset brings its own flags")
        opened = open_tracking_set(
            None if given["dataset"] == "auto" else given["dataset"],
            given["ground_truth"],
            given["split"],
            only=only,
            images=False,
            attributes=folder,
        )
        scored = score_set(
            opened, given["predictions"], given["absent_frames"], protocol=given["protocol"], reading=reading
        )
        about = {"dataset": opened.name, "split": opened.split, "protocol": scored.protocol.name}
        usual = scored.protocol.name == opened.protocol and given["absent_frames"] == "miss"
        click.echo(f"{opened.label}, {scored.protocol.name}" + f": {opened.scored}" * usual, err=True)
    else:
        if given["split"]:
            raise UsageError("--split is for --dataset")
        scored = score_folders(
            given["predictions"],
            given["ground_truth"],
            given["layout"],
            given["absent"],
            given["absent_frames"],
            protocol=given["protocol"] or "one-pass",
            reading=reading,
            attributes=folder,
            only=only,
        )
        about = {"protocol": scored.protocol.name} if given["protocol"] else {}
    summary = {
        **figures(scored.protocol, scored.mean),
        "sequences": len(scored.sequences),
        "frames": scored.frames,
        **about,
    }
    if only is not None:
        summary["left_out"] = len(scored.left_out)
    for count in ("num_clips", "num_dropped"):
        if hasattr(scored.mean, count):
            summary[count] = getattr(scored.mean, count)
    return scored, summary


def _score_answers(place: Path) -> None:
    """Shows the release's figures of what its own script wrote."""
    from elysium.evaluation.tracking.protocols import PROTOCOLS
    from elysium.evaluation.tracking.release import score_release_answers
    from elysium.evaluation.tracking.tables import figures

    files = [place] if place.is_file() else sorted({*place.glob("*.jsonl"), *place.glob("*.json")})
    if not files:
        raise UsageError(
            f"{place} holds no .json or .jsonl file of the release's answers, and --ground-truth is not given"
        )
    lines = (line for file in files for line in file.read_text(encoding="utf-8").splitlines())
    score = score_release_answers(lines)
    print_json(
        {
            **figures(PROTOCOLS["release"], score),
            "protocol": "release",
            "num_clips": score.num_clips,
            "num_dropped": score.num_dropped,
        }
    )


def _reading(given: dict[str, Any]) -> Any:
    from elysium.evaluation.tracking.reading import Reading

    size = None
    if given["frame_size"]:
        width, mark, height = given["frame_size"].lower().partition("x")
        if not mark or not width.isdigit() or not height.isdigit() or not int(width) * int(height):
            raise UsageError(f"--frame-size is WIDTHxHEIGHT in pixels, e.g. 1280x720, got {given['frame_size']!r}")
        size = int(width), int(height)
    return Reading(
        units=given["units"],
        boxes=given["boxes"],
        origin=None if given["one_based"] is None else int(given["one_based"]),  # type: ignore[arg-type] # 0 or 1
        lengths=given["lengths"],
        invalid=given["invalid"],
        frame_size=size,
    )


def _tell(scored: ScoredSequences) -> None:
    for name, count in scored.short.items():
        click.echo(f"{name}: the last {count} rows are missing and count as no box", err=True)
    for note in scored.notes:
        click.echo(note, err=True)
    if scored.unused:
        names = ", ".join(scored.unused[:5]) + (" …" if len(scored.unused) > 5 else "")
        click.echo(f"{len(scored.unused)} result files have no ground truth and are left out: {names}", err=True)
    if scored.left_out:
        click.echo(
            f"{len(scored.left_out)} sequences were not asked for: the figures are of a part of the set", err=True
        )


def _write(scored: ScoredSequences, summary: dict[str, Any], given: dict[str, Any]) -> None:
    from elysium.evaluation.tracking.tables import write_curves, write_scores

    if given["curves"]:
        write_curves(given["curves"], scored)
    if given["output"]:
        write_scores(given["output"], scored, summary)


def _show(summary: dict[str, Any]) -> None:
    for name, value in summary.items():
        if not isinstance(value, dict):
            click.echo(f"{name:<16}{value:>10}", err=True)
    for name, entry in summary.get("attributes", {}).items():
        row = "".join(f"{value:>10}" for value in entry.values())
        click.echo(f"{name:<16}{row}", err=True)
