"""`elysium evaluate …`."""

from __future__ import annotations

from pathlib import Path

import click

from elysium.cli import print_json
from elysium.evaluation.run_command import run_command
from elysium.options import json_option

_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
_RESULT = click.Path(path_type=Path, exists=True)


@click.group()
def evaluate() -> None:
    """Measure a model, or score any tracker's result files."""


@evaluate.command("score")
@click.option("--format", "layout", type=click.Choice(["lasot", "otb"]), required=True, help="Layout of the files.")
@click.option("--predictions", type=_FOLDER, required=True, help="One text file a sequence, x,y,w,h a line.")
@click.option("--ground-truth", type=_FOLDER, required=True, help="The same, or the set's own folders.")
@click.option("--absent", type=_FOLDER, default=None, help="Absence flags, one text file a sequence, 0 or 1 a frame.")
@click.option(
    "--absent-frames",
    type=click.Choice(["miss", "drop", "ordinary"]),
    default="miss",
    show_default=True,
    help="Absent frames are failures (the LaSOT toolkit's way), left out, or frames like all others.",
)
@json_option
def score_command(
    layout: str, predictions: Path, ground_truth: Path, absent: Path | None, absent_frames: str, as_json: bool
) -> None:
    """Score any tracker's result files, in percent: one-pass evaluation, mean over sequences.

    \b
    Standard output is one JSON object: auc, precision, norm_precision, sequences, frames. Numbers of a row may be
    parted by commas, tabs, blanks or semicolons.

    \b
    Example:
      elysium evaluate score --format lasot --predictions results/ --ground-truth LaSOT/ --absent absent/
    """
    from elysium.evaluation.scoring import score_folders

    scored = score_folders(predictions, ground_truth, layout, absent, absent_frames)  # type: ignore[arg-type] # choices
    for name, count in scored.short.items():
        click.echo(f"{name}: the last {count} rows are missing and count as no box", err=True)
    if scored.unused:
        names = ", ".join(scored.unused[:5]) + (" …" if len(scored.unused) > 5 else "")
        click.echo(f"{len(scored.unused)} result files have no ground truth and are left out: {names}", err=True)
    result = {
        "auc": round(scored.mean.auc, 3),
        "precision": round(scored.mean.precision, 3),
        "norm_precision": round(scored.mean.norm_precision, 3),
        "sequences": len(scored.sequences),
        "frames": scored.frames,
    }
    if not as_json:
        for name, value in result.items():
            click.echo(f"{name:<16}{value:>10}", err=True)
    print_json(result)


@evaluate.command("compare")
@click.argument("first", metavar="A", type=_RESULT)
@click.argument("second", metavar="B", type=_RESULT)
@click.option("--common", is_flag=True, help="Compare on the items that both were measured on, where they differ.")
@click.option("--samples", type=click.IntRange(100), default=2000, show_default=True, help="Bootstrap resamples.")
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True, help="Of the resampling.")
@json_option
def compare_command(first: Path, second: Path, common: bool, samples: int, seed: int, as_json: bool) -> None:
    """Say whether model A is better or worse than model B, or one cannot tell.

    A and B are what `elysium evaluate run` or the step `evaluate` wrote: the folder, or its metrics.json. Sequences
    are compared one by one; those of one video count as one. The promotion policy decides by the same rule.

    \b
    Example:
      elysium evaluate compare runs/new/evaluation runs/old/evaluation
    """
    from elysium.evaluation.compare import compare_evaluations
    from elysium.evaluation.results import read_evaluation

    found = compare_evaluations(
        read_evaluation(first), read_evaluation(second), samples=samples, seed=seed, common=common
    )
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    for row in found.rows:
        of = row.comparison
        click.echo(
            f"{row.task} {row.metric}: {row.first:.2f} against {row.second:.2f}, {of.difference:+.2f} "
            f"(95 % between {of.low:+.2f} and {of.high:+.2f}), p {row.corrected_p:.3f}, {of.num_items} items of "
            f"{of.num_videos} videos: {of.says}{' *' if row.decides else ''}",
            err=as_json,
        )
    click.echo(
        f"A is {found.says}: {found.reason}" if found.says != "cannot tell" else f"cannot tell: {found.reason}",
        err=as_json,
    )
    if as_json:
        print_json(found.as_json())


evaluate.add_command(run_command)
