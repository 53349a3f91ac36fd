"""A filled table as lines of text and marks, the same for every form that it is written in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from elysium.evaluation.paper.cells import STATES, Cell, State
from elysium.evaluation.paper.filling import FilledRow, FilledTable
from elysium.evaluation.paper.tables import Column, Row, load_sources

# In what is measured; a word is shorter than a legend.
_MARKS: dict[State, str] = {
    "partial": "partial",
    "other protocol": "other protocol",
    "data missing": "data missing",
    "failed": "failed",
    "not printed": "not printed",
    "not known": "not known",
}
_UNPRINTED: dict[State, str] = {"not known": "printed ?", "not printed": "printed –"}
REMARKED = "†"


@dataclass(frozen=True)
class Shown:
    """One cell.

    Attributes:
        text: Figure and mark; empty where there is nothing.
        state: Of cells that a model fills.
        hint: All that is known of it, in sentences.
        sources: Numbers of the sources of a printed figure.
    """

    text: str = ""
    state: State | None = None
    hint: str = ""
    sources: tuple[int, ...] = ()


@dataclass(frozen=True)
class Line:
    """One line.

    Attributes:
        label: System, and what the line shows of it.
        kind: What the line shows.
        cells: One a column.
        begins: Whether the line begins a row of the paper.
    """

    label: str
    kind: Literal["printed", "measured", "baseline"]
    cells: tuple[Shown, ...]
    begins: bool


@dataclass(frozen=True)
class Finding:
    """What is to be said of one cell, outside of the table.

    Attributes:
        where: Row and column.
        state: Of the cell.
        text: In sentences.
    """

    where: str
    state: State
    text: str


@dataclass(frozen=True)
class Sheet:
    """A table to be written.

    Attributes:
        number: E.g. `Table 2`.
        title: What it shows.
        summary: Cells a state.
        groups: What stands above the headings, with the number of columns.
        headings: One a column.
        lines: From top to bottom.
        findings: Of every cell that a model fills and that is not simply reproduced.
        legend: State to meaning, of the states that occur.
        notes: In sentences.
        sources: In the order of their numbers, from 1.
    """

    number: str
    title: str
    summary: str
    groups: tuple[tuple[str, int], ...]
    headings: tuple[str, ...]
    lines: tuple[Line, ...]
    findings: tuple[Finding, ...]
    legend: dict[State, str]
    notes: tuple[str, ...]
    sources: tuple[str, ...]


def lay_out(filled: FilledTable) -> Sheet:
    """Returns the lines of a filled table."""
    table = filled.table
    used = dict.fromkeys(source for row in filled.rows for cell in row.cells for source in cell.sources)
    numbers = {name: number for number, name in enumerate(used, start=1)}
    tolerance = (
        f"Reproduced is within {filled.tolerances.percent:g} points"
        + (f", scores within {filled.tolerances.score:g}" if any(c.unit == "score" for c in table.columns) else "")
        + ", on the whole set. Printed figures are the paper's, with the number of their source."
    )
    return Sheet(
        number=table.number,
        title=table.title,
        summary=filled.summary,
        groups=tuple(
            (group, len(list(columns))) for group, columns in groupby(table.columns, key=lambda column: column.group)
        ),
        headings=tuple(heading(column) for column in table.columns),
        lines=tuple(line for row in filled.rows for line in _lines(filled, row, numbers)),
        findings=tuple(_findings(filled)),
        legend={state: STATES[state] for state in filled.counts},
        notes=(tolerance, *_sign_notes(filled), *filled.notes),
        sources=tuple(load_sources()[name] for name in used),
    )


def heading(column: Column) -> str:
    """Returns a column's heading; where the paper has it wrong, what it means stands beside it."""
    return f"{column.heading} (means {column.means})" if column.means else column.heading


def figure(value: float | None, column: Column) -> str:
    """Returns a figure as the paper would print it."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if column.unit == "count" else f"{value:.{column.digits}f}"


def ours(value: float, column: Column) -> str:
    """Returns a measured figure: scores differ in the second digit, of which the paper prints one."""
    return f"{value:.2f}" if column.unit == "score" else figure(value, column)


def signed(value: float, column: Column) -> str:
    """Returns a difference with its sign."""
    digits = 2 if column.unit == "score" else column.digits
    return f"{value:+.{digits}f}".replace("-", "−")


def explain(cell: Cell, column: Column) -> str:
    """Returns all that is known of a cell, in sentences."""
    parts = []
    if cell.measured is not None:
        parts.append(f"measured {ours(cell.measured, column)}")
        if cell.interval:
            low, high = (ours(end, column) for end in cell.interval)
            parts[0] += f" ({low} to {high})"
        if cell.printed is not None:
            parts.append(f"printed {figure(cell.printed, column)}")
        if cell.difference is not None:
            parts[-1] += f", difference {signed(cell.difference, column)}"
        if cell.inside is not None:
            parts.append(f"the printed figure lies {'in' if cell.inside else 'outside of'} the 95 % interval")
    text = "; ".join([*parts, *cell.reasons])
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def _lines(filled: FilledTable, row: FilledRow, numbers: dict[str, int]) -> Iterator[Line]:
    columns = filled.table.columns
    name = _name(filled, row.row)
    label = f"{name} ({row.row.note})" if row.row.note else name
    printed = []
    for column, cell in zip(columns, row.cells, strict=True):
        known = column.key in row.row.printed
        sources = tuple(numbers[source] for source in cell.sources)
        printed.append(Shown(figure(cell.printed, column) if known else "?", sources=sources))
    yield Line(f"{label}, printed" if row.row.key else label, "printed", tuple(printed), begins=True)
    if not row.row.key:
        return
    shown = [_measured(column, cell) for column, cell in zip(columns, row.cells, strict=True)]
    yield Line("measured", "measured", tuple(shown), begins=False)
    for baseline, values in row.beside.items():
        figures = (Shown(figure(values[column.key], column) if column.key in values else "") for column in columns)
        yield Line(f"{baseline.replace('_', ' ')}, measured", "baseline", tuple(figures), begins=False)


def _name(filled: FilledTable, row: Row) -> str:
    """Returns a row's name; where several models fill a table, what `--model` calls this one."""
    return row.key if row.key and len(filled.table.keys) > 1 else row.system


def _measured(column: Column, cell: Cell) -> Shown:
    if not column.metric:
        return Shown()
    words = _MARKS.get(cell.state, "")
    if cell.measured is not None:
        value = ours(cell.measured, column)
        if cell.state == "reproduced":
            words = f"{value} ✓"
        elif cell.state == "differs" and cell.difference is not None:
            words = f"{value} ({signed(cell.difference, column)})"
        elif cell.state == "partial" and cell.count is not None and cell.whole is not None:
            words = f"{value} ({cell.count:,} {'of' if cell.count < cell.whole else 'for'} {cell.whole:,})"
        elif cell.state in _UNPRINTED:
            words = f"{value} ({_UNPRINTED[cell.state]})"
        else:
            words = f"{value} ({words})"
    if cell.reasons and cell.state in ("reproduced", "differs"):
        words += f" {REMARKED}"
    return Shown(words, cell.state, explain(cell, column))


def _findings(filled: FilledTable) -> Iterator[Finding]:
    """Yields what is to be said of cells; what is the same of several cells of a row is said once."""
    said: dict[tuple[str, State, str], list[str]] = {}
    for row, column, cell in filled.cells():
        text = explain(cell, column)
        if text and (cell.state != "reproduced" or cell.reasons):
            said.setdefault((_name(filled, row), cell.state, text), []).append(column.name)
    for (name, state, text), columns in said.items():
        yield Finding(f"{name}: {', '.join(columns)}", state, text)


def _sign_notes(filled: FilledTable) -> Iterator[str]:
    if any(cell.reasons and cell.state in ("reproduced", "differs") for _, _, cell in filled.cells()):
        yield f"{REMARKED} There is more to know of this cell; it is told apart from the table."
    columns = {column.key for column in filled.table.columns}
    if any(columns - set(row.printed) for row in filled.table.rows):
        yield "? It was not found what the paper prints here; nothing is taken from memory."
    if any(printed.value is None for row in filled.table.rows for printed in row.printed.values()):
        yield "– The paper prints a dash."
