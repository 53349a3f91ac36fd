"""The filter of text that was written over the picture: subtitles, titles, banners, date stamps, web addresses.

No model is needed, for such text is plainer than text in the scene: it stands still on the screen, its letters have
one colour, and they differ sharply from what is behind them. So strokes are what a small opening of the image removes
(top-hat and black-hat transform, Serra 1982), in an image that keeps the darkest (for dark text: the brightest) value
that a pixel has had; a stroke ends where it is half as strong as at its strongest nearby. Letters are the connected
strokes that are as tall, as wide and as full as letters are, and as bright on all sampled frames. Text is five of them
in a row, of one height and one brightness, on one line (the grouping rules of the stroke width transform, Epshtein,
Ofek and Wexler, CVPR 2010).

What it does not see: text that is smaller than a fortieth of the frame's longer side, that moves or fades, in writing
that is joined up, or nearly as bright as what is behind it, which semi-transparent watermarks often are; logos without
letters; anything on frames of less than 256 pixels. What it takes for an overlay: a sign in the scene that is as plain,
before a camera that stands still.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from scipy.sparse.csgraph import connected_components

from elysium.config import CurateSettings
from elysium.curation.filters.base import PieceSubject, Verdict

Image = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]

# Lengths are in pixels of a frame whose longer side is 512, levels are of 256.
_STROKE = 13  # no stroke of a letter is wider
_HALF = 0.6  # share of the strongest contrast nearby
_STEADY = 40  # levels that a letter's brightness may vary over time
_EVEN = 30  # levels: standard deviation within a letter
_ALIKE = 15  # levels between neighbours
_HEIGHTS = (6, 60)
_MIN_LETTERS = 5
_ON_LINE, _STANDING = 0.15, 0.7  # heights from the line, and share of the letters that stand on it: g and y hang
_MIN_SIDE = 256  # of the frame; on a smaller one letters are as large as the grain of any texture


def overlay(subject: PieceSubject, settings: CurateSettings) -> Verdict:
    """No text is written over the picture; the number is the share of the frame that lines of text cover."""
    share = text_share(subject.views.details, settings.text_contrast)
    passed = share <= settings.max_text
    return Verdict("overlay", passed, "" if passed else "text_overlay", share, settings.max_text)


def text_share(greys: Image, least_contrast: int = 40) -> float:
    """Returns the share of the frame within the boxes of lines of overlaid text, in [0, 1].

    Args:
        greys: Frames from all over the piece, shape `(k, h, w)`, longer side 512 pixels or less.
        least_contrast: Levels of 256 by which text differs from what is around it.
    """
    if max(greys.shape[1:]) < _MIN_SIDE:
        return 0.0
    darkest, brightest = greys.min(axis=0), greys.max(axis=0)
    steady = brightest - darkest < _STEADY
    square = cv2.getStructuringElement(cv2.MORPH_RECT, (_STROKE, _STROKE))
    covered = np.zeros(darkest.shape, dtype=bool)
    for operation, levels in ((cv2.MORPH_TOPHAT, darkest), (cv2.MORPH_BLACKHAT, brightest)):
        contrast = cv2.morphologyEx(levels, operation, square)
        strongest = cv2.dilate(contrast, square)
        strokes = (contrast > np.maximum(cv2.convertScaleAbs(strongest, alpha=_HALF), least_contrast)) & steady
        for x1, y1, x2, y2 in _lines(strokes, levels):
            covered[y1:y2, x1:x2] = True
    return float(covered.mean())


def _lines(strokes: npt.NDArray[np.bool_], levels: Image) -> list[tuple[int, int, int, int]]:
    """Returns the boxes `(x1, y1, x2, y2)` of rows of letters."""
    boxes, means = _letters(strokes, levels)
    if len(boxes) < _MIN_LETTERS:
        return []
    left, top, width, height = (column.astype(np.float64) for column in boxes.T)
    gap = left[None, :] - (left + width)[:, None]
    taller, lower = np.maximum.outer(height, height), np.minimum.outer(height, height)
    shared = np.minimum.outer(top + height, top + height) - np.maximum.outer(top, top)
    linked = (gap <= 1.2 * taller) & (gap >= -0.3 * width[:, None]) & (left[None, :] > left[:, None])
    linked &= (taller <= 2 * lower) & (shared >= 0.6 * lower)
    linked &= np.abs(np.subtract.outer(means, means)) <= _ALIKE
    count, rows = connected_components(linked, directed=False)
    found = []
    for row in np.flatnonzero(np.bincount(rows, minlength=count) >= _MIN_LETTERS):
        members = rows == row
        x1, y1 = int(left[members].min()), int(top[members].min())
        x2, y2 = int((left + width)[members].max()), int((top + height)[members].max())
        tall, feet = np.median(height[members]), (top + height)[members]
        on_line = np.abs(feet - np.median(feet)) <= max(1.0, _ON_LINE * tall)
        if y2 - y1 <= 1.9 * tall and np.ptp(means[members]) <= 2 * _ALIKE and on_line.mean() >= _STANDING:
            found.append((x1, y1, x2, y2))
    return found


def _letters(strokes: npt.NDArray[np.bool_], levels: Image) -> tuple[Integers, npt.NDArray[np.float64]]:
    """Returns the boxes of what may be letters, shape `(n, 4)` as left, top, width, height; and their brightness."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(strokes.astype(np.uint8), connectivity=8)
    inside = labels[strokes]
    values = levels[strokes].astype(np.float64)
    area = np.maximum(stats[:, cv2.CC_STAT_AREA], 1)
    means = np.bincount(inside, values, minlength=count) / area
    spread = np.sqrt(np.maximum(np.bincount(inside, values**2, minlength=count) / area - means**2, 0))
    left, top, width, height = stats[:, 0], stats[:, 1], stats[:, 2], stats[:, 3]
    fill = area / np.maximum(width * height, 1)
    good = (height >= _HEIGHTS[0]) & (height <= _HEIGHTS[1]) & (width >= 0.08 * height) & (width <= 2 * height)
    good &= (fill >= 0.2) & (fill <= 0.95) & (spread <= _EVEN)
    # What touches the border is cut off by it.
    good &= (left > 0) & (top > 0) & (left + width < levels.shape[1]) & (top + height < levels.shape[0])
    good[0] = False
    return stats[good, :4].astype(np.int64), means[good]
