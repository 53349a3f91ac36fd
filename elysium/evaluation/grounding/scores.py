"""Boxes of named objects (REC): accuracy at several overlaps, mean overlap, per size of the object (PROTOCOL §7).

A box that is not there, not finite or without area is a failure: overlap 0, in every denominator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from elysium.boxes import FloatArray, area, iou
from elysium.errors import UsageError
from elysium.evaluation.tasks.groups import pixel_size, relative_size

# Metric → least overlap of a hit; the first is Acc@0.5, the published one.
ACCURACIES = {"accuracy": 0.5, "accuracy_70": 0.7, "accuracy_90": 0.9}
GROUNDING_METRICS = (*ACCURACIES, "mean_iou")
SIZES = ("small", "medium", "large")
_SHOWN = 5


@dataclass(frozen=True)
class SizeScores:
    """The figures of the objects of one size.

    Attributes:
        num_items: How many there are.
        metrics: Metric → percent; empty where there is no object of this size.
    """

    num_items: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class GroundingScores:
    """The figures of a set of expressions, in percent; the corpus's are the means over items.

    Attributes:
        corpus: Metric of `GROUNDING_METRICS` → figure.
        per_item: Item → metric → figure; an accuracy is 0 or 100.
        sizes: Of `SIZES` → figures, by the true box in pixels: COCO's classes, of the box and not the mask.
        relative_sizes: The same by the true box's share of its picture; empty where pictures' sizes are not known.
        num_failures: Boxes that are not there, not finite or without area.
    """

    corpus: dict[str, float]
    per_item: dict[str, dict[str, float]]
    sizes: dict[str, SizeScores]
    relative_sizes: dict[str, SizeScores]
    num_failures: int


def score_grounding(
    items: Sequence[str],
    predicted: npt.ArrayLike,
    truth: npt.ArrayLike,
    image_sizes: npt.ArrayLike | None = None,
) -> GroundingScores:
    """Scores boxes.

    Args:
        items: Names of the n expressions, each once.
        predicted: Shape `(n, 4)`, `(x1, y1, x2, y2)` in pixels of the image as it was annotated; NaN where there is
            no answer.
        truth: Shape `(n, 4)`, likewise.
        image_sizes: Shape `(n, 2)`, `(width, height)` in pixels.

    Raises:
        UsageError: If there is no item, shapes differ, a name comes twice, a true box is not finite or has no area,
            or the predictions are shares of the image and not pixels.
    """
    p, g = np.asarray(predicted, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    _check(items, p, g)
    found = _found(p)
    overlap = np.where(found, iou(np.where(found[:, None], p, 0.0), g), 0.0)
    columns = {name: 100.0 * (overlap >= least) for name, least in ACCURACIES.items()} | {"mean_iou": 100.0 * overlap}
    figures = np.stack([columns[name] for name in GROUNDING_METRICS], axis=-1)

    relative: dict[str, SizeScores] = {}
    if image_sizes is not None:
        wide = np.asarray(image_sizes, dtype=np.float64)
        if wide.shape != (len(g), 2) or not (np.isfinite(wide) & (wide > 0)).all():
            raise UsageError(f"a positive width and height is needed for each of {len(g)} items, got {wide.shape}")
        relative = _per_size(figures, [relative_size(box, size) for box, size in zip(g, wide.tolist(), strict=True)])
    return GroundingScores(
        corpus=_means(figures),
        per_item={
            item: dict(zip(GROUNDING_METRICS, row, strict=True))
            for item, row in zip(items, figures.tolist(), strict=True)
        },
        sizes=_per_size(figures, list(map(pixel_size, g))),
        relative_sizes=relative,
        num_failures=int((~found).sum()),
    )


def grounding_accuracy(predicted: npt.ArrayLike, truth: npt.ArrayLike, threshold: float = 0.5) -> float:
    """Returns the share of boxes with IoU >= `threshold`, percent (REC, Acc@0.5).

    Args:
        predicted: Shape `(n, 4)`, `(x1, y1, x2, y2)` in any one unit; NaN counts as a miss.
        truth: Same shape.
        threshold: Least overlap of a hit.

    Raises:
        ValueError: If there is no box.
    """
    p, g = np.asarray(predicted, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if len(g) == 0:
        raise ValueError("no box to score")
    hit = iou(np.nan_to_num(p), g) >= threshold
    return float(100 * (hit & np.isfinite(p).all(-1)).mean())


def _check(items: Sequence[str], predicted: FloatArray, truth: FloatArray) -> None:
    if len(items) == 0:
        raise UsageError("there is no box to score")
    if predicted.shape != (len(items), 4) or truth.shape != predicted.shape:
        raise UsageError(
            f"one predicted and one true box is needed for each of {len(items)} items, shape ({len(items)}, 4), got "
            f"{predicted.shape} and {truth.shape}"
        )
    if len(set(items)) < len(items):
        seen: set[str] = set()
        twice = next(item for item in items if item in seen or seen.add(item))  # type: ignore[func-returns-value] # None
        raise UsageError(f"the item {twice} comes twice")
    broken = [item for item, good in zip(items, _found(truth), strict=True) if not good]
    if broken:
        raise UsageError(
            f"{len(broken)} true boxes are not finite or have no area: {', '.join(map(str, broken[:_SHOWN]))}"
        )
    there = predicted[_found(predicted)]
    if len(there) and there.max() <= 1 and (there % 1 != 0).any() and truth.max() > 2:
        raise UsageError(
            f"the predicted boxes lie between 0 and 1, the true ones reach {truth.max():g}: shares of the image are "
            "given where pixels are needed"
        )


def _found(boxes: FloatArray) -> npt.NDArray[np.bool_]:
    finite = np.asarray(np.isfinite(boxes).all(-1))
    return finite & (area(np.where(finite[:, None], boxes, 0.0)) > 0)


def _per_size(figures: FloatArray, sizes: Sequence[str]) -> dict[str, SizeScores]:
    chosen = {name: figures[np.array(sizes) == name] for name in SIZES}
    return {name: SizeScores(len(rows), _means(rows) if len(rows) else {}) for name, rows in chosen.items()}


def _means(figures: FloatArray) -> dict[str, float]:
    return dict(zip(GROUNDING_METRICS, figures.mean(axis=0).tolist(), strict=True))
