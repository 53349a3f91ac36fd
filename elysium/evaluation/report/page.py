"""The page of one evaluation, or of up to five side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from elysium.errors import UsageError
from elysium.evaluation.report.gallery import exhibits
from elysium.evaluation.report.names import decimals, metric_name
from elysium.evaluation.report.parts import style_of, task_parts
from elysium.evaluation.report.side_by_side import LETTERS, SideBySide, TaskTable, put_side_by_side
from elysium.evaluation.results import Evaluation, read_evaluation


@dataclass(frozen=True)
class Bar:
    """One system of a card.

    Attributes:
        letter: Of a model, where there are several.
        name: In words.
        value: Its figure.
        share: Of the card's width, percent.
        style: Class of its colour.
        own: Whether it is the first model.
    """

    letter: str
    name: str
    value: float
    share: float
    style: str
    own: bool


@dataclass(frozen=True)
class Card:
    """One task at a glance: the deciding metric of the first model, of the others, and of the baselines.

    Attributes:
        anchor: Id of the task's section.
        name: Of the task.
        metric: In words.
        unit: `% ` or nothing.
        digits: Decimals.
        value: Of the first model.
        bars: Of all systems that are shown.
    """

    anchor: str
    name: str
    metric: str
    unit: str
    digits: int
    value: float
    bars: Sequence[Bar]


def render_evaluations(
    folders: Sequence[Path], names: Sequence[str] | None = None, *, samples: int = 2000, seed: int = 0
) -> str:
    """Returns the page of one evaluation, or of up to five models side by side.

    Args:
        folders: Of evaluations, each with `metrics.json`, and with `predictions.jsonl` and `clips/` where they are to
            be seen. The first one's model is what the others are compared with.
        names: Of the models; by default the folders' names.
        samples: Bootstrap resamples.
        seed: Of the bootstrap.

    Raises:
        UsageError: If there is no evaluation or more than five, one cannot be read, or the names do not fit.
    """
    sides = put_side_by_side(read_evaluations(folders, names), samples=samples, seed=seed)
    alone = sides.models[0].evaluation if len(sides.models) == 1 else None
    return render_template(
        "evaluations.html.j2",
        title=_title(sides),
        alone=alone,
        sides=sides,
        sentences=sides.sentences(),
        cards=cards(sides),
        parts=task_parts(sides),
        gallery=_by_task(sides, exhibits([_folder(path) for path in folders], sides)),
        num_items=sum(table.num_items for table in sides.tables),
        samples=samples,
        seed=seed,
    )


def read_evaluations(folders: Sequence[Path], names: Sequence[str] | None = None) -> dict[str, Evaluation]:
    """Returns evaluations by the names of their models.

    Args:
        folders: Of evaluations, or their `metrics.json`.
        names: One for each, all different; by default the folders' names, with as much of the path as tells them apart.

    Raises:
        UsageError: If an evaluation cannot be read, there is none or more than five, or the names do not fit.
    """
    if not 1 <= len(folders) <= len(LETTERS):
        raise UsageError(f"one to {len(LETTERS)} evaluations fit side by side, got {len(folders)}")
    chosen = list(names) if names else _names([_folder(path) for path in folders])
    if len(chosen) != len(folders):
        raise UsageError(f"there are {len(folders)} evaluations and {len(chosen)} names; give one name for each")
    if len(set(chosen)) < len(chosen):
        twice = next(name for name in chosen if chosen.count(name) > 1)
        what = "two evaluations have the name" if names else "the same evaluation is named twice:"
        raise UsageError(f"{what} {twice!r}; give each its own")
    return {name: read_evaluation(path) for name, path in zip(chosen, folders, strict=True)}


def cards(sides: SideBySide) -> list[Card]:
    """Returns a card for each task that the first model has a figure in."""
    return [
        _card(table, several=len(sides.models) > 1)
        for table in sides.tables
        if table.entrants[0].letter == LETTERS[0] and table.primary in table.entrants[0].cells
    ]


def render_template(name: str, **content: Any) -> str:
    """Returns a page from one of the package's templates, with style and script in it."""
    # The package's own files.
    own = {"style": Markup(_text("report.css")), "script": Markup(_text("report.js"))}  # noqa: S704
    return _environment().get_template(name).render(**own, **content)


def _title(sides: SideBySide) -> str:
    names = [model.name for model in sides.models]
    return " against ".join(reversed(names)) if len(names) <= 2 else f"{len(names)} models side by side"


def _card(table: TaskTable, *, several: bool) -> Card:
    metric = table.primary
    shown = [entrant for entrant in table.entrants if entrant.is_model or entrant.letter in ("", LETTERS[0])]
    values = {entrant.key: entrant.cells[metric].value for entrant in shown if metric in entrant.cells}
    full = 5.0 if decimals(metric) == 2 else max(100.0, *values.values())
    return Card(
        anchor=f"task-{table.task}",
        name=table.name,
        metric=metric_name(metric, table.task),
        unit="" if decimals(metric) == 2 else "% ",
        digits=decimals(metric),
        value=values[LETTERS[0]],
        bars=[
            Bar(
                entrant.letter if several and entrant.is_model else "",
                entrant.name,
                values[entrant.key],
                100 * max(values[entrant.key], 0.0) / full,
                style_of(entrant, table),
                entrant.key == LETTERS[0],
            )
            for entrant in shown
            if entrant.key in values
        ],
    )


def _by_task(sides: SideBySide, found: Mapping[str, Any]) -> dict[str, Any]:
    return {table.task: found.get(table.task, []) for table in sides.tables}


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _names(folders: Sequence[Path]) -> list[str]:
    """Returns the shortest ends of the paths that tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for count in range(1, max(map(len, parts)) + 1):
        found = ["/".join(part[-count:]) for part in parts]
        if len(set(found)) == len(found):
            return found
    return [str(folder.resolve()) for folder in folders]


@cache
def _environment() -> Environment:
    return Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(_text)
    )


def _text(name: str) -> str:
    return (resources.files("elysium.evaluation.report") / name).read_text(encoding="utf-8")
