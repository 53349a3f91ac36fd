"""What a candidate must pass to become a record, in order (PROTOCOL §6); whoever fails is told where and by what number."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from elysium.boxes import iou
from elysium.config import CurateSettings
from elysium.curation.chunking import is_plural, is_virtual
from elysium.curation.kalman import gate, largest_jump
from elysium.curation.protocols import Chunk, Detection, Frame, Grounder, Track
from elysium.curation.registry import Parts
from elysium.curation.shots import Shot

_SAME_OBJECT = 0.7


class Reject(BaseModel):
    """One line of `rejects.jsonl`.

    Attributes:
        clip: Id of the raw clip.
        vid: Id of the shot; None when the whole clip was dropped.
        expression: The chunk; None when the whole clip was dropped.
        stage: Where it fell out.
        reason: Why, always in the same words.
        value: The number that decided, None where there is none.
        threshold: What it was compared with.
        detail: What else there is to say.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    clip: str
    vid: str | None
    expression: str | None
    stage: str
    reason: str
    value: float | None
    threshold: float | None
    detail: str = ""


@dataclass(frozen=True)
class Kept:
    """A candidate that passed.

    Attributes:
        chunk: Its name.
        track: Its boxes.
        confidence: Lowest over the frames.
    """

    chunk: Chunk
    track: Track
    confidence: float


class Dropped(Exception):
    """Ends a candidate's way through the stages."""

    def __init__(self, stage: str, reason: str, value: float | None = None, threshold: float | None = None) -> None:
        super().__init__(reason)
        self.stage = stage
        self.reason = reason
        self.value = None if value is None else round(value, 4)
        self.threshold = threshold


def curate_shot(
    clip: str, shot: Shot, caption: str, parts: Parts, settings: CurateSettings
) -> tuple[list[Kept], list[Reject]]:
    """Returns the candidates of one shot that passed every stage, and those that did not.

    Args:
        clip: Id of the raw clip.
        shot: The frames.
        caption: Of the clip.
        parts: Chunker, grounder and tracker.
        settings: Thresholds.
    """
    kept: list[Kept] = []
    rejects: list[Reject] = []
    chunks = parts.chunker.chunk(caption)
    times = Counter(chunk.text for chunk in chunks)
    firsts: dict[str, tuple[float, ...]] = {}

    def reject(chunk: Chunk, drop: Dropped) -> None:
        rejects.append(
            Reject(
                clip=clip,
                vid=shot.vid,
                expression=chunk.text,
                stage=drop.stage,
                reason=drop.reason,
                value=drop.value,
                threshold=drop.threshold,
            )
        )

    for chunk in {chunk.text: chunk for chunk in chunks}.values():
        try:
            _check_language(chunk, times[chunk.text])
            first = _ground(parts.grounder, shot.frames[0], chunk, settings, "first", alone=True)
            other = next((name for name, box in firsts.items() if float(iou(box, first.box)) >= _SAME_OBJECT), None)
            if other is not None:
                raise Dropped(
                    "grounding", "same object as another expression", float(iou(firsts[other], first.box)), _SAME_OBJECT
                )
            firsts[chunk.text] = first.box
            middle = _ground(parts.grounder, shot.frames[len(shot.frames) // 2], chunk, settings, "middle")
            last = _ground(parts.grounder, shot.frames[-1], chunk, settings, "last")
            track = parts.tracker.track(shot.frames, first.box)
            _check_track(track, settings)
            _check_agreement(parts.grounder, shot, chunk, track, settings, middle, last)
            kept.append(Kept(chunk, track, float(track.confidence.min())))
        except Dropped as drop:
            reject(chunk, drop)
    return kept, rejects


def _check_language(chunk: Chunk, times: int) -> None:
    if is_virtual(chunk):
        raise Dropped("language", "virtual word")
    if is_plural(chunk):
        raise Dropped("language", "plural")
    if times > 1:
        raise Dropped("language", "named more than once", times, 1)


def _ground(
    grounder: Grounder, frame: Frame, chunk: Chunk, settings: CurateSettings, where: str, *, alone: bool = False
) -> Detection:
    """Returns the best detection of a chunk; in the first frame it must be the only confident one."""
    if not grounder.knows(chunk.text):
        raise Dropped("grounding", "not an object the grounder knows")
    found = grounder.ground(frame, [chunk.text])
    best = max((detection.confidence for detection in found), default=0.0)
    confident = [detection for detection in found if detection.confidence > settings.grounding_confidence]
    if not confident:
        raise Dropped("grounding", f"not found in the {where} frame", best, settings.grounding_confidence)
    if alone and len(confident) > 1:
        raise Dropped("grounding", "ambiguous in the first frame", len(confident), 1)
    return confident[0]


def _check_track(track: Track, settings: CurateSettings) -> None:
    lowest = float(track.confidence.min())
    if lowest <= settings.tracking_confidence:
        raise Dropped("tracking", "confidence too low in a frame", lowest, settings.tracking_confidence)
    side = float((track.boxes[:, 2:] - track.boxes[:, :2]).min())
    if side < settings.min_box_side:
        raise Dropped("size", "box too small in a frame", side, settings.min_box_side)
    jump, limit = largest_jump(track.boxes), gate(len(track.boxes), settings.max_drift)
    if jump > limit:
        raise Dropped("drift", "box jumps", jump, round(limit, 4))


def _check_agreement(
    grounder: Grounder,
    shot: Shot,
    chunk: Chunk,
    track: Track,
    settings: CurateSettings,
    middle: Detection,
    last: Detection,
) -> None:
    """Compares the track with what the grounder finds, on the middle and the last frame."""
    for where, index, best in (("middle", len(shot.frames) // 2, middle), ("last", len(shot.frames) - 1, last)):
        boxes = [
            found.box
            for found in grounder.ground(shot.frames[index], [chunk.text])
            if found.confidence > settings.grounding_confidence
        ] or [best.box]
        overlap = float(np.max(iou(np.array(boxes), track.boxes[index])))
        if overlap < settings.min_iou:
            raise Dropped("agreement", f"track and grounding differ in the {where} frame", overlap, settings.min_iou)
