"""The filters of what the grounder found: on the first frame, then on the middle and the last one (PROTOCOL §6).

Two phrases may be answered with the same box. If their head nouns differ, one of them must be wrong, and nothing says
which: both are dropped here. If the head noun is the same ("a man", "a man in a suit"), it may well be one man, or the
grounder may not read adjectives: then its answers to both phrases are the same to the last digit, for it was asked the
same thing twice, and both are dropped. A grounder that reads the whole phrase is never that sure of both alike; then
the filters of kept tracks decide (`duplicates`).
"""

from __future__ import annotations

from collections.abc import Sequence

from elysium.boxes import iou
from elysium.config import CurateSettings
from elysium.curation.filters.base import FoundSubject, Verdict
from elysium.curation.protocols import Detection


def vocabulary(subject: FoundSubject, settings: CurateSettings) -> Verdict:
    """The grounder can find such an object at all."""
    if subject.known:
        return Verdict("vocabulary", True, "", 1, 1)
    return Verdict("vocabulary", False, "unknown_object", 0, 1, "number of detectors for it")


def first_frame(subject: FoundSubject, settings: CurateSettings) -> Verdict:
    """It is found on the first frame with confidence."""
    return _found("first_frame", "not_found_first", subject.first, settings)


def unique(subject: FoundSubject, settings: CurateSettings) -> Verdict:
    """It is found once on the first frame; the number is that of confident detections."""
    if not _must_be_unique(subject, settings):
        return Verdict("unique", True, detail=f"asked of the {settings.unique_in} split only")
    count = len(confident(subject.first, settings))
    return Verdict("unique", count <= 1, "" if count <= 1 else "ambiguous", count, 1)


def distinct(subject: FoundSubject, settings: CurateSettings) -> Verdict:
    """No other phrase is answered with the same object; the number is the largest IoU with another phrase's box."""
    own = confident(subject.first, settings)[:1]
    if not own:
        return Verdict("distinct", True, "", 0.0, settings.same_object_iou)
    largest, rival = 0.0, ""
    for text, (chunk, detections) in subject.others.items():
        sure = confident(detections, settings)
        if not sure or (len(sure) > 1 and _must_be_unique(subject, settings)):
            continue  # that candidate is gone
        overlap = float(iou(own[0].box, sure[0].box))
        can_tell = chunk.head == subject.chunk.head and _answers(detections) != _answers(subject.first)
        if overlap > largest and not can_tell:
            largest, rival = overlap, text
    if largest < settings.same_object_iou:
        return Verdict("distinct", True, "", largest, settings.same_object_iou)
    return Verdict("distinct", False, "same_object", largest, settings.same_object_iou, f"also {rival!r}")


def middle_frame(subject: FoundSubject, settings: CurateSettings) -> Verdict:
    """It is found on the middle frame with confidence."""
    return _found("middle_frame", "not_found_middle", subject.middle or (), settings)


def last_frame(subject: FoundSubject, settings: CurateSettings) -> Verdict:
    """It is found on the last frame with confidence."""
    return _found("last_frame", "not_found_last", subject.last or (), settings)


def more_positions(num_frames: int, settings: CurateSettings) -> list[int]:
    """Returns the positions in a piece that are searched besides first, middle and last frame, at even distances.

    Example:
        >>> more_positions(24, CurateSettings()), more_positions(24, CurateSettings(check_frames=5))
        ([], [6, 17])
    """
    count = settings.check_frames
    if count <= 3:
        return []
    even = {round(number * (num_frames - 1) / (count - 1)) for number in range(count)}
    return sorted(even - {0, num_frames // 2, num_frames - 1, (num_frames - 1) // 2})


def confident(detections: Sequence[Detection], settings: CurateSettings) -> list[Detection]:
    """Returns the detections that are confident enough, the most confident first."""
    sure = [detection for detection in detections if detection.confidence > settings.grounding_confidence]
    return sorted(sure, key=lambda detection: -detection.confidence)


def _found(name: str, reason: str, detections: Sequence[Detection], settings: CurateSettings) -> Verdict:
    best = max((detection.confidence for detection in detections), default=0.0)
    passed = best > settings.grounding_confidence
    return Verdict(name, passed, "" if passed else reason, best, settings.grounding_confidence)


def _must_be_unique(subject: FoundSubject, settings: CurateSettings) -> bool:
    return settings.unique_in == "all" or subject.split == settings.unique_in


def _answers(detections: Sequence[Detection]) -> list[tuple[tuple[float, ...], float]]:
    """Returns what the grounder answered, without the phrase it answered to."""
    return sorted((tuple(detection.box), detection.confidence) for detection in detections)
