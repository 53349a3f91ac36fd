"""Result files read beside the truth: in pixels, a row a frame, refused where they contradict how they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from elysium.boxes import FloatArray, xywh_to_xyxy, xyxy_to_xywh
from elysium.errors import UsageError
from elysium.evaluation.tracking import otb
from elysium.evaluation.tracking.checks import (
    Pair,
    digest,
    odd_ones,
    origin_offset,
    refuse_copies,
    refuse_corners,
    refuse_other_units,
    without_boxes,
)
from elysium.evaluation.tracking.results import ResultFile
from elysium.evaluation.tracking.rows import parse_boxes
from elysium.evaluation.tracking.sequences import TrackingSequence, finite_rows

Units = Literal["pixels", "normalised", "percent", "thousandths"]
Lengths = Literal["exact", "short", "any"]

_SCALES: dict[str, float] = {"normalised": 1, "percent": 100, "thousandths": 1000}
_SHOWN = 5


@dataclass(frozen=True)
class Reading:
    """How result files are to be read. What is None is the usual, and refused where the rows contradict it.

    Attributes:
        units: What the numbers are; None is pixels. Shares of the frame need the frames' sizes.
        boxes: What a row is: `xywh`, or `xyxy` for two corners; None is `xywh`.
        origin: Number of the first pixel in results, 0 or 1; None is that of the truth's files.
        lengths: `exact`: a row for each frame. `short`: missing rows at the end are no box. `any`: rows beyond the last
            frame are left out as well. None is `short` for OTB, whose published results end early, and `exact` else.
        invalid: `refuse` rows that are no box by mistake (infinite, partly NaN, of negative size), or count them as a
            `miss`. Rows of NaN or of zeros alone always count as no box.
        frame_size: `(width, height)` of all frames, where units need it and the set does not say.
    """

    units: Units | None = None
    boxes: Literal["xywh", "xyxy"] | None = None
    origin: Literal[0, 1] | None = None
    lengths: Lengths | None = None
    invalid: Literal["refuse", "miss"] = "refuse"
    frame_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Results:
    """What was read.

    Attributes:
        boxes: Sequence name to shape `(T, 4)`, `(x1, y1, x2, y2)` in pixels counted from 0, NaN for no box.
        short: Sequence name to number of missing rows, for sequences whose results end early.
        notes: What one should know of the files, a sentence each.
    """

    boxes: dict[str, FloatArray]
    short: dict[str, int]
    notes: tuple[str, ...]


def read_results(
    sequences: Sequence[TrackingSequence], files: Mapping[str, ResultFile], reading: Reading, usual: Lengths
) -> Results:
    """Reads the results of sequences and compares them with the truth.

    Args:
        sequences: With their truth.
        files: By the sequences' names.
        reading: How to read them.
        usual: Lengths where `reading` does not say.

    Raises:
        UsageError: If a file is empty, malformed or of another length, or results look like something else than they
            are read as: another sequence's, shares of the frame, corners; the message names it and the remedy.
    """
    pairs, short = _read(sequences, files, reading, reading.lengths or usual)
    refuse_copies(pairs)
    if reading.units is None:
        refuse_other_units(pairs)
    if reading.boxes is None:
        refuse_corners(pairs)
    odd = odd_ones(pairs) if reading.units is None and reading.boxes is None else []
    one_based = any(sequence.one_based for sequence in sequences)
    notes = [*odd, *_offset_note(pairs, reading, one_based), *_truth_note(sequences)]
    boxes, empty = {}, 0
    for sequence, pair in zip(sequences, pairs, strict=True):
        rows, count = without_boxes(pair, refuse=reading.invalid == "refuse")
        empty += count - short.get(sequence.name, 0)
        boxes[sequence.name] = xywh_to_xyxy(rows) - _origin(sequence, reading)
    if empty:
        notes.append(f"{empty} rows of the results hold no box and count as failures")
    return Results(boxes, short, tuple(notes))


def _read(
    sequences: Sequence[TrackingSequence], files: Mapping[str, ResultFile], reading: Reading, lengths: Lengths
) -> tuple[list[Pair], dict[str, int]]:
    """Returns results and truth in pixels as published, and how many rows are missing."""
    pairs, short, wrong = [], {}, []
    for sequence in sequences:
        file, length = files[sequence.name], len(sequence.boxes)
        data = file.read()
        rows = parse_boxes(data, file.where)
        if len(rows) == 0:
            raise UsageError(f"{file.where} is empty, and {sequence.name} has {length} frames")
        rows = rows[otb.without_omitted(sequence.name, len(rows)) :]
        if len(rows) != length:
            if lengths == "exact" or (lengths == "short" and len(rows) > length):
                wrong.append(f"{sequence.name} has {len(rows)} rows for {length} frames")
                continue
            if len(rows) < length:
                short[sequence.name] = length - len(rows)
            rows = np.concatenate([rows[:length], np.full((max(0, length - len(rows)), 4), np.nan)])
        truth = xyxy_to_xywh(sequence.boxes) + np.array([1, 1, 0, 0]) * sequence.one_based
        pairs.append(Pair(sequence.name, file.where, _as_pixels(rows, sequence, reading), truth, digest(data)))
    if wrong:
        more = f" … and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise UsageError(
            "results and ground truth differ in length: "
            + "; ".join(wrong[:_SHOWN])
            + more
            + ". --lengths short takes "
            "missing rows as no box, --lengths any also leaves out rows beyond the last frame"
        )
    return pairs, short


def _as_pixels(rows: FloatArray, sequence: TrackingSequence, reading: Reading) -> FloatArray:
    """Returns rows as `x,y,w,h` in pixels, counted as results are."""
    if reading.boxes == "xyxy":
        rows = xyxy_to_xywh(rows)
    scale = _SCALES.get(reading.units or "pixels")
    if scale is None:
        return rows
    width, height = sequence.size()
    pixels = rows * np.array([width, height, width, height]) / scale
    # Shares of the frame begin at its border, whatever the set's files count from.
    return np.asarray(pixels + np.array([1, 1, 0, 0]) * _origin(sequence, reading))


def _origin(sequence: TrackingSequence, reading: Reading) -> int:
    return int(sequence.one_based) if reading.origin is None else reading.origin


def _offset_note(pairs: Sequence[Pair], reading: Reading, one_based: bool) -> list[str]:
    """Says where results seem to count pixels from another number than the truth: they are scored as they are.

    Published results do so (SiamRPN++'s on LaSOT, in all 280 sequences), and published figures with them.
    """
    offset = origin_offset(pairs)
    if not offset or reading.origin is not None or reading.units not in (None, "pixels"):
        return []
    where = f"the first rows of the results lie {offset:+d} px off the first true boxes in x and y"
    if offset == (-1 if one_based else 1):
        counted, option = ("from 0", "--zero-based") if one_based else ("from 1", "--one-based")
        reason = (
            f"they seem to count pixels {counted}, other than the truth; scored as they are, and {option} shifts them"
        )
    else:
        reason = (
            f"they seem to have been shifted twice, or the truth's files to count from {offset < 0:d}, other than the "
            "set's do; scored as they are"
        )
    return [f"{where}: {reason}"]


def _truth_note(sequences: Sequence[TrackingSequence]) -> list[str]:
    unflagged = 0
    for sequence in sequences:
        gone = ~finite_rows(sequence.boxes)
        if gone.all():
            raise UsageError(f"the truth of {sequence.name} holds no box at all in its {len(gone)} rows")
        unflagged += int((gone if sequence.absent is None else gone & ~sequence.absent).sum())
    if not unflagged:
        return []
    return [f"{unflagged} frames have no true box without being flagged as absent, and count as failures"]
