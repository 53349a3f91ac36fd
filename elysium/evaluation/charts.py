"""Small SVG charts that need no script and take their colours from the page."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

_WIDTH, _HEIGHT = 520, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 12, 36

Point = tuple[float, float]


def line_chart(
    lines: Mapping[str, Sequence[Point]], x_label: str, y_label: str, y_range: tuple[float, float] | None = None
) -> str:
    """Returns a line chart, with a legend where there are several lines; every point tells its value when pointed at.

    Args:
        lines: Name to points in order of x; the first name gets the first colour.
        x_label: With the unit.
        y_label: With the unit.
        y_range: Fixed range of y; by default that of the data, from 0 up.
    """
    points = [point for line in lines.values() for point in line if all(map(math.isfinite, point))]
    if not points:
        return ""
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    low, high = y_range or (min(0.0, *(y for _, y in points)), max(y for _, y in points) * 1.05)
    x_high, high = max(x_high, x_low + 1e-9), max(high, low + 1e-9)

    def place(point: Point) -> Point:
        x = _LEFT + (point[0] - x_low) / (x_high - x_low) * (_WIDTH - _LEFT - _RIGHT)
        y = _HEIGHT - _BOTTOM - (point[1] - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
        return x, y

    parts = []
    for tick in _ticks(low, high):
        _, y = place((x_low, tick))
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" text-anchor="end" x="{_LEFT - 7}" y="{y + 4:.1f}">{_number(tick)}</text>')
    for tick in _ticks(x_low, x_high):
        x, _ = place((tick, low))
        parts.append(f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{_HEIGHT - 18}">{_number(tick)}</text>')
    for number, (name, line) in enumerate(lines.items()):
        shown = [point for point in line if all(map(math.isfinite, point))]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, shown))
        parts.append(f'<polyline class="line c{number}" points="{path}"><title>{html.escape(name)}</title></polyline>')
        for point in shown:
            x, y = place(point)
            title = html.escape(f"{name}: {_number(point[1])} at {_number(point[0])}")
            parts.append(
                f'<circle class="dot c{number}" cx="{x:.1f}" cy="{y:.1f}" r="6"><title>{title}</title></circle>'
            )
    parts.append(
        f'<text class="label" text-anchor="middle" x="{(_WIDTH + _LEFT) / 2}" y="{_HEIGHT - 2}">{x_label}</text>'
    )
    parts.append(
        f'<text class="label" transform="translate(11 {_HEIGHT / 2 - 10}) rotate(-90)" text-anchor="middle">'
        f"{y_label}</text>"
    )
    sample = '<svg viewBox="0 0 26 8"><line class="line c{}" x1="0" x2="26" y1="4" y2="4"/></svg>'
    legend = "".join(
        f'<span class="key">{sample.format(number)}{html.escape(name)}</span>' for number, name in enumerate(lines)
    )
    caption = f'<figcaption class="legend">{legend}</figcaption>' if len(lines) > 1 else ""
    title = html.escape(f"{y_label} over {x_label}")
    return (
        f'<figure class="chart"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">{"".join(parts)}'
        f"</svg>{caption}</figure>"
    )


def bar_chart(bars: Mapping[str, float], unit: str) -> str:
    """Returns horizontal bars with their numbers, in the order given."""
    most = max(bars.values(), default=0) or 1
    rows = "".join(
        f'<div class="bar"><span class="name">{html.escape(name)}</span><span class="track"><i style="width:'
        f'{100 * value / most:.2f}%"></i></span><span class="value">{_number(value)}</span></div>'
        for name, value in bars.items()
    )
    return f'<div class="bars" role="img" aria-label="{html.escape(unit)}">{rows}</div>'


def _ticks(low: float, high: float) -> list[float]:
    """Returns four to eight round numbers within a range.

    Example:
        >>> _ticks(0, 100)
        [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    """
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next((step * factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 6), step * 10)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.3g}"
