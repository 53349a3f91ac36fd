"""Bars and intervals as rows of HTML, which take any width; the page's own style places them."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from elysium.evaluation.report.charts import number, ticks


@dataclass(frozen=True)
class Mark:
    """One figure of a row, with its interval.

    Attributes:
        key: Its entry in the legend.
        style: Class of its colour.
        value: The figure.
        interval: Its 95 % interval; None where there is none.
        title: What it says when pointed at.
    """

    key: str
    style: str
    value: float
    interval: tuple[float, float] | None
    title: str


@dataclass(frozen=True)
class Row:
    """One row of marks.

    Attributes:
        name: Its label.
        count: Of items, written behind the label.
        marks: From top to bottom.
    """

    name: str
    count: int
    marks: Sequence[Mark]


def bar_chart(bars: Mapping[str, float], unit: str) -> str:
    """Returns horizontal bars with their numbers, in the order given."""
    most = max(bars.values(), default=0) or 1
    rows = "".join(
        f'<div class="bar"><span class="name">{html.escape(name)}</span><span class="track"><i style="width:'
        f'{100 * value / most:.2f}%"></i></span><span class="value">{number(value)}</span></div>'
        for name, value in bars.items()
    )
    return f'<div class="bars" role="group" aria-label="{html.escape(unit)}">{rows}</div>'


def interval_chart(rows: Sequence[Row], label: str) -> str:
    """Returns rows of dots with their intervals on one common axis that fits them all.

    Args:
        rows: At least one mark in all.
        label: Of the axis, with the unit.
    """
    ends = [end for row in rows for mark in row.marks for end in (mark.value, *(mark.interval or ()))]
    if not ends:
        return ""
    low, high = min(ends), max(ends)
    pad = max((high - low) * 0.04, 0.5)
    low, high = (0.0 if low >= 0 and low < pad else low - pad), high + pad
    lines = "".join(f'<i style="--v:{tick:g}"><b>{number(tick)}</b></i>' for tick in ticks(low, high))
    most = max(len(row.marks) for row in rows)
    body = "".join(
        f'<div class="row"><span class="name">{html.escape(row.name)} <small>{row.count:,}</small></span>'
        f'<span class="lane">{"".join(_mark(mark, index) for index, mark in enumerate(row.marks))}</span></div>'
        for row in rows
    )
    return (
        f'<figure class="rows" style="--lo:{low:g};--hi:{high:g};--n:{most}"><div class="ticks" aria-hidden="true">'
        f'{lines}</div>{body}<figcaption class="axis">{html.escape(label)}</figcaption></figure>'
    )


def _mark(mark: Mark, index: int) -> str:
    low, high = mark.interval or (mark.value, mark.value)
    place = f"--i:{index};--v:{mark.value:g};--l:{low:g};--h:{high:g}"
    return (
        f'<span class="{mark.style}" data-series="{mark.key}" style="{place}" title="{html.escape(mark.title)}">'
        '<i class="range"></i><i class="point"></i></span>'
    )
