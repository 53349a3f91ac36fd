"""The filters of a piece of video as a whole: it is long enough, something moves, the picture fills the frame."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from elysium.boxes import FloatArray
from elysium.config import CurateSettings
from elysium.curation.filters.base import PieceSubject, Verdict

Image = npt.NDArray[np.uint8]

_BLOCK = 4  # pixels of a thumbnail: the frame has 16 by 9 blocks
_MOMENTS = 8  # frames that are compared, from the first to the last
# Decoded black is 0 to 16 with a little ringing beside the picture; 24 is the limit of FFmpeg's cropdetect too.
_BLACK = 24
_STRAY = 0.02  # share of a row of the bar that may be bright: noise
_EDGE = 12  # levels by which the picture is brighter than the bar beside it
_STRAIGHT = 0.4  # share of the bar's length along which it is


def length(subject: PieceSubject, settings: CurateSettings) -> Verdict:
    """There are frames enough; the number is theirs."""
    count, least = len(subject.frames), settings.min_frames
    return Verdict("length", count >= least, "" if count >= least else "too_short", count, least)


def motion(subject: PieceSubject, settings: CurateSettings) -> Verdict:
    """Something moves; the number is by how many grey levels the most changing part of the frame changes."""
    change, least = largest_change(subject.views.thumbs), settings.min_motion
    return Verdict("motion", change >= least, "" if change >= least else "static", change, least)


def bars(subject: PieceSubject, settings: CurateSettings) -> Verdict:
    """The picture fills the frame; the number is the share of it that black bars cover."""
    share, most = bar_share(subject.views.details), settings.max_bars
    return Verdict("bars", share <= most, "" if share <= most else "black_bars", share, most)


def largest_change(thumbs: FloatArray) -> float:
    """Returns by how much the mean of any block of 1/16 by 1/9 of the frame varies over time, in levels of 256.

    A mean over a block hardly changes with the encoder's noise. Of a still picture encoded as a video it varied by 0.9
    at most, by 1.5 with film grain on it; of 26 pieces of five seconds of real video by 8 at least, and of 1.3 seconds
    by 1.6 to 3 on an empty road and by 4 or more elsewhere.

    Args:
        thumbs: Shape `(n, h, w)`.
    """
    chosen = np.unique(np.linspace(0, len(thumbs) - 1, _MOMENTS).round().astype(int))
    count, height, width = thumbs[chosen].shape
    blocks = thumbs[chosen].reshape(count, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK).mean(axis=(2, 4))
    return float(np.ptp(blocks, axis=0).max())


def bar_share(greys: Image) -> float:
    """Returns the share of the frame that black bars at its borders cover, in [0, 1].

    A bar is black on all frames, and the picture begins along a straight line: a dark scene has no such line.

    Args:
        greys: Frames from all over the piece, shape `(k, h, w)`.
    """
    brightest = greys.max(axis=0)
    top, bottom = _bar(brightest), _bar(brightest[::-1])
    left, right = _bar(brightest.T), _bar(brightest.T[::-1])
    height, width = brightest.shape
    covered: float = 1.0 - max(0, height - top - bottom) * max(0, width - left - right) / (height * width)
    return covered


def _bar(brightest: Image) -> int:
    """Returns how many rows from the top on are a bar; 0 if the picture does not begin with a straight line."""
    picture = np.flatnonzero((brightest > _BLACK).mean(axis=1) > _STRAY)
    if not picture.size or picture[0] == 0:
        return 0
    first = int(picture[0])
    # The line itself may be mixed of both.
    beside = brightest[min(first + 2, len(brightest) - 1)].astype(np.int16) - brightest[max(first - 2, 0)]
    return first if (beside > _EDGE).mean() >= _STRAIGHT else 0
