"""From a detector's evidence to a confidence in [0, 1]: a logistic curve fitted to labelled finds.

`calibration.csv` holds every find of both detectors on frames of eight public clips (the three built-in samples,
three sample videos of Intel's, one demonstration video each of SAM 2 and mmtracking), each looked at and labelled by
eye; finds that could be called either way are left out. The curve is fitted from that file whenever it is needed, so
that figures and data cannot part. At a confidence of 0.6, 27 of the 28 faces found there are right and 53 of 53 people,
at a recall of 82 % and 46 % of the labelled finds. What it does not show: other cameras and other people. There are
two faces and one street in it, and it was fitted on what it is quoted for, so the confidence orders finds and places
the threshold; it is no probability for all video.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from importlib import resources

import numpy as np

from elysium.boxes import FloatArray

_RIDGE = 1e-3  # keeps the slope finite where the classes do not overlap
_ITERATIONS = 50


@dataclass(frozen=True)
class Curve:
    """A logistic curve: confidence is `1 / (1 + exp(-(intercept + slope * evidence)))`.

    Example:
        >>> round(Curve(intercept=-2.0, slope=1.0).confidence(2.0), 2)
        0.5
    """

    intercept: float
    slope: float

    def confidence(self, evidence: float) -> float:
        """Returns the confidence of a find, in [0, 1], rounded to four digits."""
        return round(float(1.0 / (1.0 + np.exp(-(self.intercept + self.slope * evidence)))), 4)


@dataclass(frozen=True)
class LabelledFinds:
    """The labelled finds of one detector.

    Attributes:
        evidence: Shape `(n,)`, as the detector gave it.
        correct: Shape `(n,)`, 1 where the find shows what the detector looks for, else 0.
        clips: The clip of each find.
    """

    evidence: FloatArray
    correct: FloatArray
    clips: tuple[str, ...]


def fit(finds: LabelledFinds) -> Curve:
    """Returns the curve of greatest likelihood (Newton's method), with a light ridge on the slope.

    Each clip has the same weight in total: finds of one clip repeat each other.

    Raises:
        ValueError: If only correct or only wrong finds are given.

    Example:
        >>> finds = LabelledFinds(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 0.0, 1.0, 1.0]), ("a",) * 4)
        >>> fit(finds).slope > 0
        True
    """
    if finds.correct.min() == finds.correct.max():
        raise ValueError("a calibration needs correct and wrong finds, got only one kind")
    counts = {clip: finds.clips.count(clip) for clip in finds.clips}
    weights = np.array([1.0 / counts[clip] for clip in finds.clips])
    weights *= len(weights) / weights.sum()
    design = np.stack([np.ones_like(finds.evidence), finds.evidence], axis=1)
    ridge = np.diag([0.0, _RIDGE * len(weights)])
    parameters = np.zeros(2)
    for _ in range(_ITERATIONS):
        share = 1.0 / (1.0 + np.exp(-design @ parameters))
        gradient = design.T @ (weights * (finds.correct - share)) - ridge @ parameters
        curvature = (design * (weights * share * (1 - share))[:, None]).T @ design + ridge
        parameters = parameters + np.linalg.solve(curvature, gradient)
    return Curve(intercept=float(parameters[0]), slope=float(parameters[1]))


def labelled_finds(detector: str) -> LabelledFinds:
    """Returns the labelled finds of `face` or `person` that the package carries."""
    text = (resources.files("elysium.curation") / "calibration.csv").read_text(encoding="utf-8")
    rows = [row for row in csv.DictReader(text.splitlines()) if row["detector"] == detector]
    if not rows:
        raise ValueError(f"calibration.csv holds no finds of a detector {detector!r}")
    return LabelledFinds(
        evidence=np.array([float(row["evidence"]) for row in rows]),
        correct=np.array([float(row["correct"]) for row in rows]),
        clips=tuple(row["clip"] for row in rows),
    )


@functools.cache
def curve(detector: str) -> Curve:
    """Returns the fitted curve of `face` or `person`."""
    return fit(labelled_finds(detector))
