"""`elysium evaluate …`."""

from __future__ import annotations

from pathlib import Path

import click

from elysium.cli import print_json
from elysium.options import json_option, set_option

_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
_RESULT = click.Path(path_type=Path, exists=True)


class _Shard(click.ParamType):  # type: ignore[type-arg] # generic only in newer releases
    name = "shard"

    def convert(
        self, value: str | tuple[int, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        index, sign, count = value.partition("/")
        if not (sign and index.isdigit() and count.isdigit() and int(index) < int(count)):
            self.fail(f"{value!r} is no INDEX/COUNT, e.g. 0/4 to 3/4", param, ctx)
        return int(index), int(count)


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


@evaluate.command("run")
@click.option(
    "--task",
    type=click.Choice(["sot", "rsot", "rec", "reg", "video-reg"]),
    required=True,
    help="What to measure; reg is another name of video-reg.",
)
@click.option(
    "--data", type=_FOLDER, required=True, help="Folder with evaluation.jsonl and its frames, e.g. RUN/snapshot/data."
)
@click.option(
    "--checkpoint",
    required=True,
    metavar="CKPT",
    help="A folder, e.g. RUN/checkpoints/finetune/model; nano, which Elysium carries; or models:/NAME@ALIAS in runs/.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="For metrics.json, predictions.jsonl and, item by item as they land, parts/. Named again, a run goes on.",
)
@click.option(
    "--processes",
    type=click.IntRange(1),
    default=None,
    help="Share the items among so many processes [default: one for each GPU].",
)
@click.option(
    "--shard",
    type=_Shard(),
    default=None,
    metavar="INDEX/COUNT",
    help="Measure only this share, for machines that share --output; the same command without it ends the run.",
)
@set_option
@json_option
def run_command(
    task: str,
    data: Path,
    checkpoint: str,
    output: Path,
    processes: int | None,
    shard: tuple[int, int] | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure a checkpoint on one task, with the baselines beside it.

    Every result is on the disk as soon as it is there: run again, a command that was stopped goes on from them.

    \b
    Example:
      elysium evaluate run --task rsot --data runs/x/snapshot/data --checkpoint runs/x/checkpoints/finetune/model \\
        --output rsot
      elysium evaluate run --task sot … --output sot --shard $JOB_COMPLETION_INDEX/8
    """
    from elysium.config import load_settings
    from elysium.evaluation.evaluating import collect, measure_all
    from elysium.evaluation.request import EvaluationRequest, HeldOutRequest
    from elysium.evaluation.results import METRICS_FILE, Evaluation, prediction_lines
    from elysium.evaluation.running import Shard, num_missing
    from elysium.inference.checkpoints import find_checkpoint
    from elysium.pipeline.workspace import write_atomic

    settings = load_settings("nano", (*overrides, *([f"evaluate.processes={processes}"] if processes else ())))
    kind = {"reg": "video-reg"}.get(task, task)
    request = EvaluationRequest(
        checkpoint=find_checkpoint(checkpoint, Path("runs")),
        sets=(HeldOutRequest(data=data, tasks=(f"{kind}-simulated", f"{kind}-real")),),
        settings=settings.evaluate,
        seed=settings.seed,
    )
    parts = output / "parts"
    works = measure_all(request, parts, None if shard is None else Shard(*shard))
    missing = {work.name: num_missing(work, parts / work.name) for work in works}
    if any(missing.values()):
        click.echo(f"this share is measured; of all, {sum(missing.values())} items are still missing", err=True)
        if as_json:
            print_json({"missing": missing})
        return
    found = collect(works, parts, request)
    figures = {name: entry for name, (entry, _) in found.items()}
    Evaluation(tasks=figures, checkpoint=checkpoint).write(output / METRICS_FILE)
    write_atomic(
        output / "predictions.jsonl", prediction_lines({name: list(items) for name, (_, items) in found.items()})
    )
    shown = {name: {"model": entry.model, "baselines": entry.baselines} for name, entry in figures.items()}
    if as_json:
        print_json({"tasks": shown})
    else:
        for name, entry in figures.items():
            click.echo(f"{name}: model {entry.model}, baselines {entry.baselines}")


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
