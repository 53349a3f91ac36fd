"""`elysium evaluate …`."""

from __future__ import annotations

from pathlib import Path

import click

from elysium.cli import print_json
from elysium.options import json_option, set_option

_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)


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
    r"""Score any tracker's result files, in percent: one-pass evaluation, mean over sequences.

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
    help="For metrics.json and predictions.jsonl.",
)
@set_option
@json_option
def run_command(
    task: str, data: Path, checkpoint: str, output: Path, overrides: tuple[str, ...], as_json: bool
) -> None:
    r"""Measure a checkpoint on one task, with the baselines beside it.

    \b
    Example:
      elysium evaluate run --task rsot --data runs/x/snapshot/data --checkpoint runs/x/checkpoints/finetune/model \
        --output rsot
    """
    import json

    from elysium.config import load_settings
    from elysium.evaluation.tasks import evaluate_task, load_sets, open_engine, prediction_lines
    from elysium.inference.checkpoints import find_checkpoint
    from elysium.pipeline.workspace import write_atomic

    settings = load_settings("nano", overrides)
    wanted = {"reg": "video-reg"}.get(task, task)
    sets = load_sets(data, settings.evaluate, tasks=tuple(f"{wanted}-{kind}" for kind in ("simulated", "real")))
    engine = open_engine(find_checkpoint(checkpoint, Path("runs")), settings.evaluate)
    results = {
        name: evaluate_task(name, records, data, engine, settings.evaluate, settings.seed)
        for name, records in sets.items()
    }
    tasks = {name: result.as_dict() for name, result in results.items()}
    write_atomic(output / "metrics.json", json.dumps({"tasks": tasks}, indent=1))
    write_atomic(
        output / "predictions.jsonl", prediction_lines({name: result.predictions for name, result in results.items()})
    )
    shown = {name: {"model": entry["model"], "baselines": entry["baselines"]} for name, entry in tasks.items()}
    if as_json:
        print_json({"tasks": shown})
    else:
        for name, entry in shown.items():
            click.echo(f"{name}: model {entry['model']}, baselines {entry['baselines']}")
