"""What a page shows of one to five evaluations, task by task, ready for the template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from elysium.evaluation.report.breakdown import Breakdown, breakdowns
from elysium.evaluation.report.charts import Series, legend, line_chart, point_chart, thinned
from elysium.evaluation.report.names import decimals, metric_name
from elysium.evaluation.report.side_by_side import LETTERS, Entrant, SideBySide, TaskTable
from elysium.evaluation.results import MODEL

# Curve to title, ends of its evenly spaced thresholds, axis.
_CURVES = {
    "success": ("Success", (0.0, 1.0), "overlap above (IoU)"),
    "precision": ("Precision", (0.0, 50.0), "centre error up to, px"),
    "norm_precision": ("Normalised precision", (0.0, 0.5), "centre error up to, target sizes"),
}
_MOST_LISTED = 300


@dataclass(frozen=True)
class Curves:
    """One plot.

    Attributes:
        title: What it is.
        chart: The plot.
        heading: Of the first column of its values.
        names: Of the other columns.
        values: Threshold and the lines' values there, for those who cannot see the plot.
    """

    title: str
    chart: str
    heading: str
    names: Sequence[str]
    values: Sequence[tuple[float, Sequence[float | None]]]


@dataclass(frozen=True)
class Listing:
    """Items with the figure of every system.

    Attributes:
        names: Of the columns.
        rows: Item, figures, and how far they lie apart.
        total: Number of items there are.
        digits: Decimals.
    """

    names: Sequence[str]
    rows: Sequence[tuple[str, Sequence[float | None]]]
    total: int
    digits: int


@dataclass(frozen=True)
class TaskPart:
    """One task's part of the page.

    Attributes:
        table: Its figures.
        headings: Metric to the heading of its column.
        digits: Metric to decimals.
        legend: Of curves and breakdowns.
        curves: Plots over thresholds.
        breakdowns: By attribute, size and class.
        points: The items of the other systems over those of the first model; empty where they say nothing.
        points_legend: Of it.
        agreement: Where an item is right or wrong: of each other system, how many items both have right, only the
            first model, only the other, none.
        listing: The items that differ most, or are the worst of the only model; then all.
        protocol: What the figures depend on, to its values by model's letter where they differ, or to the one value.
        notes: In sentences.
        devices: What the speed was measured on.
    """

    table: TaskTable
    headings: dict[str, str]
    digits: dict[str, int]
    legend: str
    curves: Sequence[Curves]
    breakdowns: Sequence[Breakdown]
    points: str
    points_legend: str
    agreement: Sequence[tuple[Entrant, tuple[int, int, int, int]]]
    listing: Listing
    protocol: dict[str, dict[str, str]]
    notes: Sequence[str]
    devices: dict[str, str]

    @property
    def anchor(self) -> str:
        """The id of its section."""
        return f"task-{self.table.task}"

    @property
    def has_speed(self) -> bool:
        """Whether any model's speed is known."""
        return any(entrant.figures.speed for entrant in self.table.models)


def task_parts(sides: SideBySide) -> list[TaskPart]:
    """Returns the parts of all tasks."""
    return [_part(table) for table in sides.tables]


def style_of(entrant: Entrant, table: TaskTable) -> str:
    """Returns the class of a system's colour: a model's is its letter's; baselines are grey beside several models."""
    if entrant.is_model:
        return f"c{LETTERS.index(entrant.letter)}"
    place = table.baselines.index(entrant.system)
    if len(table.models) > 1:
        return f"b{place % 4}"
    # The only model of a task may be the second one of the page.
    taken = LETTERS.index(table.models[0].letter)
    free = [number for number in range(len(LETTERS)) if number != taken]
    return f"c{free[place % len(free)]}"


def _part(table: TaskTable) -> TaskPart:
    curves, lines = _curves(table)
    points, points_legend, agreement = _against_first(table)
    models = table.models
    return TaskPart(
        table=table,
        headings={metric: metric_name(metric, table.task) for metric in table.metrics},
        digits={metric: decimals(metric) for metric in table.metrics},
        legend=legend(lines),
        curves=curves,
        breakdowns=breakdowns(table),
        points=points,
        points_legend=points_legend,
        agreement=agreement,
        listing=_listing(table),
        protocol=_protocol(models),
        notes=list(dict.fromkeys(note for entrant in models for note in entrant.figures.notes)),
        devices={
            entrant.letter: entrant.figures.speed.device
            for entrant in models
            if entrant.figures.speed and entrant.figures.speed.device
        },
    )


def full_name(entrant: Entrant) -> str:
    """Returns a system's name that is unique in its table."""
    return entrant.name if entrant.is_model or not entrant.letter else f"{entrant.name} of {entrant.letter}"


def _curves(table: TaskTable) -> tuple[list[Curves], list[Series]]:
    names = list(dict.fromkeys(name for entrant in table.entrants for name in entrant.figures.curves.get(MODEL, {})))
    found, drawn = [], []
    for name in names:
        title, ends, axis = _CURVES.get(name, (name.replace("_", " ").capitalize(), (0.0, 1.0), "threshold"))
        series = []
        for entrant in table.entrants:
            values = entrant.figures.curves.get(MODEL, {}).get(name)
            if values:
                xs = np.linspace(*ends, len(values))
                series.append(
                    Series(
                        entrant.key,
                        full_name(entrant),
                        [(round(float(x), 4), value) for x, value in zip(xs, values, strict=True)],
                        style_of(entrant, table),
                        # Of many baselines only those of the first model are seen at once.
                        shown=entrant.is_model or entrant.letter in ("", LETTERS[0]),
                    )
                )
        chart = line_chart(series, axis, "share of frames, %", y_range=(0, 100))
        if chart:
            found.append(Curves(title, chart, axis, [entry.name for entry in series], thinned(series)))
            drawn += series
    return found, drawn


def _against_first(
    table: TaskTable,
) -> tuple[str, str, list[tuple[Entrant, tuple[int, int, int, int]]]]:
    first = table.entrants[0]
    metric = table.primary
    own = first.figures.per_item(metric)
    others = table.models[1:] or table.entrants[1:]
    pairs = []
    for entrant in others:
        found = entrant.figures.per_item(metric)
        names = sorted(name for name in own if name in found)
        if names:
            pairs.append((entrant, names, [(own[name], found[name]) for name in names]))
    if all(value in (0, 100) for _, _, points in pairs for point in points for value in point):
        return "", "", [(entrant, _agreement(points)) for entrant, _, points in pairs]
    series = [
        Series(entrant.key, full_name(entrant), points, style_of(entrant, table), names)
        for entrant, names, points in pairs
    ]
    heading = metric_name(metric, table.task)
    chart = point_chart(series, f"{heading} of {_short(first)}", f"{heading} of the others")
    return chart, legend(series, marks=True), []


def _agreement(points: Sequence[tuple[float, float]]) -> tuple[int, int, int, int]:
    right = [(mine > 0, theirs > 0) for mine, theirs in points]
    both, mine, theirs = right.count((True, True)), right.count((True, False)), right.count((False, True))
    return both, mine, theirs, len(right) - both - mine - theirs


def _short(entrant: Entrant) -> str:
    return entrant.name if len(entrant.name) <= 24 else f"model {entrant.letter}"


def _listing(table: TaskTable) -> Listing:
    """Returns the items by how far the models lie apart; of an only model, from its worst."""
    metric = table.primary
    shown = table.models if len(table.models) > 1 else table.entrants
    columns = [entrant.figures.per_item(metric) for entrant in shown]
    names = dict.fromkeys(name for column in columns[: len(table.models)] for name in column)
    rows = [(name, [column.get(name) for column in columns]) for name in names]
    if len(table.models) > 1:
        rows.sort(key=lambda row: (-_spread(row[1]), row[0]))
    else:
        rows.sort(key=lambda row: (row[1][0] if row[1][0] is not None else 0.0, row[0]))
    headings = [entrant.letter if entrant.is_model else full_name(entrant) for entrant in shown]
    if len(table.models) == 1:
        headings[0] = table.models[0].name
    return Listing(headings, rows[:_MOST_LISTED], len(rows), decimals(metric))


def _spread(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return round(max(known) - min(known), 6) if known else 0.0


def _protocol(models: Sequence[Entrant]) -> dict[str, dict[str, str]]:
    found = {}
    for key in dict.fromkeys(key for entrant in models for key in entrant.figures.protocol):
        values = {entrant.letter: _plain(entrant.figures.protocol.get(key)) for entrant in models}
        same = len(set(values.values())) == 1
        found[key.replace("_", " ")] = {"": next(iter(values.values()))} if same else values
    return found


def _plain(value: object) -> str:
    if value is None:
        return "not said"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_plain(entry)}" for key, entry in value.items())
    return str(value)
