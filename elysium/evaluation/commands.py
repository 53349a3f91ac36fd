"""`elysium evaluate …`."""

from __future__ import annotations

from pathlib import Path

import click

from elysium.cli import print_json
from elysium.pipeline.commands import json_option, set_option

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
    Example:
      elysium evaluate score --format lasot --predictions results/ --ground-truth LaSOT/ --absent absent/
    """
    from elysium.evaluation.scoring import score_folders

    scored = score_folders(predictions, ground_truth, layout, absent, absent_frames)  # type: ignore[arg-type] # choices
    for name, count in scored.short.items():
        click.echo(f"{name}: the last {count} rows are missing and count as no box", err=True)
    result = {
        "auc": round(scored.mean.auc, 3),
        "precision": round(scored.mean.precision, 3),
        "norm_precision": round(scored.mean.norm_precision, 3),
        "sequences": len(scored.sequences),
        "frames": scored.frames,
    }
    if as_json:
        print_json(result)
    else:
        for name, value in result.items():
            click.echo(f"{name:<16}{value:>10}")


@evaluate.command("run")
@click.option("--task", type=click.Choice(["sot", "rsot", "rec", "reg"]), required=True, help="What to measure.")
@click.option(
    "--data", type=_FOLDER, required=True, help="Folder with evaluation.jsonl and its frames, e.g. RUN/snapshot/data."
)
@click.option(
    "--checkpoint", type=_FOLDER, required=True, help="A checkpoint folder, e.g. RUN/checkpoints/finetune/model."
)
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="For metrics.json.")
@set_option
@json_option
def run_command(
    task: str, data: Path, checkpoint: Path, output: Path, overrides: tuple[str, ...], as_json: bool
) -> None:
    r"""Measure a checkpoint on one task, with the baselines beside it; reg is Video-REG.

    \b
    Example:
      elysium evaluate run --task rsot --data runs/x/snapshot/data --checkpoint runs/x/checkpoints/finetune/model \
        --output rsot
    """
    import json

    from elysium.config import load_settings
    from elysium.evaluation.tasks import evaluate_task, load_sets, open_engine
    from elysium.pipeline.workspace import write_atomic

    settings = load_settings("nano", overrides).evaluate
    engine = open_engine(checkpoint, settings)
    wanted = {"reg": "video-reg"}.get(task, task)
    tasks = {}
    for name, records in load_sets(data, settings).items():
        if name.rsplit("-", 1)[0] == wanted:
            tasks[name] = evaluate_task(name, records, data, engine, settings).as_dict()
    write_atomic(output / "metrics.json", json.dumps({"tasks": tasks}, indent=1))
    shown = {name: {"model": entry["model"], "baselines": entry["baselines"]} for name, entry in tasks.items()}
    if as_json:
        print_json({"tasks": shown})
    else:
        for name, entry in shown.items():
            click.echo(f"{name}: model {entry['model']}, baselines {entry['baselines']}")
