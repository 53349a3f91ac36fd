"""`elysium evaluate …`."""

from __future__ import annotations

from pathlib import Path

import click

from elysium.cli import print_json
from elysium.evaluation.score_command import score_command
from elysium.options import json_option, set_option

_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)


@click.group()
def evaluate() -> None:
    """Measure a model, or score any tracker's result files."""


evaluate.add_command(score_command)


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
