"""`elysium curate plan`: what a curation asks for before anything starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from elysium.cli import print_json
from elysium.options import gpus_option, json_option, price_option, set_option

_POSITIVE = click.FloatRange(0, min_open=True)


@click.command("plan")
@click.option("--pairs", type=click.IntRange(1), metavar="N", help="Pairs that are wanted; the paper has 1270000.")
@click.option("--videos", type=click.IntRange(1), metavar="N", help="Of the source; with --pairs, the yield is theirs.")
@click.option(
    "--from",
    "sources",
    multiple=True,
    metavar="PATH",
    type=click.Path(path_type=Path, exists=True),
    help="Measured figures: JSON of `curate run --dry-run` or benchmarks/curation_models.py, or a curation's folder. "
    "May be given several times; later ones win.",
)
@click.option("--seconds-per-video", type=_POSITIVE, metavar="S", help="Of the videos, on average.")
@click.option(
    "--gpu-seconds", type=_POSITIVE, metavar="S", help="Of a GPU for a second of video, both models together."
)
@click.option("--core-seconds", type=_POSITIVE, metavar="S", help="Of a core for a second of video: decoding.")
@click.option("--megabits", type=_POSITIVE, metavar="X", help="A second, of the videos as they are fetched.")
@click.option("--cores", type=_POSITIVE, metavar="N", help="Of each pod; the step's by default.")
@click.option(
    "--profile",
    metavar="PATH",
    help="Job profile: what the step asks for on a cluster; the step table's, or ELYSIUM_JOB_PROFILE's.",
)
@click.option("--engine", type=click.Choice(["local", "ray"]), help="What carries it out; engine.name by default.")
@gpus_option
@price_option
@click.option("--preset", default="nano", show_default=True, help="Preset, or a YAML file.")
@set_option
@json_option
def plan_command(
    pairs: int | None,
    videos: int | None,
    sources: tuple[Path, ...],
    seconds_per_video: float | None,
    gpu_seconds: float | None,
    core_seconds: float | None,
    megabits: float | None,
    cores: float | None,
    profile: str | None,
    engine: str | None,
    gpus: int,
    price: float | None,
    preset: str,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Say what a curation asks for, before anything starts: hours, GPUs, cores, network, disk and cost.

    Every figure that it rests on is named with its source. Without --from and figures of your own these are the
    paper's, WebVid's, and what was measured on a CPU: a dry run on your machine knows better.

    \b
    Examples:
      elysium curate plan --pairs 1270000 --preset vicuna-7b --gpus 32 --price 2.50
      elysium curate run --source s3://bucket/list.csv --output out --preset vicuna-7b --dry-run 100 --json > trial.json
      elysium curate plan --videos 10000000 --from trial.json --preset vicuna-7b --gpus 8
    """
    from elysium.config import load_settings
    from elysium.curation.basis import PER_SECOND, PER_SECOND_OF_CORE, Figure, measured, published
    from elysium.curation.capacity import format_plan, plan_curation
    from elysium.pipeline.profile import load_profile

    chosen = [] if engine is None else [f"engine.name={engine}"]
    settings = load_settings(preset, (*chosen, *overrides))
    basis = published(settings.curate)
    for path in sources:
        basis = measured(basis, path)
    given = {
        "seconds_per_video": (seconds_per_video, "s", "--seconds-per-video"),
        "models": (gpu_seconds, PER_SECOND, "--gpu-seconds"),
        "decoding": (core_seconds, PER_SECOND_OF_CORE, "--core-seconds"),
        "bit_rate": (megabits, "Mbit/s", "--megabits"),
        "pairs_per_video": (pairs / videos if pairs and videos else None, "pairs a video", "--pairs and --videos"),
    }
    for name, (value, unit, option) in given.items():
        if value is not None:
            basis = replace(basis, **{name: Figure(value, unit, "given", option)})
    cluster = load_profile(profile)
    plan = plan_curation(
        settings, basis, gpus=gpus, videos=videos, pairs=pairs, cores=cores, price=price, profile=cluster
    )
    click.echo(format_plan(plan), err=as_json)
    if as_json:
        print_json(plan.as_json())
