"""A table of the paper, filled with what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from elysium.evaluation.paper.cells import (
    STATES,
    TOLERANCES,
    Cell,
    Measured,
    NotMeasured,
    State,
    Tolerances,
    judge_cell,
)
from elysium.evaluation.paper.sets import KnownSet, find_known_set
from elysium.evaluation.paper.tables import Column, PaperTable, Row, load_sources, task_of
from elysium.evaluation.results import Evaluation, TaskFigures


@dataclass(frozen=True)
class Results:
    """What was measured for one model.

    Attributes:
        measured: Task and set, e.g. `sot-lasot`, to the evaluation that has it.
        missing: Task and set to why there is no data.
        failed: Task and set to why there are no figures.
        direct: Column to a figure that no evaluation has: of an ablation study, say.
        checkpoint: The model, as the user named it.
    """

    measured: Mapping[str, Evaluation] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    direct: Mapping[str, Measured] = field(default_factory=dict)
    checkpoint: str | None = None


@dataclass(frozen=True)
class FilledRow:
    """A row and its cells.

    Attributes:
        row: Of the paper.
        cells: One a column.
        beside: Baseline to its measured figures by column, of the same evaluations.
    """

    row: Row
    cells: tuple[Cell, ...]
    beside: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class FilledTable:
    """A table and what can be said of it.

    Attributes:
        table: Of the paper.
        rows: In its order.
        tolerances: That decided.
        notes: The table's, and those about the models.
    """

    table: PaperTable
    rows: tuple[FilledRow, ...]
    tolerances: Tolerances
    notes: tuple[str, ...]

    def cells(self) -> Iterator[tuple[Row, Column, Cell]]:
        """Yields the cells that a model fills, row by row."""
        for filled in self.rows:
            if filled.row.key:
                for column, cell in zip(self.table.columns, filled.cells, strict=True):
                    if column.metric:
                        yield filled.row, column, cell

    @property
    def counts(self) -> dict[State, int]:
        """State to the number of cells that a model fills, in the order of `STATES`, without zeros."""
        found = [cell.state for _, _, cell in self.cells()]
        return {state: found.count(state) for state in STATES if state in found}

    @property
    def summary(self) -> str:
        """The whole in a line."""
        words = [f"{count} {state}" for state, count in self.counts.items()]
        return f"{self.table.number}: {', '.join(words)} (of {sum(self.counts.values())} cells)"

    def as_json(self) -> dict[str, Any]:
        """Returns plain data."""
        rows = []
        for filled in self.rows:
            cells = {
                column.key: {name: value for name, value in asdict(cell).items() if value not in (None, (), [])}
                for column, cell in zip(self.table.columns, filled.cells, strict=True)
            }
            entry: dict[str, Any] = {"system": filled.row.system, "cells": cells}
            entry |= {"model": filled.row.key} if filled.row.key else {}
            entry |= {"note": filled.row.note} if filled.row.note else {}
            entry |= {"baselines": {name: dict(figures) for name, figures in filled.beside.items()}}
            rows.append(entry)
        used = dict.fromkeys(source for filled in self.rows for cell in filled.cells for source in cell.sources)
        return {
            "table": self.table.name,
            "title": self.table.title,
            "numbering": self.table.numbering,
            "counts": self.counts,
            "tolerances": asdict(self.tolerances),
            "columns": [column.model_dump(mode="json", exclude_defaults=True) for column in self.table.columns],
            "rows": rows,
            "notes": list(self.notes),
            "sources": {name: load_sources()[name] for name in used},
        }


def fill(table: PaperTable, results: Mapping[str, Results], tolerances: Tolerances = TOLERANCES) -> FilledTable:
    """Returns the table with every cell judged.

    Args:
        table: Of the paper.
        results: Name of the model, as `table.keys` has it, to what was measured for it.
        tolerances: How near is near enough.
    """
    rows = []
    for row in table.rows:
        found = results.get(row.key) if row.key else None
        cells = []
        for column in table.columns:
            measured = _measured(table, row, column, found) if row.key and column.metric else None
            cells.append(judge_cell(column, row.printed.get(column.key), measured, tolerances))
        rows.append(FilledRow(row, tuple(cells), _beside(table, row, found)))
    return FilledTable(table, tuple(rows), tolerances, _notes(table, results))


def _measured(table: PaperTable, row: Row, column: Column, found: Results | None) -> Measured | NotMeasured:
    if found is None:
        return NotMeasured("data missing", f"no model was given for this row; --model {row.key}=CHECKPOINT gives one")
    names = {name: f"{task_of(row, column)}-{name}" for name in column.sets}
    if column.key in found.direct and not any(key in found.measured for key in names.values()):
        return found.direct[column.key]
    states: tuple[tuple[Literal["failed", "data missing"], Mapping[str, str]], ...] = (
        ("failed", found.failed),
        ("data missing", found.missing),
    )
    for state, reasons in states:
        hit = dict.fromkeys(reasons[key] for key in names.values() if key in reasons)
        if hit:
            return NotMeasured(state, "; ".join(hit))
    lacking = [key for key in names.values() if key not in found.measured]
    if lacking:
        return NotMeasured("data missing", f"there is no evaluation of {', '.join(lacking)}")
    parts = [_of_one_set(table, column, name, key, found.measured[key]) for name, key in names.items()]
    broken = next((part for part in parts if isinstance(part, NotMeasured)), None)
    return broken or _mean([part for part in parts if isinstance(part, Measured)])


def _of_one_set(
    table: PaperTable, column: Column, name: str, key: str, evaluation: Evaluation
) -> Measured | NotMeasured:
    figures, metric = evaluation.tasks[key], column.metric or ""
    if metric not in figures.model:
        notes = "; ".join(figures.notes)
        return NotMeasured(
            "data missing",
            f"{key} has no figure {metric}, but {', '.join(figures.model) or 'none at all'}"
            + (f"; it says: {notes}" if notes else ""),
        )
    known = find_known_set(name)
    count = known.measured(figures)
    part = known.part(count, figures.protocol.get("split"))
    whole = known.counts[part]
    parts = () if known.is_whole(count, part) else (_not_whole(key, count, whole, known.unit),)
    return Measured(
        value=figures.model[metric],
        interval=figures.intervals.get(metric),
        count=count,
        whole=whole,
        parts=parts,
        contradictions=tuple(_contradictions(column, key, figures, evaluation)),
        remarks=(*_part(key, known, part), *_remarks(table, key, figures)),
        perhaps=figures.model.get(column.perhaps) if column.perhaps else None,
    )


def _not_whole(key: str, count: int, whole: int, unit: str) -> str:
    return (
        f"{key} is of {count:,} of {whole:,} {unit}"
        if count < whole
        else f"{key} is of {count:,} {unit}, not {whole:,}"
    )


def _part(key: str, known: KnownSet, part: str) -> tuple[str, ...]:
    """Returns which part of a set was measured, where the table may be of one or another."""
    return (f"{key} is of the part {part}",) if len(known.counts) > 1 else ()


def _contradictions(column: Column, key: str, figures: TaskFigures, evaluation: Evaluation) -> Iterator[str]:
    for name, wanted in column.requires.items():
        if name in figures.protocol and figures.protocol[name] != wanted:
            words = name.replace("_", " ")
            published = "without" if wanted is None else f"with {wanted}"
            yield f"{key} was measured with {words} = {figures.protocol[name]}, published figures are {published}"
    if evaluation.leaks:
        yield f"the model had seen {evaluation.leaks:,} of the items of {key} in training"


def _remarks(table: PaperTable, key: str, figures: TaskFigures) -> Iterator[str]:
    if table.judge:
        judge = figures.protocol.get("judge")
        name = judge.get("model") if isinstance(judge, dict) else judge
        who = f"judged by {name}" if name else "it does not say who judged it"
        yield f"{who}, the printed figures by {table.judge}: part of a difference may be the judge's"
    if figures.num_failures:
        yield f"{figures.num_failures:,} answers of {key} failed and count as wrong"


def _mean(parts: Sequence[Measured]) -> Measured:
    if len(parts) == 1:
        return parts[0]
    counts, wholes = [part.count for part in parts], [part.whole for part in parts]
    return Measured(
        value=round(sum(part.value for part in parts) / len(parts), 4),
        count=sum(count for count in counts if count is not None) if None not in counts else None,
        whole=sum(whole for whole in wholes if whole is not None) if None not in wholes else None,
        parts=tuple(text for part in parts for text in part.parts),
        contradictions=tuple(text for part in parts for text in part.contradictions),
        remarks=(f"mean over {len(parts)} sets", *(text for part in parts for text in part.remarks)),
    )


def _beside(table: PaperTable, row: Row, found: Results | None) -> dict[str, dict[str, float]]:
    """Returns the baselines that the evaluations of a row have: name to figures by column."""
    beside: dict[str, dict[str, float]] = {}
    for column in table.measured_columns if found and row.key else ():
        evaluations = [found.measured.get(f"{task_of(row, column)}-{name}") for name in column.sets] if found else []
        if len(evaluations) != 1 or evaluations[0] is None:
            continue
        figures = evaluations[0].tasks[f"{task_of(row, column)}-{column.sets[0]}"]
        for baseline, values in figures.baselines.items():
            if column.metric in values:
                beside.setdefault(baseline, {})[column.key] = values[column.metric]
    return beside


def _told(table: PaperTable, key: str, found: Results) -> Iterator[str]:
    """Yields what the evaluations themselves tell their readers."""
    for task, name in table.needs(key):
        evaluation = found.measured.get(f"{task}-{name}")
        for note in evaluation.tasks[f"{task}-{name}"].notes if evaluation else ():
            yield f"{task}-{name}: {note.rstrip('.')}."


def _notes(table: PaperTable, results: Mapping[str, Results]) -> tuple[str, ...]:
    notes = list(table.notes)
    if table.numbering == "assumed":
        notes.append(f"That this is the paper's {table.number} is assumed from the order of its sections.")
    for key, found in results.items():
        names = {evaluation.checkpoint for evaluation in found.measured.values() if evaluation.checkpoint}
        if not names and found.checkpoint:
            names = {found.checkpoint}
        if len(names) > 1:
            notes.append(f"The figures of {key} are of several checkpoints: {', '.join(sorted(names))}.")
        elif names:
            notes.append(f"The figures of {key} are of the checkpoint {names.pop()}.")
        notes += _told(table, key, found)
    return tuple(notes)
