"""The drift filter: a Kalman filter with SORT's state says when a box jumps further than a moving object could.

State: centre x and y, area, aspect ratio, and the speeds of the first three (Bewley et al. 2016, §3.2), in units of
the box's own size in the first frame. Under the model, the squared Mahalanobis distance of a measurement is
chi-square distributed with four degrees of freedom; a track is dropped when its largest one is beyond the quantile at
which the largest of that many draws would lie with probability `max_drift` (Bonferroni).
"""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2

from elysium.boxes import FloatArray

_DEGREES = 4
# Standard deviations in sizes of the object: a tracker's box jitters by 4 %; bouncing and braking change a speed by
# up to a fifth of the size a frame, growing changes the area by a tenth.
_JITTER = np.array([0.04, 0.04, 0.10, 0.10])
_SPEED_CHANGE = np.array([0.20, 0.20, 0.10])
_SHAPE_CHANGE = 0.05


def largest_jump(boxes: FloatArray) -> float:
    """Returns the largest squared Mahalanobis distance of a box from where the filter expects it.

    Args:
        boxes: Shape `(T, 4)`, normalised `(x1, y1, x2, y2)` with positive sides.
    """
    measured = _measure(boxes)
    state = np.concatenate([measured[0], np.zeros(3)])
    covariance = np.diag(np.concatenate([_JITTER**2, _SPEED_CHANGE**2]))
    transition = np.eye(7)
    transition[[0, 1, 2], [4, 5, 6]] = 1
    noise = np.diag([*(_SPEED_CHANGE**2 / 4), _SHAPE_CHANGE**2, *(_SPEED_CHANGE**2)])
    largest = 0.0
    for measurement in measured[1:]:
        state, covariance = transition @ state, transition @ covariance @ transition.T + noise
        innovation = measurement - state[:_DEGREES]
        spread = covariance[:_DEGREES, :_DEGREES] + np.diag(_JITTER**2)
        largest = max(largest, float(innovation @ np.linalg.solve(spread, innovation)))
        gain = covariance[:, :_DEGREES] @ np.linalg.inv(spread)
        state = state + gain @ innovation
        covariance = covariance - gain @ covariance[:_DEGREES]
    return largest


def gate(num_frames: int, max_drift: float) -> float:
    """Returns the largest squared distance that a track of so many frames may have.

    Args:
        num_frames: At least 2.
        max_drift: Probability that a track under the model is dropped.

    Example:
        >>> round(gate(2, 0.05), 2)
        9.49
    """
    return float(chi2.ppf(1 - max_drift / max(1, num_frames - 1), _DEGREES))


def _measure(boxes: FloatArray) -> FloatArray:
    """Returns centre, area and log aspect ratio in units of the first box's size, shape `(T, 4)`."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
    size = float(np.sqrt(sides[0, 0] * sides[0, 1]))
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 / size
    area = sides[:, 0] * sides[:, 1] / size**2
    return np.stack([centre[:, 0], centre[:, 1], area, np.log(sides[:, 0] / sides[:, 1])], axis=1)
