"""What kind of item one is, from its true boxes: for figures by size and by what makes it hard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from elysium.boxes import FloatArray, area

# Side lengths of COCO's classes (cocodataset.org/#detection-eval), pixels.
_COCO_SIDES = {"small": 32.0, "medium": 96.0}
# Side length as a share of the frame's: what a model sees that takes every frame in one size.
_RELATIVE_SIDES = {"small": 0.1, "medium": 0.3}
# Thresholds of OTB's and LaSOT's attributes (Wu et al. 2015, table 2; Fan et al. 2019, table 3).
_SCALE_RATIO, _ASPECT_RATIO, _LOW_RESOLUTION = 2.0, 2.0, 1000.0


def pixel_size(box: FloatArray) -> str:
    """Returns COCO's class of a box `(4,)` in pixels of the original picture.

    Example:
        >>> pixel_size(np.array([0, 0, 40, 40]))
        'medium'
    """
    return _class(float(np.sqrt(area(box))), _COCO_SIDES)


def relative_size(box: FloatArray, size: tuple[int, int]) -> str:
    """Returns the class of a box `(4,)` in pixels by its share of the frame's side.

    Example:
        >>> relative_size(np.array([0, 0, 40, 40]), (100, 100))
        'large'
    """
    return _class(float(np.sqrt(area(box) / (size[0] * size[1]))), _RELATIVE_SIDES)


def box_groups(boxes: FloatArray, size: tuple[int, int], known: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Returns the groups of a track: those that its set gives, its size, and what its boxes tell of difficulty.

    Args:
        boxes: Shape `(T, 4)`, `(x1, y1, x2, y2)` in pixels; NaN where there is none.
        size: `(width, height)` of the frames.
        known: From the set. Where it gives attributes, none are made up beside them.
    """
    whole = boxes[np.isfinite(boxes).all(-1) & (area(np.nan_to_num(boxes)) > 0)]
    groups = {kind: list(names) for kind, names in known.items()}
    if len(whole) == 0:
        return groups
    groups["size"] = [relative_size(np.median(whole, axis=0), size)]
    if "attribute" not in groups:
        groups["motion"] = _attributes(whole)
    return groups


def _attributes(boxes: FloatArray) -> list[str]:
    sides = boxes[:, 2:] - boxes[:, :2]
    areas, aspects = sides.prod(-1), sides[:, 0] / sides[:, 1]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=-1)
    found = {
        # The ratio to the first frame's box leaves [1/2, 2].
        "scale variation": _leaves(areas / areas[0], _SCALE_RATIO),
        "aspect ratio change": _leaves(aspects / aspects[0], _ASPECT_RATIO),
        "fast motion": bool((steps > np.sqrt(areas[1:])).any()),
        "low resolution": bool((areas < _LOW_RESOLUTION).any()),
    }
    return [name for name, holds in found.items() if holds] or ["none of these"]


def _leaves(ratios: FloatArray, bound: float) -> bool:
    return bool(((ratios > bound) | (ratios < 1 / bound)).any())


def _class(side: float, bounds: Mapping[str, float]) -> str:
    return next((name for name, bound in bounds.items() if side < bound), "large")
