"""The funnel of candidates as an SVG picture that stands alone, for a card that is read anywhere."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from elysium.evaluation.report.charts import number

_WIDTH, _ROW, _NAMES, _COUNTS, _TOP = 760, 34, 200, 170, 44


def draw_funnel(stats: Mapping[str, Any]) -> str:
    """Returns the picture: one bar for each stage, as long as the share of candidates that is left after it.

    Args:
        stats: Content of `stats.json`.
    """
    rows: Sequence[Mapping[str, Any]] = stats["funnel"]
    most = max((row["entered"] for row in rows), default=0)
    height = _TOP + _ROW * (len(rows) + 1) + 14
    bars = [_bar(0, "candidates", most, most, "a noun chunk in a piece of video")]
    for place, row in enumerate(rows, start=1):
        reasons = stats.get("rejects", {}).get(row["stage"], {})
        why = ", ".join(f"{reason.replace('_', ' ')} {number(count)}" for reason, count in list(reasons.items())[:3])
        bars.append(_bar(place, row["stage"], row["passed"], most, f"rejected {number(row['rejected'])}: {why}"))
    title = "Candidates left after each filter"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'role="img" aria-label="{title}" font-family="system-ui, sans-serif" font-size="14">'
        f'<rect width="{_WIDTH}" height="{height}" rx="10" fill="#fff"/>'
        f'<text x="16" y="27" font-weight="700" font-size="16" fill="#141c26">{title}</text>{"".join(bars)}</svg>\n'
    )


def _bar(place: int, name: str, value: int, most: int, title: str) -> str:
    y = _TOP + place * _ROW
    room = _WIDTH - _NAMES - _COUNTS
    width = room * value / most if most else 0.0
    share = f"{value / most:.1%}" if most else "–"
    return (
        f"<g><title>{html.escape(title)}</title>"
        f'<text x="{_NAMES - 12}" y="{y + 20}" text-anchor="end" fill="#141c26">{html.escape(name)}</text>'
        f'<rect x="{_NAMES}" y="{y + 4}" width="{room}" height="22" rx="4" fill="#e9eef4"/>'
        f'<rect x="{_NAMES}" y="{y + 4}" width="{width:.1f}" height="22" rx="4" fill="#1f5fd6"/>'
        f'<text x="{_WIDTH - _COUNTS + 12}" y="{y + 20}" fill="#141c26">{number(value)} '
        f'<tspan fill="#586678">{share}</tspan></text></g>'
    )
