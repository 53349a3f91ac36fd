"""The table and the plot of a study."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elysium.ablation.study import Study
from elysium.evaluation.report.charts import Series, line_chart
from elysium.pipeline.workspace import write_atomic

_STYLE = """
svg { background: #fff; font: 12px system-ui, sans-serif; }
.grid { stroke: #e1e7ee; } .tick, .label, .name { fill: #586678; }
.line { fill: none; stroke-width: 2; }
"""
_COLOURS = ("#1f5fd6", "#c2570c", "#0d8a6a", "#7a43c6", "#b3261e", "#0aa0bd", "#8f5a00", "#d6439a")


def write_report(study: Study, results: Sequence[dict[str, Any]], folder: Path) -> Path:
    """Writes `table.md` and `plot.svg` into `folder`; returns the table's path."""
    write_atomic(folder / "plot.svg", plot(study, results))
    path = folder / "table.md"
    write_atomic(path, table(study, results))
    return path


def table(study: Study, results: Sequence[dict[str, Any]]) -> str:
    """Returns the results as Markdown: a row for each selector, a column for each number of tokens."""
    patches = _patches(study)
    cells = _by_row(results)
    budgets = sorted({kept for row in cells.values() for kept in row if kept != patches})
    scale = study.scale
    heads = [f"{kept} of {patches} ({kept / patches:.0%})" for kept in budgets]
    lines = [
        f"REC Acc@0.5 in percent on {scale.held_out_frames} held-out simulated frames; mean over seeds, lowest to "
        f"highest. {scale.steps} steps of {scale.batch} frames with {_objects(scale.max_objects)}; the vision tower is "
        "trained before, once, and frozen.",
        "",
        "| selector | " + " | ".join(heads) + f" | all {patches} |",
        "| --- |" + " ---: |" * (len(budgets) + 1),
    ]
    for name, row in cells.items():
        lines.append(f"| {name} | " + " | ".join(_figure(row.get(kept, [])) for kept in [*budgets, patches]) + " |")
    return "\n".join(lines) + "\n"


def plot(study: Study, results: Sequence[dict[str, Any]]) -> str:
    """Returns accuracy over kept tokens, a line for each selector, as an SVG that stands by itself."""
    patches, cells = _patches(study), _by_row(results)
    budgets = sorted({kept for row in cells.values() for kept in row})
    lines = {}
    for name, row in cells.items():
        points = [(float(kept), statistics.mean(figures)) for kept, figures in sorted(row.items())]
        # What keeps everything is a level that the others are held against.
        lines[name] = [(float(budgets[0]), points[0][1]), (float(patches), points[0][1])] if name == "none" else points
    series = [Series(f"c{number}", name, points, f"c{number}") for number, (name, points) in enumerate(lines.items())]
    figure = line_chart(series, "tokens kept of a frame", "REC Acc@0.5 (%)", y_range=(0.0, 100.0), size=(520, 260))
    drawing = figure[figure.index("<svg") : figure.index("</svg><script")]
    colours = "".join(f".c{number} {{ stroke: {colour}; }}" for number, colour in enumerate(_COLOURS))
    legend = "".join(
        f'<line class="line c{number}" x1="{64 + 150 * (number % 3)}" x2="{84 + 150 * (number % 3)}" '
        f'y1="{272 + 18 * (number // 3)}" y2="{272 + 18 * (number // 3)}"/>'
        f'<text class="name" x="{90 + 150 * (number % 3)}" y="{276 + 18 * (number // 3)}">{name}</text>'
        for number, name in enumerate(lines)
    )
    height = 290 + 18 * ((len(lines) - 1) // 3)
    frame = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 520 {height}"'
    drawing = drawing.replace('viewBox="0 0 520 260"', frame, 1)
    start = drawing.index(">") + 1
    return f"{drawing[:start]}<style>{_STYLE}{colours}</style>{drawing[start:]}{legend}</svg>\n"


def _by_row(results: Sequence[dict[str, Any]]) -> dict[str, dict[int, list[float]]]:
    """Returns row name to number of tokens to the accuracies of all seeds."""
    rows: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        name = result["selector"] + (", grid positions" if result["position_ids"] == "grid" else "")
        rows[name][result["kept"]].append(result["accuracy"])
    return rows


def _figure(figures: Sequence[float]) -> str:
    if not figures:
        return ""
    if len(figures) == 1:
        return f"{figures[0]:.1f}"
    return f"{statistics.mean(figures):.1f} ({min(figures):.1f} to {max(figures):.1f})"


def _patches(study: Study) -> int:
    return (study.settings.vision.image_size // study.settings.vision.patch_size) ** 2


def _objects(count: int) -> str:
    return "one object each" if count == 1 else f"up to {count} objects each"
