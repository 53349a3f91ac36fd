"""`elysium train …`."""

from __future__ import annotations

from pathlib import Path

import click

from elysium.cli import print_json
from elysium.config import PHASES
from elysium.errors import UsageError
from elysium.options import json_option, set_option


@click.group()
def train() -> None:
    """Train one phase by itself, or plan it."""


@train.command("run")
@click.argument("recipe", type=click.Choice(PHASES), metavar="RECIPE")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    required=True,
    help="Folder with train.jsonl and its frames, e.g. RUN/snapshot/data.",
)
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="For model/ and the curve."
)
@click.option("--from", "init_from", default=None, metavar="CHECKPOINT", help="A checkpoint folder to start from.")
@click.option("--resume", is_flag=True, help="Go on with what an earlier run left in --output.")
@click.option("--preset", default="nano", show_default=True, help="Preset, or a YAML file.")
@set_option
@json_option
def run_command(
    recipe: str,
    data: Path,
    output: Path,
    init_from: str | None,
    resume: bool,
    preset: str,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    r"""Train one phase: RECIPE is warmup, pretrain or finetune.

    \b
    Example:
      elysium train run finetune --data runs/x/snapshot/data --from runs/x/checkpoints/pretrain/model --output mine
    """
    from elysium.config import load_settings
    from elysium.training.step import train_folder

    _check_output(output, resume)
    changes = [*overrides, *([f"model.init_from={init_from}"] if init_from else [])]
    history = train_folder(load_settings(preset, changes), recipe, data, output)
    result = {"steps": history[-1]["step"] if history else 0, "loss": history[-1]["loss"] if history else None}
    click.echo(
        f"{recipe}: {result['steps']} steps, loss {result['loss']}; the model is in {output / 'model'}", err=True
    )
    if as_json:
        print_json({**result, "model": str(output / "model")})


@train.command("tower")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="For model/ and the curve."
)
@click.option("--resume", is_flag=True, help="Go on with what an earlier run left in --output.")
@click.option("--preset", default="nano", show_default=True, help="Preset, or a YAML file.")
@set_option
@json_option
def tower_command(output: Path, resume: bool, preset: str, overrides: tuple[str, ...], as_json: bool) -> None:
    r"""Teach a new vision tower what simulated frames show, so that the phases have something to start from.

    It stands in for weights such as CLIP's; name it as model.vision.weights.

    \b
    Example:
      elysium train tower --output tower
      elysium train run warmup --set model.vision.weights=tower/model --data runs/x/snapshot/data --output warm
    """
    from elysium.config import load_settings
    from elysium.training.tower import train_tower

    _check_output(output, resume)
    result = train_tower(load_settings(preset, overrides), output)
    colours, shapes, sizes = (100 * share for share in result.words)
    click.echo(
        f"tower: held-out boxes overlap the truth by {result.mean_iou:.3f}, right colours {colours:.1f} %, shapes "
        f"{shapes:.1f} %, sizes {sizes:.1f} %; the tower is in {output / 'model'}",
        err=True,
    )
    if as_json:
        print_json({"mean_iou": result.mean_iou, "words": result.words, "model": str(output / "model")})


def _check_output(output: Path, resume: bool) -> None:
    if output.exists() and any(output.iterdir()) and not resume:
        raise UsageError(f"{output} is not empty; name another folder, or go on with it by --resume")


@train.command("plan")
@click.argument("recipe", type=click.Choice(PHASES), metavar="RECIPE")
@click.option("--gpus", type=click.IntRange(1), default=1, show_default=True, help="How many share the batch.")
@click.option("--preset", default="nano", show_default=True, help="Preset, or a YAML file.")
@set_option
@json_option
def plan_command(recipe: str, gpus: int, preset: str, overrides: tuple[str, ...], as_json: bool) -> None:
    r"""Say what a phase asks for, before anything starts: parameters, tokens a step, memory a GPU.

    \b
    Example:
      elysium train plan finetune --gpus 8
    """
    from elysium.config import load_settings
    from elysium.training.plan import plan_phase

    plan = plan_phase(load_settings(preset, overrides), recipe, gpus)
    if as_json:
        print_json(plan)
    else:
        for name, value in plan.items():
            click.echo(f"{name.replace('_', ' '):<28}{value:>18,}")
