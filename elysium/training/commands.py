"""`elysium train …`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elysium.cli import print_json
from elysium.config import PHASES
from elysium.errors import UsageError
from elysium.options import gpus_option, home_option, json_option, price_option, set_option

if TYPE_CHECKING:
    from elysium.training.plan import Plan

logger = logging.getLogger(__name__)


@click.group()
def train() -> None:
    """Train one phase by itself, or plan it."""


@train.command("run")
@click.argument("recipe", type=click.Choice(PHASES), metavar="RECIPE")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=None,
    help="Folder with train.jsonl and its frames, e.g. RUN/snapshot/data; not for recipes of imported sets alone.",
)
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="For model/ and the curve."
)
@click.option("--from", "init_from", default=None, metavar="CHECKPOINT", help="A checkpoint folder to start from.")
@click.option("--resume", is_flag=True, help="Go on with what is left in --output or checkpoints.mirror.")
@click.option("--preset", default="nano", show_default=True, help="Preset, or a YAML file.")
@set_option
@json_option
def run_command(
    recipe: str,
    data: Path | None,
    output: Path,
    init_from: str | None,
    resume: bool,
    preset: str,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Train one phase: RECIPE is warmup, pretrain or finetune.

    Started by torchrun, all its processes train one model together; DeepSpeed divides its state if the recipe says so.

    \b
    Examples:
      elysium train run finetune --data runs/x/snapshot/data --from runs/x/checkpoints/pretrain/model --output mine
      torchrun --nproc-per-node 8 -m elysium.cli train run finetune --set training.finetune.zero_stage=2 ...
    """
    from elysium.config import load_settings
    from elysium.training.processes import is_first, together, world_size
    from elysium.training.step import train_folder

    if is_first():
        _check_output(output, resume)
    settings = load_settings(preset, [*overrides, *([f"model.init_from={init_from}"] if init_from else [])])
    with together():
        if settings.training.processes not in ("auto", world_size()):
            logger.warning(
                "training.processes=%s is for the steps of the pipeline; here torchrun says how many, which is %d",
                settings.training.processes, world_size(),
            )  # fmt: skip
        history = train_folder(settings, recipe, data, output, resume=resume)
    if not is_first():
        return
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
    """Teach a new vision tower what simulated frames show, so that the phases have something to start from.

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


@train.command("compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("compared.html"),
    show_default=True,
    help="The page with the charts.",
)
@home_option
@click.option("--preset", default="nano", show_default=True, help="Preset, or a YAML file: where MLflow's store is.")
@set_option
@json_option
def compare_command(
    runs: tuple[str, ...], output: Path, home: Path, preset: str, overrides: tuple[str, ...], as_json: bool
) -> None:
    """Plot training runs together, and say what their recipes do differently.

    A RUN is a folder that a phase was trained into, or the id of an MLflow run.

    \b
    Example:
      elysium train compare mine other runs/x/checkpoints/finetune --output compared.html
    """
    from elysium.config import load_settings
    from elysium.training.compare import differences, read_run, write_page

    settings = load_settings(preset, overrides)
    read = [read_run(run, settings, home) for run in runs]
    write_page(read, output)
    for run in read:
        steps = run.curves["loss"][-1][0]
        click.echo(f"{run.name}: loss {run.last_loss:.4f} over the last tenth of {steps:,.0f} steps", err=as_json)
    differ = differences(read)
    for name, values in differ.items():
        click.echo(f"  {name}: {' | '.join(map(str, values))}", err=as_json)
    click.echo(f"the curves are in {output}", err=True)
    if as_json:
        losses = {run.name: run.last_loss for run in read}
        print_json({"loss": losses, "differences": differ, "page": str(output)})


@train.command("plan")
@click.argument("recipe", type=click.Choice(PHASES), metavar="RECIPE")
@gpus_option
@click.option(
    "--gpu", default="A100-SXM4-80GB", show_default=True, metavar="NAME", help="As torch.cuda.get_device_name says it."
)
@price_option
@click.option(
    "--mfu",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.4,
    show_default=True,
    help="Share of the GPU's rate that training reaches; an assumption.",
)
@click.option("--preset", default="nano", show_default=True, help="Preset, or a YAML file.")
@set_option
@json_option
def plan_command(
    recipe: str,
    gpus: int,
    gpu: str,
    price: float | None,
    mfu: float,
    preset: str,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Say what a phase asks for, before anything starts: tokens a step, memory a GPU, hours and cost.

    Nothing is downloaded: where the tokenizer is not on this machine, lengths of texts are estimates.

    \b
    Examples:
      elysium train plan finetune --preset vicuna-7b --gpus 32 --price 2.50
      elysium train plan pretrain --preset small --gpu "H100 80GB HBM3"
    """
    from elysium.config import load_settings
    from elysium.training.plan import plan_phase

    settings = load_settings(preset, overrides)
    titles, parts = (recipe, f"{recipe}, tail"), getattr(settings.training, recipe).parts()
    plans = {
        title: plan_phase(settings.model, part, gpus, gpu, price, mfu)
        for title, part in zip(titles, parts, strict=False)
    }
    for title, plan in plans.items():
        _show_plan(plan, title, mfu, as_json)
    if as_json:
        print_json({title: plan.as_json() for title, plan in plans.items()})


def _show_plan(plan: Plan, recipe: str, mfu: float, as_json: bool) -> None:
    about = " (texts estimated: the tokenizer is not here)" if plan.is_estimated else ""
    over = ": too long" if plan.longest_conversation > plan.context else ""
    unit, size = ("GiB", 2**30) if plan.stages[0].total >= 2**30 else ("MiB", 2**20)
    lines = [
        f"{recipe} on {plan.gpus} x {plan.gpu}",
        f"  parameters   {plan.parameters / 1e6:,.1f} M, of which {plan.trained_parameters / 1e6:,.1f} M train",
        f"  a step       {plan.samples_per_step:,} samples, {plan.tokens_per_step:,} tokens on average{about}",
        f"  longest row  {plan.longest_row:,} tokens, of one question {plan.longest_conversation:,}; the model takes "
        f"{plan.context:,}{over}",
        f"  computing    {plan.flops_per_step / 1e15:.3g} PFLOP a step, {plan.steps:,} steps",
        f"  time         {plan.hours:,.1f} hours, where training reaches {100 * mfu:.0f} % of what the GPUs could do",
    ]
    if plan.cost is not None:
        lines.append(f"  cost         {plan.cost:,.0f} at {plan.price:g} a GPU-hour")
    kept, less = (value / size for value in (plan.activations.kept, plan.activations.checkpointed))
    lines += [
        f"memory, {unit} a GPU; activations come to it: {kept:,.1f}, or {less:,.1f} where layers are checkpointed",
        f"  {'':<26}{'weights':>9}{'gradients':>11}{'optimiser':>11}{'all':>9}{'checkpointed':>14}",
    ]
    for stage in plan.stages:
        parts = [value / size for value in (stage.weights, stage.gradients, stage.optimiser)]
        marks = ["!" if plan.fits(stage, checkpointed=way) is False else " " for way in (False, True)]
        lines.append(
            f"  {stage.name:<26}{parts[0]:>9,.1f}{parts[1]:>11,.1f}{parts[2]:>11,.1f}{sum(parts) + kept:>9,.1f}"
            f"{marks[0]}{sum(parts) + less:>13,.1f}{marks[1]}"
        )
    if any("!" in line for line in lines):
        lines.append("  ! more than 90 % of the GPU's memory")
    for line in lines:
        click.echo(line.rstrip(), err=as_json)
