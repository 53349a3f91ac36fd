"""Figures as the evaluation toolkits of published sets compute them; `protocols.py` says what each means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from elysium.boxes import FloatArray, iou, xyxy_to_xywh
from elysium.evaluation.metrics import (
    NORM_PRECISION_THRESHOLDS,
    PRECISION_THRESHOLDS,
    SUCCESS_THRESHOLDS,
    AbsentFrames,
    TrackScore,
)
from elysium.evaluation.tracking.sequences import TrackingSequence, finite_rows

OVERLAP_THRESHOLDS = np.linspace(0, 1, 101)
DEVKIT_PRECISION_THRESHOLDS = np.linspace(0, 50, 21)
DEVKIT_NORM_PRECISION_THRESHOLDS = np.linspace(0, 0.5, 21)


@dataclass(frozen=True, eq=False)
class OverlapScore:
    """GOT-10k's figures of one sequence, or of all frames of many.

    Attributes:
        ao: Average overlap, percent.
        sr50: Share of frames with IoU > 0.5, percent.
        sr75: Share of frames with IoU > 0.75, percent.
        success_curve: Shape `(101,)`: share of frames with IoU > 0, 0.01, …, 1, percent.
        num_frames: Number of frames that count.
    """

    ao: float
    sr50: float
    sr75: float
    success_curve: FloatArray
    num_frames: int


def score_toolkit(predicted: FloatArray, sequence: TrackingSequence, absent_frames: AbsentFrames) -> TrackScore:
    """Scores as `calc_seq_err_robust.m` and `eval_tracker.m` do; both in pixels as the set publishes them."""
    base = float(sequence.one_based)
    truth = sequence.boxes + base
    boxes = _without_gaps(predicted + base, truth)
    hidden = np.zeros(len(truth), dtype=bool) if sequence.absent is None else sequence.absent
    length = len(truth)
    if absent_frames == "ordinary":
        hidden = np.zeros(length, dtype=bool)
    boxes, truth = boxes[~hidden], truth[~hidden]
    if absent_frames == "drop":
        length = len(truth)
    if length == 0:
        raise ValueError(f"{sequence.name}: no frame is left to score, the target is absent in all of them")
    with np.errstate(invalid="ignore"):
        sound = finite_rows(truth) & (np.nan_to_num(truth[:, :2]) > 0).all(-1)
    overlap = np.where(sound, iou(np.nan_to_num(boxes), np.nan_to_num(truth)), -1.0)
    offset, size = _offset(boxes, truth)
    distance = np.where(sound, np.nan_to_num(np.linalg.norm(offset, axis=-1), nan=np.inf), -1.0)
    relative = np.divide(offset, size, out=np.full_like(offset, np.inf), where=size > 0)
    norm_distance = np.where(sound, np.nan_to_num(np.linalg.norm(relative, axis=-1), nan=np.inf), -1.0)
    success = _above(overlap, SUCCESS_THRESHOLDS) / length
    precision = _up_to(distance, PRECISION_THRESHOLDS) / length
    norm_precision = _up_to(norm_distance, NORM_PRECISION_THRESHOLDS) / length
    return TrackScore(
        auc=float(success.mean()),
        precision=float(precision[20]),
        norm_precision=float(norm_precision[20]),
        success_curve=success,
        precision_curve=precision,
        norm_precision_curve=norm_precision,
    )


def _without_gaps(boxes: FloatArray, truth: FloatArray) -> FloatArray:
    """Returns results whose first box is the true one, and whose boxes without size are the last one before them."""
    boxes = boxes.copy()
    boxes[0] = truth[0]
    with np.errstate(invalid="ignore"):
        sound = finite_rows(boxes) & (boxes[:, 2:] > boxes[:, :2]).all(-1)
    sound[0] = True
    return boxes[np.maximum.accumulate(np.where(sound, np.arange(len(boxes)), 0))]


def score_got10k(predicted: FloatArray, sequence: TrackingSequence, absent_frames: AbsentFrames) -> OverlapScore:
    """Scores as `ExperimentGOT10k.report` does; it bounds the numbers as they are published."""
    del absent_frames  # the cover label decides
    counted = np.ones(len(predicted), dtype=bool) if sequence.counted is None else sequence.counted.copy()
    counted[0] = False
    if not counted.any():
        raise ValueError(f"{sequence.name}: no frame is left to score after the first one")
    base = float(sequence.one_based)
    boxes, truth = predicted[counted] + base, sequence.boxes[counted] + base
    found = finite_rows(boxes) & finite_rows(truth)
    size = sequence.size()
    overlap = np.where(found, iou(_bounded(np.nan_to_num(boxes), size), _bounded(np.nan_to_num(truth), size)), 0.0)
    return OverlapScore(
        ao=float(100 * overlap.mean()),
        sr50=float(100 * (overlap > 0.5).mean()),
        sr75=float(100 * (overlap > 0.75).mean()),
        success_curve=_above(overlap, OVERLAP_THRESHOLDS) / len(overlap),
        num_frames=len(overlap),
    )


def _bounded(boxes: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Returns boxes whose corner is moved into the image and whose size is cut to it, as the toolkit does."""
    rows = xyxy_to_xywh(boxes)
    corner = np.clip(rows[:, :2], 0, size)
    sides = np.clip(rows[:, 2:], 0, np.array(size) - corner)
    return np.concatenate([corner, corner + sides], axis=-1)


def mean_overlap(scores: Sequence[OverlapScore]) -> OverlapScore:
    """Returns the mean over all frames of many sequences, as the toolkit's overall figures are."""
    frames = np.array([score.num_frames for score in scores], dtype=np.float64)
    shares = frames / frames.sum()
    return OverlapScore(
        ao=float(shares @ [score.ao for score in scores]),
        sr50=float(shares @ [score.sr50 for score in scores]),
        sr75=float(shares @ [score.sr75 for score in scores]),
        success_curve=shares @ np.array([score.success_curve for score in scores]),
        num_frames=int(frames.sum()),
    )


def score_trackingnet(predicted: FloatArray, sequence: TrackingSequence, absent_frames: AbsentFrames) -> TrackScore:
    """Scores as the devkit's `evaluate` does."""
    del absent_frames  # the set has no flags
    truth, boxes = _rounded(sequence.boxes), _rounded(predicted)
    boxes[0] = truth[0]
    length = len(truth)
    found = finite_rows(boxes) & finite_rows(truth)
    overlap = np.where(found, iou(np.nan_to_num(boxes), np.nan_to_num(truth)), -1.0)
    offset, size = _offset(boxes, truth)
    distance = np.where(found, np.linalg.norm(np.nan_to_num(offset), axis=-1), np.inf)
    relative = np.divide(offset, size, out=np.full_like(offset, np.inf), where=size > 0)
    norm_distance = np.where(found, np.linalg.norm(np.nan_to_num(relative, posinf=np.inf), axis=-1), np.inf)
    success = _above(overlap, SUCCESS_THRESHOLDS) / length
    precision = _up_to(distance, DEVKIT_PRECISION_THRESHOLDS) / length
    norm_precision = _up_to(norm_distance, DEVKIT_NORM_PRECISION_THRESHOLDS) / length
    return TrackScore(
        auc=_area(success),
        precision=_area(precision),
        norm_precision=_area(norm_precision),
        success_curve=success,
        precision_curve=precision,
        norm_precision_curve=norm_precision,
    )


def _rounded(boxes: FloatArray) -> FloatArray:
    rows = np.rint(xyxy_to_xywh(boxes))
    return np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:]], axis=-1)


def _area(curve: FloatArray) -> float:
    """Returns the area under a curve over [0, 1] by trapezoids."""
    return float(((curve[1:] + curve[:-1]) / 2).mean())


def _offset(boxes: FloatArray, truth: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Returns how far the centres are apart, and the true sizes."""
    return (boxes[:, :2] + boxes[:, 2:] - truth[:, :2] - truth[:, 2:]) / 2, np.nan_to_num(truth[:, 2:] - truth[:, :2])


def _above(values: FloatArray, thresholds: FloatArray) -> FloatArray:
    """Returns how many values are above each threshold, times 100."""
    return 100.0 * (len(values) - np.searchsorted(np.sort(values), thresholds, side="right"))


def _up_to(values: FloatArray, thresholds: FloatArray) -> FloatArray:
    """Returns how many values are at most each threshold, times 100."""
    return 100.0 * np.searchsorted(np.sort(values), thresholds, side="right")
