"""How the official release's script scores tracks (github Hon-Wong/Elysium, `eval/otb.py`), to explain old figures.

Against one-pass evaluation (PROTOCOL §7) it differs in four ways, all kept here and none used elsewhere:

1. The mean is over clips of eight frames, of which clip c holds frames [7c, 7c+8), not over sequences (98,036 clips
   instead of LaSOT's 280 sequences).
2. A clip whose answer holds no box is left out instead of scored 0.
3. The truth is read back from the text of the conversation, in steps of 1/100 of the frame.
4. After scaling to pixels, x, y, width and height are clamped to [1, 100], of the truth as well: on any frame larger
   than 100 px both boxes are moved into its upper left corner. Applied to SiamRPN++'s results on LaSOT that alone makes
   68.7 AUC of 49.6 (`tests/golden/test_golden_tracking.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from elysium.boxes import BoxCodec, FloatArray, to_pixels, xywh_to_xyxy, xyxy_to_xywh
from elysium.errors import UsageError
from elysium.evaluation.metrics import (
    NORM_PRECISION_THRESHOLDS,
    PRECISION_THRESHOLDS,
    SUCCESS_THRESHOLDS,
    TrackScore,
    mean_score,
    score_track,
)
from elysium.evaluation.tracking.sequences import finite_rows

_CLIP = 8
_TEXT = BoxCodec(scale=100, maximum=100)
_CLAMP = (1.0, 100.0)
_THRESHOLDS = (SUCCESS_THRESHOLDS, PRECISION_THRESHOLDS, NORM_PRECISION_THRESHOLDS)


@dataclass(frozen=True)
class ReleaseScore(TrackScore):
    """Figures as the release's script gives them, over clips.

    Attributes:
        num_clips: Number of clips averaged over.
        num_dropped: Number of clips left out because their answer held no box; the script does not count them.
    """

    num_clips: int
    num_dropped: int


def clamp_like_the_release(rows: npt.ArrayLike) -> FloatArray:
    """Returns `x,y,w,h` rows in pixels with all four clamped to [1, 100]: the release's bug (`tlbr_to_tlwh`).

    Example:
        >>> clamp_like_the_release([640, 360, 200, 50]).tolist()
        [100.0, 100.0, 100.0, 50.0]
    """
    return np.clip(np.asarray(rows, dtype=np.float64), *_CLAMP)


def release_clips(length: int) -> list[slice]:
    """Returns the frames of each clip of a video: eight, of which a clip shares one with the next.

    Example:
        >>> release_clips(8)
        [slice(0, 8, None), slice(7, 8, None)]
    """
    return [slice(start, min(start + _CLIP, length)) for start in range(0, length, _CLIP - 1)]


def score_release(
    predicted: FloatArray, truth: FloatArray, frame_size: tuple[int, int], clamp: bool = True
) -> ReleaseScore:
    """Returns the release's figures of one sequence, as if its answers had been written and read back.

    Args:
        predicted: Shape `(T, 4)`, `(x1, y1, x2, y2)` in pixels counted from 0; NaN is a frame the answer lacks, which
            the release pads with a box of zeros.
        truth: Shape `(T, 4)`, likewise.
        frame_size: `(width, height)` in pixels.
        clamp: Whether to clamp as the script does; without, the other three effects are seen alone.

    A sequence whose clips are all left out has the figures 0, and no weight in `mean_release`.
    """
    scores, dropped = [], 0
    for clip in release_clips(len(truth)):
        if not finite_rows(predicted[clip]).any():
            dropped += 1
            continue
        scores.append(
            _score_clip(_through_text(predicted[clip], frame_size), _through_text(truth[clip], frame_size), clamp)
        )
    return _mean(scores, dropped)


def score_release_answers(lines: Iterable[str], clamp: bool = True) -> ReleaseScore:
    """Returns the release's figures of a file that its `eval.py` wrote.

    Args:
        lines: JSON objects, one a clip: `predict` and `gt` as text, `image_size` as `[width, height]`.
        clamp: See `score_release`.

    Raises:
        UsageError: If a line lacks one of them, or no line holds a box.
    """
    scores, dropped = [], 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            answer, reference, size = str(entry["predict"]), str(entry["gt"]), entry["image_size"]
            width, height = int(size[0]), int(size[1])
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise UsageError(
                f"line {number}: predict, gt and image_size, as the release's eval.py writes them, are needed, got "
                f"{line.strip()[:60]!r}"
            ) from error
        predicted, truth = (to_pixels(_TEXT.decode(text), (width, height)) for text in (answer, reference))
        if len(predicted) == 0:
            dropped += 1
            continue
        scores.append(_score_clip(predicted, truth, clamp))
    return mean_release([_mean(scores, dropped)])


def mean_release(scores: Sequence[ReleaseScore]) -> ReleaseScore:
    """Returns the mean over the clips of many sequences.

    Raises:
        UsageError: If every clip was left out.
    """
    dropped = sum(score.num_dropped for score in scores)
    if not any(score.num_clips for score in scores):
        raise UsageError(f"the release's protocol leaves out all {dropped} clips: no answer holds a box")
    clips = np.array([score.num_clips for score in scores], dtype=np.float64)
    shares = clips / clips.sum()
    return ReleaseScore(
        auc=float(shares @ [score.auc for score in scores]),
        precision=float(shares @ [score.precision for score in scores]),
        norm_precision=float(shares @ [score.norm_precision for score in scores]),
        success_curve=shares @ np.array([score.success_curve for score in scores]),
        precision_curve=shares @ np.array([score.precision_curve for score in scores]),
        norm_precision_curve=shares @ np.array([score.norm_precision_curve for score in scores]),
        num_clips=int(clips.sum()),
        num_dropped=dropped,
    )


def _score_clip(predicted: FloatArray, truth: FloatArray, clamp: bool) -> TrackScore:
    rows, reference = xyxy_to_xywh(predicted), xyxy_to_xywh(truth)
    if clamp:
        rows, reference = clamp_like_the_release(rows), clamp_like_the_release(reference)
    # An answer that is too short is filled up with boxes of zeros, one that is too long is cut.
    filled = np.zeros_like(reference)
    filled[: len(rows)] = rows[: len(reference)]
    return score_track(xywh_to_xyxy(filled), xywh_to_xyxy(reference))


def _through_text(boxes: FloatArray, frame_size: tuple[int, int]) -> FloatArray:
    """Returns boxes in pixels as they are after `int(round(100 * v))` was written and read; NaN is a box of zeros."""
    width, height = frame_size
    sides = np.array([width, height, width, height], dtype=np.float64)
    steps = np.rint(np.clip(np.nan_to_num(boxes) / sides, 0, 1) * _TEXT.scale)
    return np.asarray(steps / _TEXT.scale * sides)


def _mean(scores: Sequence[TrackScore], dropped: int) -> ReleaseScore:
    if not scores:
        success, precision, norm_precision = (np.zeros(len(thresholds)) for thresholds in _THRESHOLDS)
        return ReleaseScore(0.0, 0.0, 0.0, success, precision, norm_precision, 0, dropped)
    mean = mean_score(scores)
    figures = mean.auc, mean.precision, mean.norm_precision
    curves = mean.success_curve, mean.precision_curve, mean.norm_precision_curve
    return ReleaseScore(*figures, *curves, len(scores), dropped)
