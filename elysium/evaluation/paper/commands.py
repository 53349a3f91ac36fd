"""`elysium reproduce`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from elysium.cli import print_json
from elysium.errors import UsageError
from elysium.evaluation.paper.tables import TABLES, load_table
from elysium.evaluation.run_options import judge_options, take_judge_options, training_option
from elysium.options import json_option, set_option

_WIDTH_OF_FILES = 200
_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)


@click.command()
@click.argument("table", type=click.Choice(TABLES))
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="[NAME=]CKPT",
    help="A checkpoint; for table7 one a row, e.g. T-Selector-108=CKPT.",
)
@click.option("--data", type=_FOLDER, default=None, help="Folder with one folder a set: LaSOT/, RefCOCO/, MSVD-QA/ …")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="For the table and the evaluations; the same folder goes on.",
)
@click.option(
    "--from-results", type=_FOLDER, default=None, help="Take evaluations from here; without --model no other."
)
@click.option(
    "--ablation",
    type=click.Path(path_type=Path, exists=True),
    default=None,
    help="table7: a study's folder, or what `elysium ablate --json` printed.",
)
@click.option(
    "--tolerance", type=click.FloatRange(0), default=0.5, show_default=True, help="Points that reproduced may be off."
)
@click.option(
    "--score-tolerance",
    type=click.FloatRange(0),
    default=0.05,
    show_default=True,
    help="The same of scores from 0 to 5.",
)
@training_option
@judge_options
@set_option
@json_option
def reproduce(
    table: str,
    models: tuple[str, ...],
    data: Path | None,
    output: Path,
    from_results: Path | None,
    ablation: Path | None,
    tolerance: float,
    score_tolerance: float,
    training: tuple[Path, ...],
    overrides: tuple[str, ...],
    as_json: bool,
    **others: Any,
) -> int:
    """Fill a table of the paper with measured figures, and judge every cell.

    A cell is reproduced, differs, partial (not of the whole set), data missing, or failed. What is missing or fails
    costs its own cells alone; a run that was stopped goes on where it was when the same command is given again.

    \b
    table2  RefCOCO, RefCOCO+, RefCOCOg: Acc@0.5
    table3  MSVD-QA, MSRVTT-QA, TGIF-QA, ActivityNet-QA: accuracy and score
    table4  LaSOT, UAV123: following from a box
    table5  ElysiumTrack: following a name, and from a box
    table6  ElysiumTrack: descriptions
    table7  ways of keeping fewer visual tokens

    The table is written as Markdown, LaTeX, HTML and JSON. The exit code is 1 if an evaluation failed.

    \b
    Example:
      elysium reproduce table4 --model CKPT --data sets/ --output table4
      elysium reproduce table2 --from-results evaluations/ --output table2
      elysium reproduce table7 --model T-Selector-108=A --model T-Selector-36=B --data sets/ --output table7
    """
    from rich.console import Console

    from elysium.evaluation.evaluating import checkpoint_digest
    from elysium.evaluation.paper.cells import Tolerances
    from elysium.evaluation.paper.driver import Model, check_names, read_results
    from elysium.evaluation.paper.driver import reproduce as measure_table
    from elysium.evaluation.paper.filling import fill
    from elysium.evaluation.paper.forms import terminal, write_table
    from elysium.evaluation.paper.measuring import open_measure
    from elysium.evaluation.paper.studies import with_study
    from elysium.inference.checkpoints import find_checkpoint

    judging = take_judge_options(others)
    paper = load_table(table)
    named = _named(models, paper.keys)
    check_names(paper, named)
    if named and data is None:
        raise UsageError("--model needs --data, the folder with the sets")
    if not named and from_results is None and ablation is None:
        raise UsageError("nothing to fill the table with: give --model with --data, or --from-results")
    found = read_results(paper, from_results) if from_results else {}
    if ablation:
        found = with_study(paper, found, ablation)
    tolerances = Tolerances(tolerance, score_tolerance)
    if named and data is not None:
        opened = {
            key: Model(
                name,
                open_measure(name, overrides, judging, training),
                overrides,
                checkpoint_digest(find_checkpoint(name, Path("runs"))),
                checks_leaks=bool(training),
            )
            for key, name in named.items()
        }
        filled = measure_table(
            paper,
            opened,
            data,
            output,
            tolerances=tolerances,
            found=found,
            after_each=lambda state: write_table(state, output),
        )
    else:
        filled = fill(paper, found, tolerances)
    files = write_table(filled, output)
    if as_json:
        print_json({**filled.as_json(), "files": {form: str(path) for form, path in files.items()}})
    else:
        # A file has no width: there, no figure is cut to fit 80 columns.
        Console(width=None if sys.stdout.isatty() else _WIDTH_OF_FILES).print(terminal(filled))
        click.echo(f"written: {', '.join(map(str, files.values()))}", err=True)
    return 1 if filled.counts.get("failed") else 0


def _named(models: tuple[str, ...], keys: tuple[str, ...]) -> dict[str, str]:
    """Returns the table's name of each model to the checkpoint."""
    found: dict[str, str] = {}
    for text in models:
        name, parted, checkpoint = text.partition("=")
        if not parted or name not in keys:
            if len(keys) > 1:
                raise UsageError(f"--model {text}: name the row, as in {keys[0]}=CKPT; rows are {', '.join(keys)}")
            name, checkpoint = keys[0], text
        if not checkpoint:
            raise UsageError(f"--model {text} names no checkpoint")
        if name in found:
            raise UsageError(f"two models are given for {name}, {found[name]} and {checkpoint}; one is needed")
        found[name] = checkpoint
    return found
