"""SVG line and point charts that show everything without a script; `report.js` adds hovering, switching and zooming.

A chart holds its numbers once more as JSON, for the script. Series of one key in several charts are one entry of the
legend. Colours come from the page: `c0` to `c4` for models, `b0` to `b3` for baselines.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Point = tuple[float, float]

_RIGHT, _TOP, _BOTTOM = 10, 8, 36
# For the label of the y axis, and for a digit of its numbers.
_LABEL, _DIGIT = 22, 7
# Outlines around a point, told apart without colours: disc, square, triangle, diamond, cross.
_MARKS = (
    "m-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0-6.4 0z",
    "m-2.9-2.9h5.8v5.8h-5.8z",
    "m0-3.8l3.7 6.6h-7.4z",
    "m0-4.2l4.2 4.2-4.2 4.2-4.2-4.2z",
    "m-1.2-3.9h2.4v2.7h2.7v2.4h-2.7v2.7h-2.4v-2.7h-2.7v-2.4h2.7z",
)


@dataclass(frozen=True)
class Series:
    """One line, or the points of one colour.

    Attributes:
        key: Its entry in the legend.
        name: In words.
        points: In order of x.
        style: Class of its colour, `c0` or `b0` and so on.
        labels: A name for each point; empty where they have none.
        shown: Whether it is to be seen before anyone switches it on.
    """

    key: str
    name: str
    points: Sequence[Point]
    style: str = "c0"
    labels: Sequence[str] = ()
    shown: bool = True


def line_chart(
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    *,
    y_range: tuple[float, float] | None = None,
    size: tuple[int, int] = (360, 250),
) -> str:
    """Returns a line chart; points that are not finite are left out.

    Args:
        series: The lines; nothing is drawn where none of them has a point.
        x_label: With the unit.
        y_label: With the unit.
        y_range: Fixed range of y; by default that of the data, from 0 up.
        size: Width and height in units of the text's pixels.
    """
    kept = _finite(series)
    if not kept:
        return ""
    xs, ys = _values(kept)
    low, high = y_range or (min(0.0, *ys), max(ys) * 1.05)
    frame = _Frame((min(xs), max(xs)), (low, high), size)
    return _figure("line", kept, frame, x_label, y_label, "".join(_line(entry, frame) for entry in kept))


def point_chart(
    series: Sequence[Series], x_label: str, y_label: str, *, size: tuple[int, int] = (440, 400), bound: float = 100.0
) -> str:
    """Returns a chart of points, both axes from 0 to `bound` or the highest value, with the line where both are equal.

    Args:
        series: One shape and colour each.
        x_label: With the unit.
        y_label: With the unit.
        size: Width and height in units of the text's pixels.
        bound: Upper end of both axes, where no value is higher.
    """
    kept = _finite(series)
    if not kept:
        return ""
    xs, ys = _values(kept)
    span = (min(0.0, *xs, *ys), max(bound, *xs, *ys))
    frame = _Frame(span, span, size)
    (x1, y1), (x2, y2) = frame.place((span[0], span[0])), frame.place((span[1], span[1]))
    marks = f'<line class="equal" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
    for number, entry in enumerate(kept):
        shape = _MARKS[number % len(_MARKS)]
        path = "".join(f"M{x:.1f} {y:.1f}{shape}" for x, y in map(frame.place, entry.points))
        marks += (
            f'<path class="mark {entry.style}{_off(entry)}" data-series="{entry.key}" data-shape="{shape}" d="{path}"/>'
        )
    return _figure("point", kept, frame, x_label, y_label, marks)


def legend(series: Iterable[Series], *, marks: bool = False) -> str:
    """Returns the key of one or several charts: one entry for each key, in order; a script makes switches of them.

    Args:
        series: Of all charts that it stands for.
        marks: Shows the shapes of `point_chart` in place of lines.
    """
    entries = {entry.key: entry for entry in series}
    found = []
    for number, entry in enumerate(entries.values()):
        if marks:
            sample = f'<path class="mark {entry.style}" d="M13 5{_MARKS[number % len(_MARKS)]}"/>'
        else:
            sample = f'<line class="line {entry.style}" x1="1" x2="25" y1="5" y2="5"/>'
        name = html.escape(entry.name)
        found.append(
            f'<span class="key{_off(entry)}" data-series="{entry.key}" title="{name}"><svg viewBox="0 0 26 10" '
            f'aria-hidden="true">{sample}</svg><span>{name}</span></span>'
        )
    return f'<div class="legend">{"".join(found)}</div>'


def thinned(series: Sequence[Series], rows: int = 11) -> list[tuple[float, list[float | None]]]:
    """Returns the values of lines at evenly chosen x of the first one, for a table beside the chart.

    Example:
        >>> thinned([Series("A", "a", [(0, 1.0), (1, 2.0), (2, 3.0)]), Series("B", "b", [(2, 9.0)])], rows=2)
        [(0, [1.0, None]), (2, [3.0, 9.0])]
    """
    if not series:
        return []
    xs = [x for x, _ in series[0].points]
    count = min(rows, len(xs))
    chosen = [xs[round(number * (len(xs) - 1) / max(count - 1, 1))] for number in range(count)]
    tables = [dict(entry.points) for entry in series]
    return [(x, [table.get(x) for table in tables]) for x in chosen]


def number(value: float) -> str:
    """Returns a value for an axis.

    Example:
        >>> number(0.05), number(1200.0), number(10.5)
        ('0.05', '1,200', '10.5')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Returns up to `most` + 1 round numbers within a range.

    Example:
        >>> ticks(0, 100)
        [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    """
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next((step * factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= most), step * 20)
    first = math.ceil(low / step - 1e-9)
    return [round(count * step, 10) for count in range(first, math.floor(high / step + 1e-9) + 1)]


class _Frame:
    """Where values lie on the paper."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], size: tuple[int, int]) -> None:
        self.x, self.y = _widened(x), _widened(y)
        self.size = size
        self.left = _LABEL + _DIGIT * max(len(number(tick)) for tick in ticks(*self.y))
        self.width, self.height = size[0] - self.left - _RIGHT, size[1] - _TOP - _BOTTOM

    def place(self, point: Point) -> Point:
        """Returns the place of a point inside of the axes."""
        return (
            (point[0] - self.x[0]) / (self.x[1] - self.x[0]) * self.width,
            self.height - (point[1] - self.y[0]) / (self.y[1] - self.y[0]) * self.height,
        )


def _widened(span: tuple[float, float]) -> tuple[float, float]:
    """Returns a span that values can be placed in."""
    return span if span[1] > span[0] else (span[0] - 1, span[0] + 1)


def _figure(kind: str, series: Sequence[Series], frame: _Frame, x_label: str, y_label: str, marks: str) -> str:
    width, height = frame.size
    title = html.escape(f"{y_label} over {x_label}: {', '.join(entry.name for entry in series)}")
    return (
        f'<figure class="chart" data-kind="{kind}"><svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}" '
        f'style="max-width:{width * 1.4:.0f}px"><g class="axes">{_axes(frame)}</g>'
        f'<svg class="plot" x="{frame.left}" y="{_TOP}" width="{frame.width}" height="{frame.height}">{marks}</svg>'
        f'<text class="label" text-anchor="middle" x="{frame.left + frame.width / 2}" y="{height - 3}">'
        f"{html.escape(x_label)}</text>"
        f'<text class="label" transform="translate(11 {_TOP + frame.height / 2}) rotate(-90)" text-anchor="middle">'
        f"{html.escape(y_label)}</text></svg>"
        f'<script type="application/json">{_numbers(series, frame, x_label, y_label)}</script></figure>'
    )


def _axes(frame: _Frame) -> str:
    parts, left = [], frame.left
    for tick in ticks(*frame.y):
        y = _TOP + frame.place((frame.x[0], tick))[1]
        parts.append(f'<line class="grid" x1="{left}" x2="{left + frame.width}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" text-anchor="end" x="{left - 6}" y="{y + 4:.1f}">{number(tick)}</text>')
    for tick in ticks(*frame.x):
        x = left + frame.place((tick, frame.y[0]))[0]
        parts.append(
            f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{_TOP + frame.height + 16}">{number(tick)}</text>'
        )
    return "".join(parts)


def _line(entry: Series, frame: _Frame) -> str:
    # A line of one point is drawn as a dot: from there to there.
    alone = " alone" if len(entry.points) == 1 else ""
    points = [*entry.points] * 2 if alone else entry.points
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(frame.place, points))
    return (
        f'<polyline class="line {entry.style}{_off(entry)}{alone}" data-series="{entry.key}" points="{path}">'
        f"<title>{html.escape(entry.name)}</title></polyline>"
    )


def _numbers(series: Sequence[Series], frame: _Frame, x_label: str, y_label: str) -> str:
    """Returns what the script needs, safe inside of a page."""
    content = {
        "x": frame.x,
        "y": frame.y,
        "plot": [frame.left, _TOP, frame.width, frame.height],
        "labels": [x_label, y_label],
        "series": [
            {
                "key": entry.key,
                "name": entry.name,
                "x": [float(f"{x:.6g}") for x, _ in entry.points],
                "y": [float(f"{y:.6g}") for _, y in entry.points],
                **({"labels": list(entry.labels)} if entry.labels else {}),
            }
            for entry in series
        ],
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _finite(series: Sequence[Series]) -> list[Series]:
    found = []
    for entry in series:
        kept = [index for index, point in enumerate(entry.points) if all(map(math.isfinite, point))]
        if kept:
            points = [entry.points[index] for index in kept]
            labels = [entry.labels[index] for index in kept] if entry.labels else ()
            found.append(Series(entry.key, entry.name, points, entry.style, labels, entry.shown))
    return found


def _values(series: Sequence[Series]) -> tuple[list[float], list[float]]:
    points = [point for entry in series for point in entry.points]
    return [x for x, _ in points], [y for _, y in points]


def _off(entry: Series) -> str:
    return "" if entry.shown else " off"
