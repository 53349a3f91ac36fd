"""Boxes, their overlap, and the text that the language model reads and writes for them (PROTOCOL §1)."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]

_NUMBERS = re.compile(r"\[\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\]")


@dataclass(frozen=True)
class BoxCodec:
    """Writes normalised boxes as integer text, and reads them back.

    Attributes:
        scale: Integer steps per unit length; 100 is the paper's.
        maximum: Largest integer written. 99 keeps the paper's half-open range; 100 is what the release writes.
    """

    scale: int = 100
    maximum: int = 99

    def __post_init__(self) -> None:
        if self.scale < 1 or not 0 < self.maximum <= self.scale:
            raise ValueError(
                f"a box codec needs scale >= 1 and 0 < maximum <= scale, got scale={self.scale}, maximum={self.maximum}"
            )

    def encode(self, box: npt.ArrayLike) -> str:
        """Returns one box as text.

        Args:
            box: Shape `(4,)`, normalised `(x1, y1, x2, y2)` in [0, 1].

        Raises:
            ValueError: If a coordinate is not finite or lies outside [0, 1].

        Example:
            >>> BoxCodec().encode([0.231, 0.452, 0.458, 0.722])
            '[23,45,46,72]'
        """
        values = np.asarray(box, dtype=np.float64)
        if values.shape != (4,):
            raise ValueError(f"a box has four coordinates (x1, y1, x2, y2), got shape {values.shape}")
        if not np.isfinite(values).all() or (values < 0).any() or (values > 1).any():
            raise ValueError(f"box must lie in [0, 1], got {values.tolist()}")
        steps = np.minimum(np.rint(values * self.scale).astype(int), self.maximum)
        return "[" + ",".join(map(str, steps)) + "]"

    def decode(self, text: str) -> FloatArray:
        """Returns all boxes found in `text`, shape `(n, 4)`, normalised; malformed ones are skipped.

        Example:
            >>> BoxCodec().decode("Frame 1: [23,45,46,72], Frame 2: [1,2,3").tolist()
            [[0.23, 0.45, 0.46, 0.72]]
        """
        found = [list(map(int, numbers)) for numbers in _NUMBERS.findall(text)]
        return np.array(found, dtype=np.float64).reshape(-1, 4) / self.scale


def area(boxes: npt.ArrayLike) -> FloatArray:
    """Returns the areas of boxes `(..., 4)` given as `(x1, y1, x2, y2)`; inverted boxes have area 0."""
    values = np.asarray(boxes, dtype=np.float64)
    sides = np.maximum(values[..., 2:] - values[..., :2], 0.0)
    return sides[..., 0] * sides[..., 1]


def iou(first: npt.ArrayLike, second: npt.ArrayLike) -> FloatArray:
    """Returns the intersection over union of paired boxes.

    Args:
        first: Shape `(..., 4)`, `(x1, y1, x2, y2)` in any one unit.
        second: Same shape, or one that broadcasts with it.

    Returns:
        Shape `(...)`, in [0, 1]. Two boxes without area have IoU 0.

    Example:
        >>> float(iou([0, 0, 2, 2], [1, 0, 3, 2]))
        0.3333333333333333
    """
    a, b = np.broadcast_arrays(np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64))
    corners = np.concatenate([np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])], axis=-1)
    intersection = area(corners)
    union = area(a) + area(b) - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def pairwise_iou(first: npt.ArrayLike, second: npt.ArrayLike) -> FloatArray:
    """Returns the IoU of every box of `first` `(n, 4)` with every box of `second` `(m, 4)`, shape `(n, m)`."""
    a = np.asarray(first, dtype=np.float64).reshape(-1, 1, 4)
    b = np.asarray(second, dtype=np.float64).reshape(1, -1, 4)
    return iou(a, b)


def xywh_to_xyxy(boxes: npt.ArrayLike) -> FloatArray:
    """Returns boxes `(..., 4)` given as `(x, y, width, height)` as `(x1, y1, x2, y2)`, unit unchanged."""
    values = np.asarray(boxes, dtype=np.float64)
    return np.concatenate([values[..., :2], values[..., :2] + values[..., 2:]], axis=-1)


def xyxy_to_xywh(boxes: npt.ArrayLike) -> FloatArray:
    """Returns boxes `(..., 4)` given as `(x1, y1, x2, y2)` as `(x, y, width, height)`, unit unchanged."""
    values = np.asarray(boxes, dtype=np.float64)
    return np.concatenate([values[..., :2], values[..., 2:] - values[..., :2]], axis=-1)


def to_pixels(boxes: npt.ArrayLike, frame_size: tuple[int, int]) -> FloatArray:
    """Returns normalised boxes `(..., 4)` in pixels of a frame of `frame_size` `(width, height)`."""
    width, height = frame_size
    return np.asarray(boxes, dtype=np.float64) * np.array([width, height, width, height], dtype=np.float64)


def normalise(boxes: npt.ArrayLike, frame_size: tuple[int, int]) -> FloatArray:
    """Returns boxes `(..., 4)` in pixels as shares of `frame_size` `(width, height)`, clipped to [0, 1]."""
    width, height = frame_size
    scaled = np.asarray(boxes, dtype=np.float64) / np.array([width, height, width, height], dtype=np.float64)
    return np.clip(scaled, 0.0, 1.0)
