"""The command `elysium ablate`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import click

from elysium.cli import print_json
from elysium.errors import UsageError
from elysium.options import json_option, set_option

_SELECTORS = "none,gated,strided,mixed,concat,cross_attention"


@click.command("ablate")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of results.")
@click.option(
    "--scale",
    type=click.Choice(["reduced", "full"]),
    default="reduced",
    show_default=True,
    help="reduced: one object a frame and few steps, for a CPU; full: whole scenes, for a GPU.",
)
@click.option("--selectors", default=_SELECTORS, show_default=True, help="Which, separated by commas.")
@click.option("--shares", default="0.08,0.19,0.44", show_default=True, help="Of a frame's tokens that are kept.")
@click.option("--positions", default="packed,grid", show_default=True, help="Position ids; grid for gated alone.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Runs of each cell.")
@click.option("--steps", type=click.IntRange(1), default=None, help="Instead of the scale's own number.")
@click.option("--jobs", type=click.IntRange(1), default=None, help="Cells at a time; by default one a CPU core.")
@click.option("--preset", default="nano", show_default=True, help="Preset, or a YAML file.")
@set_option
@json_option
def ablate(
    output: Path,
    scale: str,
    selectors: str,
    shares: str,
    positions: str,
    seeds: int,
    steps: int | None,
    jobs: int | None,
    preset: str,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compare selectors and token budgets on simulated scenes: the paper's Table 7, small.

    Each cell trains a model to find named objects and measures REC Acc@0.5 on held-out frames. A run that was stopped
    goes on where it was when the same command is given again.

    \b
    Example:
      elysium ablate --output ablation
      elysium ablate --output mine --selectors none,gated,strided --shares 0.02,0.1,0.5 --seeds 3
    """
    from elysium.ablation.report import write_report
    from elysium.ablation.study import SCALES, Study, plan_cells, run_study
    from elysium.config import load_settings

    # Every cell begins anew.
    settings = load_settings(preset, overrides).model.model_copy(update={"init_from": None})
    if settings.vision.weights or settings.llm.weights:
        raise UsageError(f"the preset {preset} starts from pre-trained weights; the ablation builds its own: use nano")
    names, places = selectors.split(","), positions.split(",")
    cells = plan_cells(settings, names, _numbers(shares), seeds, ["packed"])
    if "grid" in places and "gated" in names:
        cells += plan_cells(settings, ["gated"], _numbers(shares), seeds, ["grid"])
    if "packed" not in places:
        cells = tuple(cell for cell in cells if cell.position_ids == "grid" or cell.selector == "none")
    chosen = SCALES[scale] if steps is None else replace(SCALES[scale], steps=steps)
    study = Study(settings, chosen, cells)
    results = run_study(study, output, jobs or _jobs())
    path = write_report(study, results, output)
    click.echo(path.read_text(encoding="utf-8"), err=as_json)
    if as_json:
        print_json({"output": str(output), "cells": len(results), "results": results})


def _jobs() -> int:
    import torch

    return 1 if torch.cuda.is_available() else os.cpu_count() or 1


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--shares takes numbers separated by commas, got {text!r}") from None
