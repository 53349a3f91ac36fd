"""Stand-in: the filters as they were."""

from __future__ import annotations

from typing import Any

from elysium.boxes import iou, pairwise_iou
from elysium.config import CurateSettings
from elysium.curation.drift import measure_drift
from elysium.curation.filters.base import Level, Verdict
from elysium.curation.lexicon import is_plural, lexicon, words

_STAGES = {
    "min_frames": "shots",
    "found": "grounding",
    "unique": "grounding",
    "same_object": "grounding",
    "known_object": "grounding",
    "confidence": "tracking",
    "drift": "drift",
    "agreement": "agreement",
    "size": "size",
}


def stage_of(name: str) -> str:
    """Returns the stage of a filter."""
    return _STAGES.get(name, "chunk")


def run_filters(level: Level, subject: Any, settings: CurateSettings, *, all_of_them: bool = False) -> list[Verdict]:
    """Returns verdicts."""
    found: list[Verdict] = []
    for verdict in _LEVELS[level](subject, settings):
        found.append(verdict)
        if not verdict.passed:
            break
    return found


def _chunk(subject, settings):
    chunk = subject.chunk
    numerals = lexicon().classes["numeral"]
    if is_plural(chunk.head) or any(word in numerals or word.isdigit() for word in chunk.words):
        yield Verdict("plural", False, "plural_word", 1, 0)
    if chunk.head in words("virtual") or "no" in chunk.words:
        yield Verdict("virtual", False, "virtual_word", 1, 0)
    if any(other.text.lower() == chunk.text.lower() for other in subject.before):
        yield Verdict("repeated", False, "repeated", 1, 0)


def _piece(subject, settings):
    n = len(subject.frames)
    yield Verdict(
        "min_frames", n >= settings.min_frames, "" if n >= settings.min_frames else "too_short", n, settings.min_frames
    )


def _confident(detections, settings):
    return [d for d in detections if d.confidence > settings.grounding_confidence]


def _found(name, detections, settings):
    best = max((d.confidence for d in detections), default=0.0)
    ok = best > settings.grounding_confidence
    return Verdict("found", ok, "" if ok else f"not_found_{name}", best, settings.grounding_confidence)


def _first(subject, settings):
    yield _found("first", subject.first, settings)
    n = len(_confident(subject.first, settings))
    yield Verdict("unique", n == 1, "" if n == 1 else "ambiguous", n, 1)
    others = [_confident(d, settings) for _, d in subject.others.values()]
    boxes = [d[0].box for d in others if len(d) == 1]
    if boxes:
        shared = float(pairwise_iou([subject.first[0].box], boxes).max())
        yield Verdict("same_object", shared < 0.5, "" if shared < 0.5 else "same_object", shared, 0.5)


def _later(subject, settings):
    yield _found("middle", subject.middle, settings)
    yield _found("last", subject.last, settings)


def _track(subject, settings):
    track = subject.track
    lowest = int(track.confidence.argmin())
    value = float(track.confidence[lowest])
    ok = value > settings.tracking_confidence
    yield Verdict(
        "confidence", ok, "" if ok else "low_confidence", value, settings.tracking_confidence, f"frame {lowest}"
    )
    drift = measure_drift(track.boxes, settings.max_drift)
    yield Verdict(
        "drift", not drift.extreme, "jump" if drift.extreme else "", drift.distance, drift.gate, f"frame {drift.frame}"
    )
    for name, position, detections in (
        ("middle", len(track.boxes) // 2, subject.found.middle),
        ("last", -1, subject.found.last),
    ):
        detections = _confident(detections, settings)
        best = float(iou([d.box for d in detections], track.boxes[position]).max())
        yield Verdict(
            "agreement",
            best >= settings.min_iou,
            "" if best >= settings.min_iou else f"elsewhere_{name}",
            best,
            settings.min_iou,
        )
    smallest = float((track.boxes[:, 2:] - track.boxes[:, :2]).min())
    ok = smallest >= settings.min_box_side
    yield Verdict("size", ok, "" if ok else "too_small", smallest, settings.min_box_side)


_LEVELS = {
    "caption": lambda s, t: [],
    "chunk": _chunk,
    "piece": _piece,
    "first": _first,
    "later": _later,
    "track": _track,
    "kept": lambda s, t: [],
}
