"""Grounder and tracker that read a clip's exact annotations: the oracle behind the same protocols.

Confidence is the share of the object's pixels that is seen, so the thresholds that drop uncertain boxes of real
video drop hidden and absent objects here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from elysium.boxes import iou
from elysium.curation.protocols import Detection, Frame, Track
from elysium.data.records import AnnotatedObject, ClipAnnotations
from elysium.errors import ElysiumError

Value = TypeVar("Value")


def read_annotations(clip_id: str, path: Path) -> ClipAnnotations:
    """Returns a clip's annotations.

    Raises:
        ElysiumError: If the file cannot be read as such.
    """
    try:
        return ClipAnnotations.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        # Where the file lay says nothing to anybody, and differs from run to run.
        why = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise ElysiumError(f"the annotations of clip {clip_id} cannot be read: {why}") from error


class AnnotationsGrounder:
    """Finds exactly the annotated objects, by their exact expressions; letter case does not count."""

    def __init__(self, annotations: ClipAnnotations) -> None:
        self._objects: dict[str, list[AnnotatedObject]] = {}
        for item in annotations.objects:
            self._objects.setdefault(item.expression.lower(), []).append(item)

    def knows(self, phrase: str) -> bool:
        """Returns whether an object is annotated under that expression."""
        return phrase.lower() in self._objects

    def ground(self, frame: Frame, phrases: Sequence[str]) -> list[Detection]:
        """Returns the boxes of the objects that are in the frame, with their visibility as confidence."""
        found = []
        for phrase in phrases:
            for item in self._objects.get(phrase.lower(), []):
                box = _entry(item.boxes, frame.index)
                if box is not None:
                    found.append(Detection(phrase, box, _entry(item.visibility, frame.index) or 0.0))
        return sorted(found, key=lambda detection: (phrases.index(detection.phrase), -detection.confidence))


class AnnotationsTracker:
    """Follows the annotated object whose box in the first frame overlaps the given one best."""

    def __init__(self, annotations: ClipAnnotations) -> None:
        self._annotations = annotations

    def track(self, frames: Sequence[Frame], box: Sequence[float]) -> Track:
        """Returns the object's boxes and visibility; confidence is 0 throughout if no object is at `box`."""
        boxes, confidence = np.zeros((len(frames), 4)), np.zeros(len(frames))
        overlaps = [
            0.0 if (first := _entry(item.boxes, frames[0].index)) is None else float(iou(first, box))
            for item in self._annotations.objects
        ]
        if not overlaps or max(overlaps) == 0:
            return Track(boxes, confidence)
        item = self._annotations.objects[int(np.argmax(overlaps))]
        for position, frame in enumerate(frames):
            found = _entry(item.boxes, frame.index)
            if found is not None:
                boxes[position], confidence[position] = found, _entry(item.visibility, frame.index) or 0.0
        return Track(boxes, confidence)


def _entry(values: Sequence[Value], index: int) -> Value | None:
    """Returns the entry of a frame; a video may be longer than its annotations."""
    return values[index] if index < len(values) else None
