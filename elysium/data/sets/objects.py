"""Boxes of all published kinds, checked and normalised, and expressions that name one object only."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from elysium.boxes import iou
from elysium.data.sets.schema import Box, SetObject
from elysium.data.sets.source import BrokenSample, Source

# Shares of a side that a box may reach over the image's edge and is cut: annotators' and rounding's slips.
_TOLERANCE = 0.02
# Boxes of one expression that overlap so much are of one object, marked twice.
_SAME = 0.5


def from_normalised(values: Any) -> Box:
    """Returns a box `(x1, y1, x2, y2)` given in shares of the image's sides, cut to the image.

    Raises:
        BrokenSample: If it is not four finite numbers, reaches more than 2 % of a side over the edge, or has no area.

    Example:
        >>> from_normalised([0.1, 0.2, 0.5, 1.01])
        (0.1, 0.2, 0.5, 1.0)
    """
    x1, y1, x2, y2 = four_numbers(values)
    if min(x1, y1, x2, y2) < -_TOLERANCE or max(x1, y1, x2, y2) > 1 + _TOLERANCE:
        raise BrokenSample("a box lies outside the image")
    x1, y1, x2, y2 = (min(max(value, 0.0), 1.0) for value in (x1, y1, x2, y2))
    if x2 <= x1 or y2 <= y1:
        raise BrokenSample("a box has no area")
    return x1, y1, x2, y2


def from_corners(values: Any, size: tuple[int, int]) -> Box:
    """Returns a box given as `(x1, y1, x2, y2)` in pixels of an image of `size` `(width, height)`.

    Raises:
        BrokenSample: As `from_normalised`.

    Example:
        >>> from_corners([64, 48, 320, 240], (640, 480))
        (0.1, 0.1, 0.5, 0.5)
    """
    x1, y1, x2, y2 = four_numbers(values)
    width, height = size
    return from_normalised((x1 / width, y1 / height, x2 / width, y2 / height))


def from_corner_and_size(values: Any, size: tuple[int, int]) -> Box:
    """Returns a box given as `(x, y, width, height)` in pixels of an image of `size` `(width, height)`.

    Raises:
        BrokenSample: As `from_normalised`.

    Example:
        >>> from_corner_and_size([64, 48, 256, 192], (640, 480))
        (0.1, 0.1, 0.5, 0.5)
    """
    x, y, width, height = four_numbers(values)
    return from_corners((x, y, x + width, y + height), size)


def four_numbers(values: Any) -> tuple[float, float, float, float]:
    """Returns a box's numbers.

    Raises:
        BrokenSample: If they are not four finite numbers.
    """
    if not isinstance(values, list | tuple) or len(values) != 4:
        raise BrokenSample("a box is not four numbers")
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        raise BrokenSample("a box is not four numbers")
    if not all(math.isfinite(value) for value in values):
        raise BrokenSample("a box is not finite")
    a, b, c, d = values
    return float(a), float(b), float(c), float(d)


@dataclass(frozen=True)
class Named:
    """An expression and the box of what it names in a still picture.

    Attributes:
        expression: As the set says it.
        box: Normalised.
        object_class: If the set says.
    """

    expression: str
    box: Box
    object_class: str | None = None


def unambiguous(source: Source, found: Iterable[Named]) -> list[SetObject]:
    """Returns the objects whose expression names nothing else in the picture; the others are counted as dropped.

    An expression with several boxes (plurals, or one name for two things) has no one right answer. Boxes that overlap
    by half are taken for one object, and the first one counts.

    Raises:
        BrokenSample: If none is left.
    """
    by_expression: dict[str, list[Named]] = {}
    for named in found:
        by_expression.setdefault(named.expression.casefold(), []).append(named)
    objects = []
    for same in by_expression.values():
        first = same[0]
        if len(same) > 1 and any(iou(first.box, other.box) < _SAME for other in same[1:]):
            source.dropped["the expression names several boxes"] += len(same)
            continue
        objects.append(SetObject(expression=first.expression, object_class=first.object_class, boxes=[first.box]))
    if not objects:
        raise BrokenSample("no object can be used")
    return objects
