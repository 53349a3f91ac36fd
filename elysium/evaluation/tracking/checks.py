"""Mistakes in result files that would make a figure wrong without a sound: found by comparison with the truth.

Each is judged over all sequences together, mostly by their first rows, which trackers are given and write back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from elysium.boxes import FloatArray, iou, xywh_to_xyxy
from elysium.errors import UsageError
from elysium.evaluation.tracking.sequences import finite_rows

_SHOWN = 3
# Share of sequences that must show a mistake before it is taken for one.
_MOST = 0.8
_PIXELS = 2.0
_SCALES = ((1.0, "normalised"), (100.0, "percent"), (1000.0, "thousandths"))
_SAMPLED = 40


@dataclass(frozen=True, eq=False)
class Pair:
    """A sequence's results beside its truth.

    Attributes:
        name: Of the sequence.
        where: Its result file.
        rows: Shape `(T, 4)`, results as they stand in the file, `x,y,w,h`.
        truth: Shape `(T, 4)`, `x,y,w,h` in pixels as the set publishes them; NaN where there is no box.
        digest: Of the result file's content.
    """

    name: str
    where: str
    rows: FloatArray
    truth: FloatArray
    digest: bytes = b""


def digest(data: bytes) -> bytes:
    """Returns what tells result files apart."""
    return hashlib.blake2b(data, digest_size=16).digest()


def without_boxes(pair: Pair, refuse: bool) -> tuple[FloatArray, int]:
    """Returns results whose rows that are no box are NaN, and how many those are.

    Rows of NaN and rows of four zeros are how trackers say that they have no box. Anything else that is no box is a
    mistake: a part of NaN, infinity, or a negative width or height.

    Args:
        pair: The sequence.
        refuse: Whether mistakes are refused, or count as no box.

    Raises:
        UsageError: If there is a mistake to refuse; the message names its row.
    """
    rows = pair.rows
    with np.errstate(invalid="ignore"):
        sound = finite_rows(rows) & (rows[:, 2] >= 0) & (rows[:, 3] >= 0) & (rows[:, 0] + rows[:, 2] != 0)
    if sound.all():
        return rows, 0
    empty = np.isnan(rows).all(-1) | (rows == 0).all(-1)
    with np.errstate(invalid="ignore"):
        wrong = ~empty & (~finite_rows(rows) | (rows[:, 2:] < 0).any(-1))
    if refuse and wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise UsageError(
            f"{pair.where}, row {first + 1}: {_row(rows[first])} is no box x,y,w,h (not finite, or a negative size), "
            f"as are {int(wrong.sum())} of {len(rows)} rows"
        )
    gone = empty | wrong
    return np.where(gone[:, None], np.nan, rows), int(gone.sum())


def refuse_copies(pairs: Sequence[Pair]) -> None:
    """Refuses one file's content as the results of two sequences whose truths differ.

    A box that never moves, or none at all, may well be the same in two videos.

    Raises:
        UsageError: If there is such a copy.
    """
    seen: dict[bytes, Pair] = {}
    for pair in pairs:
        other = seen.setdefault(pair.digest, pair)
        if other is pair:
            continue
        same_truth = other.truth.shape == pair.truth.shape and np.array_equal(other.truth, pair.truth, equal_nan=True)
        still = np.array_equal(pair.rows, np.broadcast_to(pair.rows[:1], pair.rows.shape), equal_nan=True)
        if not same_truth and not still:
            raise UsageError(
                f"{other.where} and {pair.where} hold the same rows, and the truths of {other.name} and {pair.name} "
                "differ: one is a copy of the other; run the tracker on it again"
            )


def refuse_other_units(pairs: Sequence[Pair]) -> None:
    """Refuses results that are shares of the frame, of 1, 100 or 1000, instead of pixels.

    Raises:
        UsageError: If they are; the message names the option that reads them.
    """
    pairs = [pair for pair in pairs if np.isfinite(pair.rows).any() and np.isfinite(pair.truth).any()]
    if not pairs:
        return
    largest = max(float(np.nanmax(pair.rows)) for pair in pairs)
    extent = np.array([float(np.nanmax(pair.truth[:, :2] + pair.truth[:, 2:])) for pair in pairs])
    if np.mean([_first_match(pair.rows, pair) for pair in pairs]) >= 0.5:
        return
    for scale, name in _SCALES:
        if largest > scale * 1.02:
            continue
        scaled = np.mean([_first_scaled(pair) for pair in pairs])
        # Where the given box is not written back, only results that all lie in a small corner tell.
        small = scale <= 100 and float(np.mean(extent > 2 * max(largest, scale))) >= _MOST
        if scaled >= _MOST or small:
            raise UsageError(
                f"the results seem to be {name}, not pixels: their largest number is {largest:g} over all "
                f"{len(pairs)} sequences, and the truth reaches {extent.max():g} px. Give --units {name} to have them "
                "brought to pixels, or --units pixels if they are right as they are"
            )
        return


def refuse_corners(pairs: Sequence[Pair]) -> None:
    """Refuses results of `x1,y1,x2,y2` instead of `x,y,w,h`.

    Raises:
        UsageError: If they are; the message names the option that reads them.
    """
    corners, sizes, overlaps = [], [], []
    for pair in pairs:
        both = finite_rows(pair.rows) & finite_rows(pair.truth)
        chosen = np.flatnonzero(both)[:: max(1, int(both.sum()) // _SAMPLED)]
        if not len(chosen):
            continue
        rows, truth = pair.rows[chosen], xywh_to_xyxy(pair.truth[chosen])
        if not (rows[:, 2:] >= rows[:, :2]).all():
            return
        corners.append(_first_match(np.concatenate([pair.rows[:, :2], pair.rows[:, 2:] - pair.rows[:, :2]], -1), pair))
        sizes.append(_first_match(pair.rows, pair))
        overlaps.append(float(iou(rows, truth).mean() - iou(xywh_to_xyxy(rows), truth).mean()))
    if not overlaps:
        return
    given = np.mean(corners) >= _MOST and np.mean(sizes) < 1 - _MOST
    if given or (np.mean(np.array(overlaps) > 0.1) >= _MOST and np.mean(sizes) < 1 - _MOST):
        raise UsageError(
            f"the results seem to be x1,y1,x2,y2, not x,y,w,h: read so they fit the truth of "
            f"{max(sum(corners), int((np.array(overlaps) > 0.1).sum()))} of {len(overlaps)} sequences. Give "
            "--boxes xyxy to have them read so, or --boxes xywh if they are right as they are"
        )


def odd_ones(pairs: Sequence[Pair]) -> list[str]:
    """Returns what single files seem to be that are written in another way than the others, in words.

    They are too few to be the tracker's way of writing, and are scored as they are: a tracker may as well have lost
    the target at once.
    """
    shares, corners = [], []
    for pair in pairs:
        if _first_match(pair.rows, pair) or not len(pair.rows) or not np.isfinite(pair.truth[0]).all():
            continue
        if 0 < np.nanmax(pair.rows, initial=0) <= _SCALES[0][0] * 1.02 and _first_scaled(pair):
            shares.append(pair.name)
        elif _first_match(np.concatenate([pair.rows[:, :2], pair.rows[:, 2:] - pair.rows[:, :2]], -1), pair):
            corners.append(pair.name)
    return [
        f"{len(names)} of {len(pairs)} result files seem to be {form}, other than the rest: {', '.join(names[:_SHOWN])}"
        f"{' …' if len(names) > _SHOWN else ''}; scored as they are, which costs the figures: mend them"
        for names, form in ((shares, "normalised, not pixels"), (corners, "x1,y1,x2,y2, not x,y,w,h"))
        if names
    ]


def origin_offset(pairs: Sequence[Pair]) -> int:
    """Returns by how many pixels the first result rows are off the first true boxes in both axes: -1, 0 or 1.

    -1 is results that count pixels from 0 where the truth counts from 1, or the tracker of SiamRPN++'s published
    results on LaSOT; 0 also where the first rows say nothing.
    """
    offsets = []
    for pair in pairs:
        if len(pair.rows) and np.isfinite(pair.rows[0]).all() and np.isfinite(pair.truth[0]).all():
            offsets.append(pair.rows[0] - pair.truth[0])
    if not offsets:
        return 0
    array = np.array(offsets)
    for offset in (-1, 1):
        shifted = (np.abs(array[:, :2] - offset) < 0.3).all(-1) & (np.abs(array[:, 2:]) < 0.3).all(-1)
        if shifted.mean() >= _MOST:
            return offset
    return 0


def _first_match(rows: FloatArray, pair: Pair) -> bool:
    """Returns whether the first row is the first true box, give or take two pixels."""
    if not len(rows) or not np.isfinite(rows[0]).all() or not np.isfinite(pair.truth[0]).all():
        return False
    return bool((np.abs(rows[0] - pair.truth[0]) <= _PIXELS).all())


def _first_scaled(pair: Pair) -> bool:
    """Returns whether the first row is the first true box, divided by one number in x and by another in y."""
    row, truth = pair.rows[0], pair.truth[0]
    if not np.isfinite(row).all() or not np.isfinite(truth).all():
        return False
    readings = [(row[:2], row[:2] + row[2:]), (row[:2], row[2:])]  # x,y,w,h and x1,y1,x2,y2
    first, last = truth[:2], truth[:2] + truth[2:]
    step = 1 if np.nanmax(pair.rows) > 1.02 else 0.001  # of what is written
    for low, high in readings:
        if (high <= low).any() or (last <= 0).any():
            continue
        factor = last / high
        off = np.abs(low * factor - first)
        if (off <= 2 + 2 * step * factor).all() and (np.abs(factor - 1) > 0.02).any():
            return True
    return False


def _row(row: FloatArray) -> str:
    return ",".join(f"{value:g}" for value in row)
