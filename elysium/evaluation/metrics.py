"""One-pass evaluation (PROTOCOL §7).

All tracking functions work on boxes in pixels. Per sequence first, then the mean over sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from elysium.boxes import FloatArray, iou

AbsentFrames = Literal["miss", "drop", "ordinary"]
SUCCESS_THRESHOLDS = np.linspace(0, 1, 21)
PRECISION_THRESHOLDS = np.arange(51.0)
NORM_PRECISION_THRESHOLDS = np.linspace(0, 0.5, 51)
# Of the two curves above: thresholds 20 px and 0.2.
_AT_20_PIXELS = _AT_A_FIFTH = 20
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

    total, size = len(g), g[:, 2:] - g[:, :2]
    with np.errstate(invalid="ignore"):
        kept = ~hidden & np.isfinite(g.sum(axis=1) + p.sum(axis=1)) & (size[:, 0] > 0) & (size[:, 1] > 0)
    if not kept.all():  # failures are in no count, only in the denominator
        p, g, size = p[kept], g[kept], size[kept]
    offset = ((p[:, :2] + p[:, 2:]) - (g[:, :2] + g[:, 2:])) / 2
    success = _share_above(iou(p, g), SUCCESS_THRESHOLDS, total)
    precision = _share_up_to(np.linalg.norm(offset, axis=-1), PRECISION_THRESHOLDS, total)
    norm_precision = _share_up_to(np.linalg.norm(offset / size, axis=-1), NORM_PRECISION_THRESHOLDS, total)
    return TrackScore(
        auc=float(success.mean()),
        precision=float(precision[_AT_20_PIXELS]),
        norm_precision=float(norm_precision[_AT_A_FIFTH]),
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


def _share_above(values: FloatArray, thresholds: FloatArray, total: int) -> FloatArray:
    """Returns how many of `total` values are above each threshold, percent: one sort instead of a pass a threshold."""
    return 100.0 * (len(values) - np.searchsorted(np.sort(values), thresholds, side="right")) / total


def _share_up_to(values: FloatArray, thresholds: FloatArray, total: int) -> FloatArray:
    """Returns how many of `total` values are at or below each threshold, percent."""
    return 100.0 * np.searchsorted(np.sort(values), thresholds, side="right") / total
