"""The embedded grounder: phrases whose head noun names a face or a person, found by OpenCV's own detectors.

It does not read adjectives: two phrases for people are answered with the same boxes, and curation drops both
(`stages`, reason `same_object`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from elysium.boxes import FloatArray, area, iou
from elysium.config import CurateSettings
from elysium.curation.calibration import curve
from elysium.curation.detectors import Image, Kind, find_faces, find_people, person_around
from elysium.curation.protocols import Detection, Frame

# Head noun to what is looked for. A cyclist or a dancer is a person too, but which person OpenCV cannot tell.
HEADS: dict[str, Kind] = {
    "face": "face",
    "adult": "person",
    "boy": "person",
    "child": "person",
    "gentleman": "person",
    "girl": "person",
    "guy": "person",
    "lady": "person",
    "man": "person",
    "pedestrian": "person",
    "person": "person",
    "woman": "person",
}
_SAME_PERSON = 0.3  # IoU from which a body found by HOG and one drawn around a face are one person
_INSIDE = 0.7  # share of a face that lies in the upper half of a body when they belong together

Box = tuple[float, float, float, float]


def opencv_grounder(settings: CurateSettings) -> OpenCVGrounder:
    """Returns the grounder; it has no settings."""
    return OpenCVGrounder()


class OpenCVGrounder:
    """Finds faces and people; what it loads is kept for the next frame."""

    def knows(self, phrase: str) -> bool:
        """Returns whether the phrase's last word is one that a detector answers to."""
        return _head(phrase) in HEADS

    def ground(self, frame: Frame, phrases: Sequence[str]) -> list[Detection]:
        """Returns faces or people for each phrase, the most confident first; none for words it does not know."""
        kinds = {phrase: HEADS[_head(phrase)] for phrase in phrases if self.knows(phrase)}
        if not kinds:
            return []
        faces = _faces(frame.image)
        found = {"face": faces}
        if "person" in kinds.values():
            found["person"] = _people(frame.image, faces)
        return [
            Detection(phrase, box, confidence)
            for phrase, kind in kinds.items()
            for box, confidence in sorted(found[kind], key=lambda entry: -entry[1])
        ]


def _head(phrase: str) -> str:
    words = phrase.lower().split()
    return words[-1] if words else ""


def _faces(image: Image) -> list[tuple[Box, float]]:
    return [(find.box, curve("face").confidence(find.evidence)) for find in find_faces(image)]


def _people(image: Image, faces: list[tuple[Box, float]]) -> list[tuple[Box, float]]:
    """Returns the bodies that HOG finds, and around each face that belongs to none of them the body it implies."""
    people = [(find.box, curve("person").confidence(find.evidence)) for find in find_people(image)]
    for face, confidence in faces:
        body = person_around(face)
        same = [index for index, (box, _) in enumerate(people) if _belong_together(face, body, box)]
        strongest = max((people[index][1] for index in same), default=0.0)
        if confidence > strongest:
            people = [entry for index, entry in enumerate(people) if index not in same] + [(body, confidence)]
    return people


def _belong_together(face: Box, body: Box, box: Box) -> bool:
    return float(iou(body, box)) >= _SAME_PERSON or _share_inside(face, _upper_half(box)) >= _INSIDE


def _upper_half(box: Box) -> FloatArray:
    x1, y1, x2, y2 = box
    return np.array([x1, y1, x2, (y1 + y2) / 2])


def _share_inside(inner: Box, outer: FloatArray) -> float:
    """Returns the share of `inner` that lies in `outer`."""
    a, b = np.asarray(inner), outer
    shared = np.concatenate([np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])])
    return float(area(shared) / area(a))
