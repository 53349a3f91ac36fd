"""A piece's frames made small, once for all filters of pieces: hundredths of the time that decoding them takes.

Green stands for brightness where every frame is looked at: it makes most of it, and needs no arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from elysium.boxes import FloatArray

Image = npt.NDArray[np.uint8]

THUMB = (64, 36)  # width and height of a thumbnail, in pixels, whatever the frame's shape
_SAMPLES = 2  # pixels of the frame, in both directions, that a pixel of a thumbnail is the mean of
DETAIL_SIDE = 512  # pixels, of the longer side
_NUM_DETAILS = 8


class Views:
    """Small versions of the frames of a piece, made when they are first asked for.

    Args:
        images: Each of shape `(h, w, 3)`, uint8, RGB, all of one size.
    """

    def __init__(self, images: Sequence[Image]) -> None:
        self._images = images

    @cached_property
    def thumbs(self) -> FloatArray:
        """All frames, shape `(n, 36, 64)`, brightness in [0, 255]."""
        height, width = self._images[0].shape[:2]
        step = max(1, min(width // THUMB[0], height // THUMB[1]) // _SAMPLES)
        greens = (np.ascontiguousarray(image[::step, ::step, 1]) for image in self._images)
        return np.array([cv2.resize(green, THUMB, interpolation=cv2.INTER_AREA) for green in greens], dtype=np.float32)

    @cached_property
    def details(self) -> Image:
        """At most eight frames from the first to the last, shape `(k, h, w)`, grey, longer side at most 512 pixels."""
        count = min(_NUM_DETAILS, len(self._images))
        chosen = np.unique(np.linspace(0, len(self._images) - 1, count).round().astype(int))
        greys = [cv2.cvtColor(self._images[index], cv2.COLOR_RGB2GRAY) for index in chosen]
        height, width = greys[0].shape
        factor = DETAIL_SIDE / max(width, height)
        if factor < 1:
            size = (max(1, round(width * factor)), max(1, round(height * factor)))
            greys = [cv2.resize(grey, size, interpolation=cv2.INTER_LINEAR) for grey in greys]
        return np.stack(greys)
