"""The protocols that tracks are measured by, each by name with its source; figures in percent.

- `one-pass` (PROTOCOL §7): share of frames with IoU > t for t = 0, 0.05, …, 1 (their mean is the AUC), with a centre
  error <= 20 px, and with a centre error per axis over the true size <= 0.2; mean over sequences. Frames without a
  true box are failures, like absent ones (see `score_track`).
- `toolkit`: the MATLAB toolkits of OTB, UAV123, LaSOT and TNL2K (`calc_seq_err_robust.m`) where they differ: the first
  result is replaced by the truth, a result without size by the one before it, and a frame whose true x, y, w or h is
  not above 0 counts as *precise* and as not overlapping. It explains published figures: UAV123's precisions hold
  frames without a target as hits, and TNL2K's AUC holds targets at the left and upper border as misses.
- `got10k`: the GOT-10k toolkit's AO, SR0.5 and SR0.75 (`got10k/experiments/got10k.py`): without the first frame of each
  sequence, boxes bounded to the image, frames whose cover label is above 0; mean over all frames of all sequences.
- `trackingnet`: TrackingNet's `metrics.py`: boxes rounded to whole pixels, the first one replaced by the truth; areas
  (trapezoids) under the curves of success, precision (0 to 50 px) and normalised precision (0 to 0.5), 21 points each;
  mean over sequences. So its precision is no share of frames at 20 px.
- `release`: what the official release's script does, to explain old figures (see `release.py`). Never for new ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from typing import Protocol as Interface

import numpy as np

from elysium.boxes import FloatArray
from elysium.evaluation.metrics import (
    NORM_PRECISION_THRESHOLDS,
    PRECISION_THRESHOLDS,
    SUCCESS_THRESHOLDS,
    TRACKING_METRICS,
    AbsentFrames,
    TrackScore,
    mean_score,
    score_track,
)
from elysium.evaluation.tracking.release import ReleaseScore, mean_release, score_release
from elysium.evaluation.tracking.sequences import TrackingSequence
from elysium.evaluation.tracking.toolkits import (
    DEVKIT_NORM_PRECISION_THRESHOLDS,
    DEVKIT_PRECISION_THRESHOLDS,
    OVERLAP_THRESHOLDS,
    OverlapScore,
    mean_overlap,
    score_got10k,
    score_toolkit,
    score_trackingnet,
)

Score = TrackScore | OverlapScore | ReleaseScore


class ScoreOne(Interface):
    """Scores one sequence."""

    def __call__(self, predicted: FloatArray, sequence: TrackingSequence, absent_frames: AbsentFrames) -> Any:
        """Returns its score."""


class MeanOf(Interface):
    """Brings the scores of sequences together."""

    def __call__(self, scores: Sequence[Any]) -> Any:
        """Returns the score of all."""


@dataclass(frozen=True)
class Protocol:
    """One way to measure tracks.

    Attributes:
        name: What commands call it.
        figures: Names of its figures, the leading one first: attributes of its scores.
        curves: Curve name to the thresholds of its points; the scores' attribute is `<name>_curve`.
        source: Where it is defined.
        score_one: Scores one sequence.
        mean_of: Brings the scores of sequences together.
        treats_absent: Whether it knows the three treatments of absent frames.
    """

    name: str
    figures: tuple[str, ...]
    curves: Mapping[str, FloatArray]
    source: str
    score_one: ScoreOne
    mean_of: MeanOf
    treats_absent: bool = False

    def score(self, predicted: FloatArray, sequence: TrackingSequence, absent_frames: AbsentFrames = "miss") -> Score:
        """Returns the score of one sequence.

        Args:
            predicted: Shape `(T, 4)`, `(x1, y1, x2, y2)` in pixels counted from 0; NaN is no box.
            sequence: With the truth.
            absent_frames: What to do with absent frames, for `one-pass` and `toolkit`.

        Raises:
            ValueError: If there is not one box a frame, or no frame to score.
        """
        boxes = np.asarray(predicted, dtype=np.float64)
        if boxes.shape != sequence.boxes.shape:
            raise ValueError(
                f"{sequence.name}: predicted and true boxes need one shape, got {boxes.shape} and "
                f"{sequence.boxes.shape}"
            )
        if not sequence.given:
            raise ValueError(f"{sequence.name}: its truth is not public beyond the first frame")
        score: Score = self.score_one(boxes, sequence, absent_frames)
        return score

    def mean(self, scores: Sequence[Score]) -> Score:
        """Returns the score of many sequences.

        Raises:
            ValueError: If there is none.
        """
        if not scores:
            raise ValueError("no sequence to average over")
        score: Score = self.mean_of(scores)
        return score

    def figures_of(self, score: Score) -> dict[str, float]:
        """Returns a score's figures by name."""
        return {figure: getattr(score, figure) for figure in self.figures}


def _one_pass(predicted: FloatArray, sequence: TrackingSequence, absent_frames: AbsentFrames) -> TrackScore:
    return score_track(predicted, sequence.boxes, sequence.absent, absent_frames)


def _release(predicted: FloatArray, sequence: TrackingSequence, absent_frames: AbsentFrames) -> ReleaseScore:
    del absent_frames  # the release knows no flags
    return score_release(predicted, sequence.boxes, sequence.size())


_CURVES = {
    "success": SUCCESS_THRESHOLDS,
    "precision": PRECISION_THRESHOLDS,
    "norm_precision": NORM_PRECISION_THRESHOLDS,
}
_DEVKIT_CURVES = {
    "success": SUCCESS_THRESHOLDS,
    "precision": DEVKIT_PRECISION_THRESHOLDS,
    "norm_precision": DEVKIT_NORM_PRECISION_THRESHOLDS,
}
_PROTOCOLS = (
    Protocol("one-pass", TRACKING_METRICS, _CURVES, "PROTOCOL §7", _one_pass, mean_score, True),
    Protocol(
        "toolkit", TRACKING_METRICS, _CURVES,
        "HengLan/LaSOT_Evaluation_Toolkit, utils/calc_seq_err_robust.m, as OTB's, UAV123's and TNL2K's",
        score_toolkit, mean_score, True,
    ),
    Protocol(
        "got10k", ("ao", "sr50", "sr75"), {"success": OVERLAP_THRESHOLDS}, "got-10k/toolkit, experiments/got10k.py",
        score_got10k, mean_overlap,
    ),
    Protocol(
        "trackingnet", TRACKING_METRICS, _DEVKIT_CURVES, "SilvioGiancola/TrackingNet-devkit, metrics.py",
        score_trackingnet, mean_score,
    ),
    Protocol("release", TRACKING_METRICS, _CURVES, "Hon-Wong/Elysium, eval/otb.py", _release, mean_release),
)  # fmt: skip
PROTOCOLS = {protocol.name: protocol for protocol in _PROTOCOLS}
