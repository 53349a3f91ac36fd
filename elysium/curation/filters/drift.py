"""The drift filter: a track whose box jumps as no moving object does is dropped (PROTOCOL §6).

The state is SORT's (Bewley et al. 2016): centre x and y, area and aspect ratio of the box, and the speeds of the first
three; aspect ratio is constant but for noise. Each new box is compared with the box the Kalman filter expects. If
the motion follows the model, the squared Mahalanobis distance of the innovation is chi-square distributed with four
degrees of freedom; the gate is its quantile at the level that makes a track of T frames fail by chance with
probability `max_drift` (Šidák: each of the T - 1 steps is tested at `1 - (1 - max_drift) ** (1 / (T - 1))`).

Noise has two sources, in sides of the frame: the tracker's jitter, a share of the box's own size, and true changes of
speed. The figures are chosen by the widest honest motion there is here, the simulator's fastest bounce off the frame's
border (0.056 sides a frame in one step), which must pass, and by CSRT's jitter on the real sample clips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import chdtri

from elysium.boxes import FloatArray
from elysium.config import CurateSettings
from elysium.curation.filters.base import TrackSubject, Verdict

_JITTER = 0.05  # standard deviation of a box's centre, as a share of its size
_ACCELERATION = 0.014  # standard deviation of a centre's change of speed, sides a frame
_AREA_JITTER = 0.15  # of the area, as a share of itself
_AREA_ACCELERATION = 0.05
_RATIO_JITTER = 0.15  # of width / height, as a share of itself
_RATIO_NOISE = 0.05
_FIRST_SPEED = 0.03  # standard deviation of the unknown speed in the first frame, sides a frame


def drift(subject: TrackSubject, settings: CurateSettings) -> Verdict:
    """The box moves as objects do; the number is the largest squared Mahalanobis distance of a step."""
    boxes = subject.track.boxes
    empty = np.flatnonzero((boxes[:, 2:] <= boxes[:, :2]).any(axis=1))
    if empty.size:
        bound = gate(settings.max_drift, len(boxes))
        return Verdict("drift", False, "jump", None, bound, f"no box on frame {empty[0]}")
    found = measure_drift(boxes, settings.max_drift)
    if found.extreme:
        return Verdict("drift", False, "jump", found.distance, found.gate, f"frame {found.frame}")
    return Verdict("drift", True, "", found.distance, found.gate)


@dataclass(frozen=True)
class Drift:
    """What the filter found.

    Attributes:
        distance: Largest squared Mahalanobis distance of any step.
        gate: The largest one allowed.
        frame: Where it was, position in the track.
    """

    distance: float
    gate: float
    frame: int

    @property
    def extreme(self) -> bool:
        """Whether the track jumps."""
        return self.distance > self.gate


def gate(max_drift: float, num_frames: int) -> float:
    """Returns the largest squared Mahalanobis distance allowed in a track of `num_frames` frames.

    Example:
        >>> round(gate(0.05, 2), 2)  # the 95 % quantile of chi-square with four degrees of freedom
        9.49
    """
    steps = max(1, num_frames - 1)
    level = 1.0 - (1.0 - max_drift) ** (1.0 / steps)
    return float(chdtri(4, level))


def measure_drift(boxes: npt.ArrayLike, max_drift: float) -> Drift:
    """Returns the most surprising step of a track.

    Args:
        boxes: Shape `(T, 4)`, normalised `(x1, y1, x2, y2)` with positive area.
        max_drift: Probability at which a track that follows the model is called drifting, in (0, 1).

    Raises:
        ValueError: If a box has no area.
    """
    corners = np.asarray(boxes, dtype=np.float64)
    sides = corners[:, 2:] - corners[:, :2]
    if (sides <= 0).any():
        raise ValueError(
            f"drift is measured on boxes with an area, got {corners[(sides <= 0).any(axis=1)][0].tolist()}"
        )
    # Area and ratio enter as logarithms of size: their noise is then the same for small and large boxes.
    measured = np.column_stack(
        [corners[:, :2] + sides / 2, np.log(sides[:, 0] * sides[:, 1]), np.log(sides[:, 0] / sides[:, 1])]
    )
    worst, where = 0.0, 0
    state, covariance = _start(measured[0], _noise(sides[0]))
    for position in range(1, len(measured)):
        state, covariance = _predict(state, covariance)
        innovation = measured[position] - state[:4]
        spread = covariance[:4, :4] + _noise(sides[position - 1])
        distance = float(innovation @ np.linalg.solve(spread, innovation))
        if distance > worst:
            worst, where = distance, position
        gain = np.linalg.solve(spread, covariance[:4]).T
        state = state + gain @ innovation
        covariance = covariance - gain @ covariance[:4]
    return Drift(distance=worst, gate=gate(max_drift, len(measured)), frame=where)


def _noise(sides: FloatArray) -> FloatArray:
    """Returns the covariance `(4, 4)` of a measured box of the given width and height."""
    return np.diag(np.square([*(_JITTER * sides), _AREA_JITTER, _RATIO_JITTER]))


def _start(measured: FloatArray, noise: FloatArray) -> tuple[FloatArray, FloatArray]:
    state = np.concatenate([measured, np.zeros(3)])
    covariance = np.zeros((7, 7))
    covariance[:4, :4] = noise
    covariance[4:, 4:] = np.diag(np.square([_FIRST_SPEED, _FIRST_SPEED, _AREA_ACCELERATION]))
    return state, covariance


def _predict(state: FloatArray, covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Returns state and covariance one frame later; a change of speed acts on place and speed alike."""
    transition = np.eye(7)
    transition[:3, 4:] = np.eye(3)
    push = np.zeros((7, 4))
    push[:3, :3] = np.eye(3)
    push[4:, :3] = np.eye(3)
    push[3, 3] = 1.0
    noise = push @ np.diag(np.square([_ACCELERATION, _ACCELERATION, _AREA_ACCELERATION, _RATIO_NOISE])) @ push.T
    return transition @ state, transition @ covariance @ transition.T + noise
