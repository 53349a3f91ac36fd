"""From what the models put out to boxes: scores of tokens to detections, and masks to boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from elysium.boxes import FloatArray, pairwise_iou
from elysium.curation.evidence import Box

if TYPE_CHECKING:
    import torch

BOX_DIGITS = 5  # a hundredth of a pixel of the largest frame
CONFIDENCE_DIGITS = 4  # coarser than what the neighbours in a batch change
_MOST = 100  # boxes of one phrase that are looked at, the most confident ones; of 900 that the model draws


@dataclass(frozen=True)
class Selection:
    """Which of the boxes that a model drew are detections of a phrase.

    Attributes:
        reduction: How the scores of a phrase's tokens become its score.
        floor: Lowest confidence of a detection.
        overlap: IoU from which the less confident of two boxes shows the same object and is left out.
    """

    reduction: Literal["max", "mean"] = "max"
    floor: float = 0.1
    overlap: float = 0.7

    def find(self, scores: FloatArray, boxes: FloatArray) -> list[tuple[Box, float]]:
        """Returns the detections of one phrase, the most confident first.

        Numbers are rounded before they are compared, so that the noise of floating-point sums changes no order.

        Args:
            scores: Shape `(num_boxes, num_tokens)`, in [0, 1]: each box's score for each token of the phrase.
            boxes: Shape `(num_boxes, 4)`, normalised `(centre x, centre y, width, height)`.

        Example:
            >>> scores = np.array([[0.2, 0.9], [0.3, 0.8], [0.6, 0.1]])
            >>> boxes = np.array([[0.5, 0.5, 0.2, 0.4], [0.5, 0.5, 0.2, 0.39], [0.9, 0.5, 0.4, 0.4]])
            >>> Selection().find(scores, boxes)
            [((0.4, 0.3, 0.6, 0.7), 0.9), ((0.7, 0.3, 1.0, 0.7), 0.6)]
        """
        confidence = scores.max(axis=1) if self.reduction == "max" else scores.mean(axis=1)
        confidence = np.round(confidence.astype(np.float64), CONFIDENCE_DIGITS)
        corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
        corners = np.round(np.clip(corners.astype(np.float64), 0.0, 1.0), BOX_DIGITS)
        seen = (confidence >= self.floor) & (corners[:, 2:] > corners[:, :2]).all(axis=1)
        confidence, corners = confidence[seen], corners[seen]
        order = np.lexsort((*corners.T[::-1], -confidence))[:_MOST]
        confidence, corners = confidence[order], corners[order]
        return [
            ((float(x1), float(y1), float(x2), float(y2)), float(confidence[index]))
            for index in _distinct(corners, self.overlap)
            for x1, y1, x2, y2 in (corners[index],)
        ]


def _distinct(boxes: FloatArray, overlap: float) -> list[int]:
    """Returns the positions of the boxes that no earlier kept one overlaps (greedy non-maximum suppression)."""
    overlaps = pairwise_iou(boxes, boxes)
    kept: list[int] = []
    for index in range(len(boxes)):
        if not (overlaps[index, kept] >= overlap).any():
            kept.append(index)
    return kept


def mask_boxes(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Returns the boxes around masks, as they would be drawn on the frame.

    The logits are enlarged to the frame before they are cut at 0, as SAM 2 does: a box is then as fine as the frame's
    pixels, not as the mask's.

    Args:
        logits: Shape `(n, h, w)`, above 0 inside the object.
        size: `(width, height)` of the frame in pixels.

    Returns:
        Shape `(n, 4)`, normalised `(x1, y1, x2, y2)` around all pixels of the mask; zeros where it has none.
    """
    import torch
    from torch.nn import functional

    width, height = size
    enlarged = functional.interpolate(logits[:, None].float(), (height, width), mode="bilinear", align_corners=False)
    inside = enlarged[:, 0] > 0
    sides = []
    for occupied in (inside.any(dim=1), inside.any(dim=2)):  # columns, then rows
        steps = occupied.shape[1]
        first = occupied.int().argmax(dim=1)
        last = steps - occupied.flip(1).int().argmax(dim=1)
        sides.append(torch.stack([first, last]) / steps * occupied.any(dim=1))
    (x1, x2), (y1, y2) = sides
    return torch.stack([x1, y1, x2, y2], dim=1)
