"""The filters of PROTOCOL §6, one after the other: what a noun chunk must pass on one piece of video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from elysium.boxes import iou, pairwise_iou
from elysium.config import CurateSettings
from elysium.curation.drift import measure_drift
from elysium.curation.filters.base import ChunkSubject
from elysium.curation.language.filters import judge_chunk
from elysium.curation.outcome import Stage
from elysium.curation.protocols import Chunk, Detection, Frame, Track
from elysium.curation.registry import Parts

_SAME_OBJECT = 0.5  # IoU from which two detections show one object


@dataclass(frozen=True)
class Rejection:
    """Why a chunk went no further; see `outcome.Reject` for the fields."""

    stage: Stage
    reason: str
    value: float | None = None
    threshold: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class Accepted:
    """A chunk that passed every filter.

    Attributes:
        chunk: The chunk.
        track: Its track.
        groundings: Confidence of the detection on first, middle and last frame.
        overlaps: IoU of track and detection on middle and last frame.
        drift: Largest squared Mahalanobis distance of a step.
    """

    chunk: Chunk
    track: Track
    groundings: tuple[float, float, float]
    overlaps: tuple[float, float]
    drift: float


def judge_chunks(
    chunks: Sequence[Chunk], settings: CurateSettings
) -> tuple[list[Chunk], list[tuple[Chunk, Rejection]]]:
    """Returns the chunks that name one visible thing, each once, and those that do not."""
    kept, dropped = [], []
    for number, chunk in enumerate(chunks):
        last = judge_chunk(ChunkSubject(chunk, tuple(chunks[:number])), settings)[-1]
        if last.passed:
            kept.append(chunk)
        else:
            dropped.append((chunk, Rejection("chunk", last.reason, last.value, last.threshold, last.detail)))
    return kept, dropped


def judge_piece(
    frames: Sequence[Frame], chunks: Sequence[Chunk], parts: Parts, settings: CurateSettings
) -> list[tuple[Chunk, Accepted | Rejection]]:
    """Returns the verdict on every chunk, in their order.

    Args:
        frames: The piece's frames, at least two.
        chunks: The candidates.
        parts: Who finds and who follows.
        settings: Thresholds.
    """
    verdicts: dict[str, Accepted | Rejection] = {}
    found = _ground(frames, [chunk.text for chunk in chunks], parts, settings, verdicts)
    for chunk in chunks:
        if chunk.text in found:
            verdicts[chunk.text] = _judge_track(frames, chunk, found[chunk.text], parts, settings)
    return [(chunk, verdicts[chunk.text]) for chunk in chunks]


Grounding = tuple[Detection, list[Detection], list[Detection]]


def _ground(
    frames: Sequence[Frame],
    phrases: Sequence[str],
    parts: Parts,
    settings: CurateSettings,
    verdicts: dict[str, Accepted | Rejection],
) -> dict[str, Grounding]:
    """Returns the detections of each phrase that was found as asked; the other phrases' rejections go to `verdicts`.

    On the first frame exactly one confident detection is allowed (the expression is unambiguous there), and no two
    phrases may have the same one (the grounder cannot tell them apart); on middle and last frame at least one is
    needed. Later frames are searched only for phrases that are still in question.
    """
    limit = settings.grounding_confidence
    known = [phrase for phrase in phrases if parts.grounder.knows(phrase)]
    for phrase in set(phrases) - set(known):
        verdicts[phrase] = Rejection("grounding", "unknown_object", 0, 1, "number of detectors for it")
    first: dict[str, Detection] = {}
    for phrase, detections in _detect(frames[0], known, parts).items():
        confident = [detection for detection in detections if detection.confidence > limit]
        if not confident:
            verdicts[phrase] = _not_found("first", detections, limit)
        elif len(confident) > 1:
            verdicts[phrase] = Rejection("grounding", "ambiguous", len(confident), 1)
        else:
            first[phrase] = confident[0]
    for phrase, overlap in _shared_objects(first).items():
        verdicts[phrase] = Rejection("grounding", "same_object", overlap, _SAME_OBJECT)
        del first[phrase]
    later: dict[str, list[list[Detection]]] = {phrase: [] for phrase in first}
    for name, frame in (("middle", frames[len(frames) // 2]), ("last", frames[-1])):
        for phrase, detections in _detect(frame, list(later), parts).items():
            confident = [detection for detection in detections if detection.confidence > limit]
            later[phrase].append(confident)
            if not confident:
                verdicts[phrase] = _not_found(name, detections, limit)
                del later[phrase]
    return {phrase: (first[phrase], middle, last) for phrase, (middle, last) in later.items()}


def _detect(frame: Frame, phrases: Sequence[str], parts: Parts) -> dict[str, list[Detection]]:
    detections: dict[str, list[Detection]] = {phrase: [] for phrase in phrases}
    if phrases:
        for detection in parts.grounder.ground(frame, phrases):
            detections[detection.phrase].append(detection)
    return detections


def _not_found(where: str, detections: Sequence[Detection], limit: float) -> Rejection:
    best = max((detection.confidence for detection in detections), default=0.0)
    return Rejection("grounding", f"not_found_{where}", best, limit)


def _shared_objects(first: dict[str, Detection]) -> dict[str, float]:
    """Returns the phrases whose detection is another phrase's too, with the largest IoU."""
    phrases = list(first)
    if len(phrases) < 2:
        return {}
    boxes = [first[phrase].box for phrase in phrases]
    overlaps = pairwise_iou(boxes, boxes)
    np.fill_diagonal(overlaps, 0.0)
    return {
        phrase: float(largest)
        for phrase, largest in zip(phrases, overlaps.max(axis=1), strict=True)
        if largest >= _SAME_OBJECT
    }


def _judge_track(
    frames: Sequence[Frame], chunk: Chunk, grounding: Grounding, parts: Parts, settings: CurateSettings
) -> Accepted | Rejection:
    first, middle, last = grounding
    track = parts.tracker.track(frames, first.box)
    lowest = int(track.confidence.argmin())
    if not track.confidence[lowest] > settings.tracking_confidence:
        return Rejection(
            "tracking",
            "low_confidence",
            float(track.confidence[lowest]),
            settings.tracking_confidence,
            f"frame {lowest}",
        )
    drift = measure_drift(track.boxes, settings.max_drift)
    if drift.extreme:
        return Rejection("drift", "jump", drift.distance, drift.gate, f"frame {drift.frame}")
    chosen, overlaps = [], []
    for name, position, detections in (("middle", len(frames) // 2, middle), ("last", -1, last)):
        shared = iou([detection.box for detection in detections], track.boxes[position])
        best = int(np.argmax(shared))
        if shared[best] < settings.min_iou:
            return Rejection("agreement", f"elsewhere_{name}", float(shared[best]), settings.min_iou)
        chosen.append(detections[best].confidence)
        overlaps.append(float(shared[best]))
    smallest = float((track.boxes[:, 2:] - track.boxes[:, :2]).min())
    if smallest < settings.min_box_side:
        return Rejection("size", "too_small", smallest, settings.min_box_side)
    return Accepted(
        chunk=chunk,
        track=track,
        groundings=(first.confidence, chosen[0], chosen[1]),
        overlaps=(overlaps[0], overlaps[1]),
        drift=drift.distance,
    )
