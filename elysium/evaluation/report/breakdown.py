"""How figures depend on what kind of item it is: attribute, size, class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from elysium.evaluation.report.bars import Mark, Row, interval_chart
from elysium.evaluation.report.names import decimals, kind_name, metric_name
from elysium.evaluation.report.side_by_side import LETTERS, Entrant, TaskTable
from elysium.evaluation.results import Group

# Kinds whose groups have an order of their own.
_ORDER = ("small", "medium", "large")
# Of more groups, such as the classes of a large set, the chart shows the ends.
_MOST_DRAWN = 16
_MOST_LISTED = 200


@dataclass(frozen=True)
class Figure:
    """A figure of one group.

    Attributes:
        value: Mean over the group's items.
        interval: Its 95 % interval; None where there is none.
    """

    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Breakdown:
    """All groups of one kind.

    Attributes:
        kind: In words.
        chart: The deciding metric of each model.
        columns: Headings of the table: models by letter, or an only model's metrics.
        rows: Group, number of items, figures.
        num_drawn: Groups in the chart; fewer than there are where there are many.
        digits: Decimals of each column.
    """

    kind: str
    chart: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, int, Sequence[Figure | None]]]
    num_drawn: int
    digits: Sequence[int]


def breakdowns(table: TaskTable) -> list[Breakdown]:
    """Returns a task's figures by every kind of group that any of the models has."""
    if not table.metrics:
        return []
    kinds = dict.fromkeys(kind for entrant in table.models for kind in entrant.figures.groups)
    # Classes are many and say the least.
    return [_breakdown(table, kind) for kind in sorted(kinds, key=lambda kind: kind == "class")]


def _breakdown(table: TaskTable, kind: str) -> Breakdown:
    metric = table.primary
    models = [entrant for entrant in table.models if kind in entrant.figures.groups]
    names = _ordered(models, kind)
    drawn = _drawn(models[0], kind, names, metric)
    rows = []
    for name in drawn:
        marks = [
            _mark(entrant, group, metric, table.task) for entrant in models if (group := _group(entrant, kind, name))
        ]
        rows.append(Row(name, _count(models, kind, name), [mark for mark in marks if mark is not None]))
    alone = len(models) == 1
    columns = [(models[0], one) for one in table.metrics] if alone else [(entrant, metric) for entrant in models]
    return Breakdown(
        kind_name(kind),
        interval_chart(rows, f"{metric_name(metric, table.task)}, with its 95 % interval"),
        [metric_name(one, table.task) if alone else entrant.letter for entrant, one in columns],
        [
            (
                name,
                _count(models, kind, name),
                [_figure(_group(entrant, kind, name), one) for entrant, one in columns],
            )
            for name in names[:_MOST_LISTED]
        ],
        len(drawn),
        [decimals(one) for _, one in columns],
    )


def _group(entrant: Entrant, kind: str, name: str) -> Group | None:
    return entrant.figures.groups.get(kind, {}).get(name)


def _count(models: Sequence[Entrant], kind: str, name: str) -> int:
    return max(group.num_items for entrant in models if (group := _group(entrant, kind, name)))


def _figure(group: Group | None, metric: str) -> Figure | None:
    if group is None or metric not in group.figures:
        return None
    return Figure(group.figures[metric], group.intervals.get(metric))


def _mark(entrant: Entrant, group: Group, metric: str, task: str) -> Mark | None:
    found = _figure(group, metric)
    if found is None:
        return None
    digits = decimals(metric)
    within = "" if found.interval is None else f" ({found.interval[0]:.{digits}f} to {found.interval[1]:.{digits}f})"
    title = f"{entrant.name}: {metric_name(metric, task)} {found.value:.{digits}f}{within}, {group.num_items:,} items"
    return Mark(entrant.key, f"c{LETTERS.index(entrant.letter)}", found.value, found.interval, title)


def _ordered(models: Sequence[Entrant], kind: str) -> list[str]:
    """Returns the groups: sizes from small to large, a few by name, many from the worst to the best."""
    names = list(dict.fromkeys(name for entrant in models for name in entrant.figures.groups[kind]))
    if set(names) <= set(_ORDER):
        return [name for name in _ORDER if name in names]
    if len(names) <= _MOST_DRAWN:
        return names
    metric = models[0].figures.primary
    values = {name: group.figures.get(metric, 0.0) for name, group in models[0].figures.groups[kind].items()}
    return sorted(names, key=lambda name: (values.get(name, 0.0), name))


def _drawn(first: Entrant, kind: str, names: Sequence[str], metric: str) -> list[str]:
    if len(names) <= _MOST_DRAWN:
        return list(names)
    half = _MOST_DRAWN // 2
    return [*names[:half], *names[-half:]]
