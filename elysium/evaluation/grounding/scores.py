"""Boxes of named objects (REC): accuracy at several overlaps, and mean overlap (PROTOCOL §7).

A box that is not there, not finite or without area is a failure: overlap 0, in every denominator.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from elysium.boxes import FloatArray, area, iou

# Metric → least overlap of a hit; the first is Acc@0.5, the published one.
ACCURACIES = {"accuracy": 0.5, "accuracy_70": 0.7, "accuracy_90": 0.9}


def score_grounding(predicted: npt.ArrayLike, truth: npt.ArrayLike) -> dict[str, FloatArray]:
    """Scores boxes.

    Args:
        predicted: Shape `(n, 4)`, `(x1, y1, x2, y2)` in any one unit; NaN where there is no answer.
        truth: Shape `(n, 4)`, likewise.

    Returns:
        Metric to each box's figure, shape `(n,)`, percent: 0 or 100 for accuracies, and `mean_iou`. The figures of a
        set are the means.

    Raises:
        ValueError: If shapes differ, or a true box is not finite or has no area.

    Example:
        >>> score_grounding([[0, 0, 10, 6]], [[0, 0, 10, 10]])["accuracy"]
        array([100.])
    """
    p, g = np.asarray(predicted, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if p.shape != g.shape or p.shape[1:] != (4,):
        raise ValueError(f"predicted and true boxes need one shape (n, 4), got {p.shape} and {g.shape}")
    if not _found(g).all():
        raise ValueError(f"{(~_found(g)).sum()} true boxes are not finite or have no area")
    found = _found(p)
    overlap = np.where(found, iou(np.where(found[:, None], p, 0.0), g), 0.0)
    return {name: 100.0 * (overlap >= least) for name, least in ACCURACIES.items()} | {"mean_iou": 100.0 * overlap}


def _found(boxes: FloatArray) -> npt.NDArray[np.bool_]:
    finite = np.asarray(np.isfinite(boxes).all(-1))
    return finite & (area(np.where(finite[:, None], boxes, 0.0)) > 0)
