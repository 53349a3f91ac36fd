"""Every object that an expression fits, from a model that answers with one (`--multi`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from elysium.boxes import FloatArray, iou, to_pixels
from elysium.inference.results import Image

if TYPE_CHECKING:
    from elysium.inference.engine import Engine

# An answer that overlaps an earlier one so much is the same object again.
_SAME = 0.3
# Less sure than this share of the first answer, the model is guessing.
_LEAST_SHARE = 0.5


def find_all(engine: Engine, image: Image, expression: str, most: int) -> list[tuple[FloatArray, float]]:
    """Returns box, normalised, and confidence of each object in an image that an expression fits, in order of finding.

    What has been found is painted over with the colour around it, and the question is asked again, until the answer
    is one that was there before or far less sure than the first.

    Args:
        engine: Asks.
        image: Shape `(height, width, 3)`, uint8, RGB.
        expression: For example `every person` or `a red circle`.
        most: Boxes to return at most.
    """
    left = image.copy()
    found: list[tuple[FloatArray, float]] = []
    first = 0.0
    while len(found) < most:
        boxes, sure = engine.ground_scored([left], [expression])
        box, figure = boxes[0], float(sure[0])
        first = first or figure
        if any(float(iou(box, other)) >= _SAME for other, _ in found) or figure < _LEAST_SHARE * first:
            break
        found.append((box, figure))
        _paint_over(left, box)
    return found


def _paint_over(image: Image, box: FloatArray) -> None:
    """Fills a box, a little enlarged, with the median colour of what is around it."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = to_pixels(box, (width, height)).tolist()
    margin = 0.1 * max(x2 - x1, y2 - y1) + 1
    inner = (_cut(x1 - margin, width), _cut(y1 - margin, height), _cut(x2 + margin, width), _cut(y2 + margin, height))
    wide = 3 * margin
    outer = (_cut(x1 - wide, width), _cut(y1 - wide, height), _cut(x2 + wide, width), _cut(y2 + wide, height))
    around = np.ones(image.shape[:2], dtype=bool)
    around[inner[1] : inner[3], inner[0] : inner[2]] = False
    ring = image[outer[1] : outer[3], outer[0] : outer[2]][around[outer[1] : outer[3], outer[0] : outer[2]]]
    colour = np.median(ring if len(ring) else image.reshape(-1, 3), axis=0)
    image[inner[1] : inner[3], inner[0] : inner[2]] = colour.astype(np.uint8)


def _cut(value: float, limit: int) -> int:
    return int(np.clip(round(value), 0, limit))
