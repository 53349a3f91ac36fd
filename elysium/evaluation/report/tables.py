"""The figures of one to five evaluations as tables in Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from elysium.evaluation.report.names import decimals, metric_name
from elysium.evaluation.report.side_by_side import Cell, Entrant, SideBySide, TaskTable, put_side_by_side
from elysium.evaluation.results import Evaluation
from elysium.evaluation.statistics import Comparison

# The interval as its ends, or as half its width behind the figure.
IntervalStyle = Literal["range", "plus-minus"]
STEM = "tables"
MARKDOWN_FILE, LATEX_FILE = f"{STEM}.md", f"{STEM}.tex"
_MARKS = {"better": "▲", "worse": "▼", "cannot tell": "≈"}
_LATEX_MARKS = {"better": r"$\uparrow$", "worse": r"$\downarrow$", "cannot tell": r"$\approx$"}
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # A row that begins with one would be read as the argument of the line break before it.
    "[": "{[}",
    "]": "{]}",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "–": "--",
    **{sign: f"\\{sign}" for sign in "&%$#_"},
}


def write_tables(
    evaluations: Mapping[str, Evaluation],
    folder: Path,
    *,
    samples: int = 2000,
    seed: int = 0,
    interval: IntervalStyle = "range",
    stem: str = STEM,
) -> None:
    """Writes `tables.md` and `tables.tex`, or of another stem: a table a task, a row for each model and baseline.

    Args:
        evaluations: Name to evaluation, one to five; the first is what the others are compared with.
        folder: Where to.
        samples: Bootstrap resamples.
        seed: Of the bootstrap.
        interval: How 95 % intervals are written.
        stem: What the files are called.

    Raises:
        UsageError: If there is no evaluation, or more than five.
    """
    from elysium.pipeline.workspace import write_atomic

    sides = put_side_by_side(evaluations, samples=samples, seed=seed)
    write_atomic(folder / f"{stem}.md", markdown(sides, interval=interval))
    write_atomic(folder / f"{stem}.tex", latex(sides, interval=interval))


def markdown(sides: SideBySide, *, interval: IntervalStyle = "range") -> str:
    """Returns the tables in Markdown."""
    lines = []
    for table in sides.tables:
        heads = _heads(table, "Tokens/frame", "Peak MiB")
        lines += [
            f"### {_cell(table.name)}",
            "",
            f"{table.num_items:,} items. {_legend(sides, _MARKS, '**bold**')}",
            "",
        ]
        lines += [f"| {' | '.join(map(_cell, heads))} |", f"| --- |{' ---: |' * (len(heads) - 1)}"]
        for entrant in table.entrants:
            row = [
                _cell(_name(entrant)),
                *_figures(table, entrant, lambda cell, digits: _plain(cell, digits, interval)),
            ]
            lines.append(f"| {' | '.join(row)} |")
        lines.append("")
    for _, sentence in sides.sentences().values():
        lines += [f"- {sentence}"]
    return "\n".join(lines).rstrip() + "\n"


def latex(sides: SideBySide, *, interval: IntervalStyle = "range") -> str:
    """Returns the tables in LaTeX; the document needs the package `booktabs`."""
    lines = [r"% Needs \usepackage{booktabs}."]
    for table in sides.tables:
        heads = _heads(table, "Tok./frame", "MiB")
        caption = f"{table.name}, {table.num_items:,} items. "
        label = re.sub(r"[^A-Za-z0-9:-]", "-", table.task)
        lines += [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escape_latex(caption)}{_legend(sides, _LATEX_MARKS, 'Bold', escape_latex)}}}",
            rf"  \label{{tab:{label}}}",
            rf"  \begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
            r"    \toprule",
            f"    {' & '.join(map(escape_latex, heads))} \\\\",
            r"    \midrule",
        ]
        models = len(table.models)
        for number, entrant in enumerate(table.entrants):
            if number == models:
                lines.append(r"    \midrule")
            figures = _figures(table, entrant, lambda cell, digits: _latex(cell, digits, interval))
            lines.append(f"    {' & '.join([escape_latex(_name(entrant)), *figures])} \\\\")
        lines += [r"    \bottomrule", r"  \end{tabular}", r"\end{table}", ""]
    return "\n".join(lines)


def escape_latex(text: str) -> str:
    r"""Returns text as LaTeX sets it.

    Example:
        >>> escape_latex("50% of a_b & {c}")
        '50\\% of a\\_b \\& \\{c\\}'
    """
    return "".join(_ESCAPES.get(sign, sign) for sign in text)


def _heads(table: TaskTable, tokens: str, memory: str) -> list[str]:
    speed = ["Frames/s", tokens, memory] if _has_speed(table) else []
    return ["System", *(metric_name(metric, table.task) for metric in table.metrics), "Failed", *speed]


def _has_speed(table: TaskTable) -> bool:
    return any(entrant.figures.speed for entrant in table.models)


def _figures(table: TaskTable, entrant: Entrant, written: Callable[[Cell, int], str]) -> list[str]:
    found = [
        written(entrant.cells[metric], decimals(metric)) if metric in entrant.cells else "" for metric in table.metrics
    ]
    found.append(f"{entrant.figures.num_failures:,}" if entrant.is_model else "")
    if _has_speed(table):
        speed = entrant.figures.speed if entrant.is_model else None
        found += (
            ["", "", ""]
            if speed is None
            else [f"{speed.frames_per_second:.1f}", f"{speed.tokens_per_frame:.1f}", f"{speed.peak_mib:,.0f}"]
        )
    return found


def _name(entrant: Entrant) -> str:
    return entrant.name if entrant.is_model or not entrant.letter else f"{entrant.name} ({entrant.letter})"


def _plain(cell: Cell, digits: int, style: IntervalStyle) -> str:
    value = f"{cell.value:.{digits}f}"
    return " ".join(
        filter(None, [f"**{value}**" if cell.best else value, _interval(cell, digits, style, "±"), _mark(cell, _MARKS)])
    )


def _latex(cell: Cell, digits: int, style: IntervalStyle) -> str:
    value = f"{cell.value:.{digits}f}"
    interval = _interval(cell, digits, style, r"$\pm$")
    parts = [rf"\textbf{{{value}}}" if cell.best else value, rf"{{\scriptsize {interval}}}" if interval else ""]
    return " ".join(filter(None, [*parts, _mark(cell, _LATEX_MARKS)]))


def _interval(cell: Cell, digits: int, style: IntervalStyle, sign: str) -> str:
    if cell.interval is None:
        return ""
    low, high = cell.interval
    if style == "plus-minus":
        # The wider side: an interval of the bootstrap is seldom even, and none may look narrower than it is.
        return f"{sign} {max(high - cell.value, cell.value - low):.{digits}f}"
    return f"[{low:.{digits}f}, {high:.{digits}f}]"


def _mark(cell: Cell, marks: Mapping[str, str]) -> str:
    found: Comparison | None = cell.against
    return "" if found is None or found.too_few else marks[found.says]


def _legend(sides: SideBySide, marks: Mapping[str, str], bold: str, escape: Callable[[str], str] = str) -> str:
    sentences = [escape("Percent with 95 % intervals.")]
    if any(len(table.entrants) > 1 for table in sides.tables):
        better, worse, same = (marks[says] for says in ("better", "worse", "cannot tell"))
        first = escape(sides.models[0].name)
        sentences += [
            f"{better} better, {worse} worse than {first} beyond chance, {same} one cannot tell.",
            f"{bold}: the best, better than the next beyond chance.",
        ]
    letters = _letters(sides)
    return " ".join([*sentences, *([escape(letters)] if letters else [])])


def _letters(sides: SideBySide) -> str:
    """Returns which model a letter stands for, where baselines carry them."""
    used = {entrant.letter for table in sides.tables for entrant in table.entrants if not entrant.is_model}
    named: Sequence[str] = [f"{model.letter}: {model.name}" for model in sides.models if model.letter in used]
    return f"{'; '.join(named)}." if named else ""


def _cell(text: str) -> str:
    """Returns text as a cell of a Markdown table holds it."""
    return re.sub(r"([\\|*_`<>])", r"\\\1", text)
