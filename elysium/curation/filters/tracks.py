"""The filters of one track: the tracker's confidence, what the grounder says of the same frames, the box's size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from elysium.boxes import FloatArray, iou
from elysium.config import CurateSettings
from elysium.curation.filters.base import TrackSubject, Verdict
from elysium.curation.filters.grounding import confident
from elysium.curation.protocols import Detection


def confidence(subject: TrackSubject, settings: CurateSettings) -> Verdict:
    """The tracker is confident on every frame; the number is its lowest confidence."""
    values = subject.track.confidence
    lowest, limit = int(values.argmin()), settings.tracking_confidence
    if values[lowest] > limit:
        return Verdict("confidence", True, "", float(values[lowest]), limit)
    return Verdict("confidence", False, "low_confidence", float(values[lowest]), limit, f"frame {lowest}")


def agreement_middle(subject: TrackSubject, settings: CurateSettings) -> Verdict:
    """Track and grounding agree on the middle frame; the number is the IoU with the best detection."""
    boxes = subject.track.boxes
    return _agreement("middle", boxes[len(boxes) // 2], subject.found.middle or (), settings)


def agreement_last(subject: TrackSubject, settings: CurateSettings) -> Verdict:
    """Track and grounding agree on the last frame; the number is the IoU with the best detection."""
    return _agreement("last", subject.track.boxes[-1], subject.found.last or (), settings)


def agreement(subject: TrackSubject, settings: CurateSettings) -> Verdict:
    """Track and grounding agree on the whole; the number is their mean IoU on the searched frames after the first."""
    boxes, found = subject.track.boxes, subject.found
    searched = {len(boxes) // 2: found.middle or (), len(boxes) - 1: found.last or (), **found.more}
    sure = {position: confident(detections, settings) for position, detections in searched.items()}
    # A frame on which nothing was found says nothing here; `middle_frame` and `last_frame` have asked for theirs.
    overlaps = [best_match(detections, boxes[position])[1] for position, detections in sure.items() if detections]
    mean, limit = float(np.mean(overlaps)) if overlaps else 0.0, settings.min_mean_iou
    return Verdict("agreement", mean >= limit, "" if mean >= limit else "elsewhere", mean, limit)


def tiny_box(subject: TrackSubject, settings: CurateSettings) -> Verdict:
    """The box is large enough on every frame; the number is its shortest side, as a share of the frame's side."""
    boxes = subject.track.boxes
    sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1)
    smallest, limit = float(sides.min()), settings.min_box_side
    if smallest >= limit:
        return Verdict("tiny_box", True, "", smallest, limit)
    return Verdict("tiny_box", False, "too_small", smallest, limit, f"frame {int(sides.argmin())}")


def full_box(subject: TrackSubject, settings: CurateSettings) -> Verdict:
    """The box leaves some of the frame free; the number is the median share of the frame that it covers."""
    boxes = subject.track.boxes
    covered, limit = float(np.median((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))), settings.max_box_area
    return Verdict("full_box", covered <= limit, "" if covered <= limit else "too_large", covered, limit)


def best_match(detections: Sequence[Detection], box: FloatArray) -> tuple[Detection | None, float]:
    """Returns the detection that overlaps a box most, and their IoU; None and 0 if there is none.

    Args:
        detections: On the box's frame.
        box: Normalised `(x1, y1, x2, y2)`.
    """
    if not detections:
        return None, 0.0
    overlaps = iou([detection.box for detection in detections], box)
    best = int(np.argmax(overlaps))
    return detections[best], float(overlaps[best])


def _agreement(where: str, box: FloatArray, detections: Sequence[Detection], settings: CurateSettings) -> Verdict:
    _, overlap = best_match(confident(detections, settings), box)
    passed = overlap >= settings.min_iou
    return Verdict(f"agreement_{where}", passed, "" if passed else f"elsewhere_{where}", overlap, settings.min_iou)
