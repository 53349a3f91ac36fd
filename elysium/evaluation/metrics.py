"""One-pass evaluation (PROTOCOL §7).

All tracking functions work on boxes in pixels. Per sequence first, then the mean over sequences.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from elysium.boxes import FloatArray, iou

AbsentFrames = Literal["miss", "drop", "ordinary"]
SUCCESS_THRESHOLDS = np.linspace(0, 1, 21)
PRECISION_THRESHOLDS = np.arange(51.0)
NORM_PRECISION_THRESHOLDS = np.linspace(0, 0.5, 51)
_PRECISION_PIXELS = 20
_NORM_PRECISION = 0.2
TRACKING_METRICS = ("auc", "precision", "norm_precision")


@dataclass(frozen=True)
class TrackScore:
    """One sequence's, or the mean of many sequences', one-pass figures.

    Attributes:
        auc: Mean of the success curve, percent.
        precision: Share of frames with a centre error of at most 20 px, percent.
        norm_precision: Share of frames with a centre error of at most 0.2 target sizes, percent.
        success_curve: Shape `(21,)`: share of frames with IoU > t, percent.
        precision_curve: Shape `(51,)`: share of frames with centre error <= 0, 1, …, 50 px, percent.
        norm_precision_curve: Shape `(51,)`: the same for 0, 0.01, …, 0.5 target sizes.
    """

    auc: float
    precision: float
    norm_precision: float
    success_curve: FloatArray
    precision_curve: FloatArray
    norm_precision_curve: FloatArray


def score_track(
    predicted: npt.ArrayLike,
    truth: npt.ArrayLike,
    absent: npt.ArrayLike | None = None,
    absent_frames: AbsentFrames = "miss",
) -> TrackScore:
    """Returns the one-pass figures of one sequence.

    Args:
        predicted: Shape `(T, 4)`, `(x1, y1, x2, y2)` in pixels. NaN counts as no box.
        truth: Shape `(T, 4)`, likewise. A frame whose true box is NaN or without size is a failure that stays in the
            denominator.
        absent: Shape `(T,)`, true where the target is not in view.
        absent_frames: `miss` counts absent frames as failures (the LaSOT toolkit), `drop` leaves them out, `ordinary`
            ignores the flags.

    Raises:
        ValueError: If the shapes differ, or no frame is left to score.
    """
    p, g = np.asarray(predicted, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if p.shape != g.shape or p.ndim != 2 or p.shape[1] != 4:
        raise ValueError(f"predicted and true boxes need one shape (T, 4), got {p.shape} and {g.shape}")
    hidden = np.zeros(len(g), dtype=bool) if absent is None else np.asarray(absent, dtype=bool)
    if hidden.shape != (len(g),):
        raise ValueError(f"absent needs one flag a frame, shape ({len(g)},), got {hidden.shape}")
    if absent_frames == "drop":
        p, g, hidden = p[~hidden], g[~hidden], hidden[~hidden]
    elif absent_frames == "ordinary":
        hidden = np.zeros(len(g), dtype=bool)
    if len(g) == 0:
        raise ValueError("no frame is left to score: the target is absent in all of them")

    size = g[:, 2:] - g[:, :2]
    with np.errstate(invalid="ignore"):
        failed = hidden | ~np.isfinite(g).all(-1) | ~np.isfinite(p).all(-1) | ~(size > 0).all(-1)
    overlap = np.where(failed, -1.0, iou(np.nan_to_num(p), np.nan_to_num(g)))
    offset = (np.nan_to_num(p[:, :2] + p[:, 2:]) - np.nan_to_num(g[:, :2] + g[:, 2:])) / 2
    distance = np.where(failed, np.inf, np.linalg.norm(offset, axis=-1))
    relative = np.divide(offset, size, out=np.full_like(offset, np.inf), where=~failed[:, None])
    norm_distance = np.where(failed, np.inf, np.linalg.norm(np.where(failed[:, None], 0, relative), axis=-1))

    success = _share_above(overlap, SUCCESS_THRESHOLDS)
    precision = _share_up_to(distance, PRECISION_THRESHOLDS)
    norm_precision = _share_up_to(norm_distance, NORM_PRECISION_THRESHOLDS)
    return TrackScore(
        auc=float(success.mean()),
        precision=float(_share_up_to(distance, np.array([_PRECISION_PIXELS]))[0]),
        norm_precision=float(_share_up_to(norm_distance, np.array([_NORM_PRECISION]))[0]),
        success_curve=success,
        precision_curve=precision,
        norm_precision_curve=norm_precision,
    )


def mean_score(scores: Sequence[TrackScore]) -> TrackScore:
    """Returns the mean over sequences.

    Raises:
        ValueError: If there is none.
    """
    if not scores:
        raise ValueError("no sequence to average over")
    return TrackScore(
        auc=float(np.mean([score.auc for score in scores])),
        precision=float(np.mean([score.precision for score in scores])),
        norm_precision=float(np.mean([score.norm_precision for score in scores])),
        success_curve=np.mean([score.success_curve for score in scores], axis=0),
        precision_curve=np.mean([score.precision_curve for score in scores], axis=0),
        norm_precision_curve=np.mean([score.norm_precision_curve for score in scores], axis=0),
    )


def _share_above(values: FloatArray, thresholds: FloatArray) -> FloatArray:
    """Returns the percentage of values above each threshold, through one sort instead of one pass a threshold."""
    ordered = np.sort(values)
    return 100.0 * (len(ordered) - np.searchsorted(ordered, thresholds, side="right")) / len(ordered)


def _share_up_to(values: FloatArray, thresholds: FloatArray) -> FloatArray:
    """Returns the percentage of values at or below each threshold."""
    ordered = np.sort(values)
    return 100.0 * np.searchsorted(ordered, thresholds, side="right") / len(ordered)


def mean_of(values: Iterable[float]) -> float:
    """Returns the mean of figures, 0 for none."""
    numbers = list(values)
    return float(np.mean(numbers)) if numbers else 0.0
