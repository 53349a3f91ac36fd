"""`elysium evaluate …`."""

from __future__ import annotations

from pathlib import Path

import click

from elysium.cli import print_json
from elysium.evaluation.champion_command import champion_command
from elysium.evaluation.run_command import run_command
from elysium.evaluation.tracking.score_command import score_command
from elysium.options import json_option

_RESULT = click.Path(path_type=Path, exists=True)


@click.group()
def evaluate() -> None:
    """Measure a model, or score any tracker's result files."""


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


@evaluate.command("report")
@click.argument("results", metavar="RESULT...", type=_RESULT, nargs=-1, required=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The page; tables of the same name, .md and .tex, are written beside it.",
)
@click.option("--name", "names", multiple=True, help="What a result is called; one for each, in their order.")
@click.option("--samples", type=click.IntRange(100), default=2000, show_default=True, help="Bootstrap resamples.")
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True, help="Of the resampling.")
@json_option
def report_command(
    results: tuple[Path, ...], output: Path, names: tuple[str, ...], samples: int, seed: int, as_json: bool
) -> None:
    """Put up to five evaluations side by side: one page that works offline, and tables for papers.

    Each RESULT is what `elysium evaluate run` or the step `evaluate` wrote. All are compared with the first.

    \b
    Example:
      elysium evaluate report new/ old/ --name new --name old --output compared.html
    """
    from elysium.evaluation.report import read_evaluations, render_evaluations
    from elysium.evaluation.report.tables import write_tables
    from elysium.pipeline.workspace import write_atomic

    called = list(names) or None
    evaluations = read_evaluations(results, called)
    write_atomic(output, render_evaluations(results, called, samples=samples, seed=seed))
    write_tables(evaluations, output.parent, samples=samples, seed=seed, stem=output.stem)
    click.echo(f"written: {output}", err=as_json)
    if as_json:
        print_json(
            {
                "report": str(output),
                "models": list(evaluations),
                "tables": [str(output.with_suffix(suffix)) for suffix in (".md", ".tex")],
            }
        )


evaluate.add_command(champion_command)
evaluate.add_command(run_command)
evaluate.add_command(score_command)
