"""A second look at a crop in full size, for objects that are tiny once the frame is scaled down (`--zoom`).

The paper names tiny objects as what its model does worst: a frame becomes 336 pixels wide whatever it was. Around the
first look's boxes the frames are cut out at full size and the same question is asked again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elysium.boxes import FloatArray
from elysium.inference.results import Image

# A window is so many times as wide as what the object passes through.
_MARGIN = 3.0
_MIN_SIDE = 32
# A window as large as this share of the frame shows nothing that the frame did not.
_MAX_SHARE = 0.6


@dataclass(frozen=True)
class Window:
    """A square part of the frame, the same in all frames of a clip.

    Attributes:
        left: In pixels.
        top: In pixels.
        side: In pixels.
        size: Width and height of the frame in pixels.
    """

    left: int
    top: int
    side: int
    size: tuple[int, int]

    def crop(self, image: Image) -> Image:
        """Returns the part of a frame of shape `(height, width, 3)`."""
        return np.ascontiguousarray(image[self.top : self.top + self.side, self.left : self.left + self.side])

    def inside(self, box: FloatArray) -> FloatArray:
        """Returns a box of the frame, normalised, as a box of the window, normalised and cut."""
        width, height = self.size
        pixels = np.asarray(box) * np.array([width, height, width, height], dtype=np.float64)
        moved = (pixels - np.array([self.left, self.top] * 2)) / self.side
        return np.asarray(np.clip(moved, 0.0, 1.0))

    def outside(self, boxes: FloatArray) -> FloatArray:
        """Returns boxes `(T, 4)` of the window, normalised, as boxes of the frame, normalised."""
        width, height = self.size
        pixels = np.asarray(boxes) * self.side + np.array([self.left, self.top] * 2)
        return np.asarray(np.clip(pixels / np.array([width, height, width, height], dtype=np.float64), 0.0, 1.0))


def choose_window(boxes: FloatArray, size: tuple[int, int], below: float) -> Window | None:
    """Returns the window around an object, or None where a second look is of no use.

    Args:
        boxes: Shape `(T, 4)`, normalised: the first look's.
        size: Width and height of the frame in pixels.
        below: Objects whose longer side is, in most frames, at least this share of the frame's are large enough.
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).max(-1)
    if float(np.median(sides)) >= below:
        return None
    width, height = size
    left, top = boxes[:, 0].min() * width, boxes[:, 1].min() * height
    right, bottom = boxes[:, 2].max() * width, boxes[:, 3].max() * height
    side = int(max(_MARGIN * (right - left), _MARGIN * (bottom - top), _MIN_SIDE))
    if side >= min(width, height) or side * side > _MAX_SHARE * width * height:
        return None
    x = int(np.clip((left + right - side) / 2, 0, width - side))
    y = int(np.clip((top + bottom - side) / 2, 0, height - side))
    return Window(x, y, side, size)


def is_better(second: FloatArray, second_sure: FloatArray, first: FloatArray, first_sure: FloatArray) -> bool:
    """Tells whether the second look's boxes `(T, 4)`, with confidence `(T,)`, are to be taken.

    The crop was chosen because of the first look: an object that is not where it was seen leaves the model guessing,
    which it says in its confidence.
    """
    if len(second) != len(first) or not len(second):
        return False
    return float(np.mean(second_sure)) >= float(np.mean(first_sure))
