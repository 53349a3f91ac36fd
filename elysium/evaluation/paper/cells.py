"""One cell of a table: a printed figure, a measured one, and what can be said of the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from elysium.evaluation.paper.tables import Column, Printed, Unit

State = Literal[
    "reproduced",
    "differs",
    "partial",
    "other protocol",
    "data missing",
    "failed",
    "not printed",
    "not known",
    "printed",
]
# What the states mean, in the order in which they are counted.
STATES: dict[State, str] = {
    "reproduced": "measured on the whole set, within the tolerance of the printed figure",
    "differs": "measured on the whole set, farther from it than that",
    "partial": "measured, but not on as many items as the whole set has",
    "other protocol": "measured in another way than the printed figure, so that the two do not compare",
    "data missing": "not measured: the data, the model for this row, or what the figure needs is not there",
    "failed": "the evaluation broke off",
    "not printed": "the paper has a dash here",
    "not known": "what the paper prints here was not found",
    "printed": "a row of the paper that nothing is measured for",
}


@dataclass(frozen=True)
class Tolerances:
    """How far a measured figure may lie from the printed one and still reproduce it.

    Attributes:
        percent: In points.
        score: Of scores from 0 to 5.
    """

    percent: float = 0.5
    score: float = 0.05

    def of(self, unit: Unit) -> float:
        """Returns the one for figures of a unit."""
        return self.score if unit == "score" else self.percent


TOLERANCES = Tolerances()


@dataclass(frozen=True)
class Measured:
    """What was measured for a cell.

    Attributes:
        value: The figure, as the column's unit has it.
        interval: Its 95 % interval; None where there is none.
        count: Items or videos that it is of; None if not known.
        whole: How many the whole set has; None if not known.
        parts: Why it is not of the whole set, in sentences; empty where it is.
        contradictions: Why it does not compare with the printed figure, in sentences; empty where it does.
        remarks: What else to know of it, in sentences.
        perhaps: The figure that the column's heading may mean instead, where that is not known.
    """

    value: float
    interval: tuple[float, float] | None = None
    count: int | None = None
    whole: int | None = None
    parts: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    perhaps: float | None = None


@dataclass(frozen=True)
class NotMeasured:
    """Why there is no figure.

    Attributes:
        state: `data missing` or `failed`.
        reason: In a sentence.
    """

    state: Literal["data missing", "failed"]
    reason: str


@dataclass(frozen=True)
class Cell:
    """A cell with its verdict.

    Attributes:
        state: See `STATES`.
        printed: The paper's figure; None for a dash, and where it is not known.
        measured: Ours; None where there is none.
        difference: Measured minus printed; None where one is missing, and where the two do not compare.
        interval: The measured figure's 95 % interval.
        inside: Whether the printed figure lies in that interval.
        tolerance: That decided.
        count: Items or videos measured.
        whole: Items or videos of the whole set.
        reasons: What a reader must know of this cell, in sentences.
        sources: Where the printed figure was found, keys of `figures/sources.yaml`.
    """

    state: State
    printed: float | None = None
    measured: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    inside: bool | None = None
    tolerance: float | None = None
    count: int | None = None
    whole: int | None = None
    reasons: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


def judge_cell(
    column: Column, printed: Printed | None, measured: Measured | NotMeasured | None, tolerances: Tolerances
) -> Cell:
    """Returns what can be said of a cell.

    A figure of a part of the set, or of another protocol, is never called reproduced, however near it is.

    Args:
        column: The cell's.
        printed: None where it is not known what the paper prints.
        measured: None for rows that nothing is measured for.
        tolerances: How near is near enough.

    Example:
        >>> column = Column(key="auc", heading="AUC", metric="auc", sets=("lasot",), task="sot")
        >>> printed = Printed(value=56.1, sources=("protocol",))
        >>> judge_cell(column, printed, Measured(56.4, count=280, whole=280), Tolerances()).state
        'reproduced'
        >>> judge_cell(column, printed, Measured(56.1, count=3, whole=280, parts=("3 of 280",)), Tolerances()).state
        'partial'
    """
    sources = printed.sources if printed else ()
    value = printed.value if printed else None
    unprinted: State = "not known" if printed is None else "not printed"
    if measured is None:
        return Cell("printed" if value is not None else unprinted, printed=value, sources=sources)
    if isinstance(measured, NotMeasured):
        return Cell(measured.state, printed=value, reasons=(measured.reason,), sources=sources)
    tolerance = tolerances.of(column.unit)
    difference = None if value is None else round(measured.value - value, 6)
    inside = None
    if measured.interval and value is not None:
        inside = measured.interval[0] <= value <= measured.interval[1]
    state: State
    if measured.contradictions:
        # A difference would be read as one of the models.
        difference = inside = None
    if value is None:
        state = unprinted
    elif measured.contradictions:
        state = "other protocol"
    elif measured.parts:
        state = "partial"
    else:
        state = "reproduced" if abs(measured.value - value) <= tolerance + 1e-9 else "differs"
    return Cell(
        state=state,
        printed=value,
        measured=measured.value,
        difference=difference,
        interval=measured.interval,
        inside=inside,
        tolerance=tolerance,
        count=measured.count,
        whole=measured.whole,
        reasons=(
            *measured.parts,
            *measured.contradictions,
            *_the_other_way_round(column, value, measured, tolerance),
            *measured.remarks,
        ),
        sources=sources,
    )


def _the_other_way_round(
    column: Column, printed: float | None, measured: Measured, tolerance: float
) -> tuple[str, ...]:
    if printed is None or measured.perhaps is None or column.perhaps is None:
        return ()
    if abs(measured.perhaps - printed) < min(abs(measured.value - printed), tolerance + 1e-9):
        other = column.perhaps.replace("_", " ")
        return (f"the printed figure fits the measured {other} better, {measured.perhaps:.{column.digits}f}",)
    return ()
