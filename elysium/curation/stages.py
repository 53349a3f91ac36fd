"""The filters of PROTOCOL §6, one after the other: what a noun chunk must pass on one piece of video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from elysium.config import CurateSettings
from elysium.curation.filters.base import ChunkSubject, FoundSubject, TrackSubject, Verdict
from elysium.curation.filters.grounding import confident
from elysium.curation.filters.registry import run_filters
from elysium.curation.filters.tracks import best_match
from elysium.curation.outcome import Stage
from elysium.curation.protocols import Chunk, Detection, Frame, Query, Track, ground_all
from elysium.curation.registry import Parts

_STAGES: dict[str, Stage] = {
    "confidence": "tracking",
    "drift": "drift",
    "agreement_middle": "agreement",
    "agreement_last": "agreement",
    "agreement": "agreement",
    "tiny_box": "size",
    "full_box": "size",
    "one_expression": "agreement",
}


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
    chunks: Sequence[Chunk], settings: CurateSettings | None = None
) -> tuple[list[Chunk], list[tuple[Chunk, Rejection]]]:
    """Returns the chunks that name one visible thing, each wording once, and those that do not.

    A wording that the caption uses twice is kept once: on any one piece it must be found exactly once anyway.
    """
    kept: dict[str, Chunk] = {}
    dropped = []
    for number, chunk in enumerate(chunks):
        subject = ChunkSubject(chunk, tuple(chunks[:number]))
        verdict = _first_no(run_filters("chunk", subject, settings or CurateSettings()))
        if verdict is not None:
            dropped.append((chunk, _rejection("chunk", verdict)))
        else:
            kept.setdefault(chunk.text.lower(), chunk)
    return list(kept.values()), dropped


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
    tracked: dict[str, tuple[TrackSubject, list[Verdict]]] = {}
    for subject in _found(frames, chunks, parts, settings, verdicts):
        track = parts.tracker.track(frames, confident(subject.first, settings)[0].box)
        said = run_filters("track", TrackSubject(subject, track), settings)
        if (verdict := _first_no(said)) is not None:
            verdicts[subject.chunk.text] = _rejection(_STAGES[verdict.filter], verdict)
        else:
            tracked[subject.chunk.text] = TrackSubject(subject, track), said
    tracks = {text: (subject.found.chunk, subject.track) for text, (subject, _) in tracked.items()}
    for text, (kept, said) in tracked.items():
        others = {name: entry for name, entry in tracks.items() if name != text}
        no = _first_no(run_filters("kept", TrackSubject(kept.found, kept.track, others), settings))
        if no is not None:
            verdicts[text] = _rejection(_STAGES[no.filter], no)
        else:
            verdicts[text] = _accepted(kept, said, settings)
    return [(chunk, verdicts[chunk.text]) for chunk in chunks]


def _found(
    frames: Sequence[Frame],
    chunks: Sequence[Chunk],
    parts: Parts,
    settings: CurateSettings,
    verdicts: dict[str, Accepted | Rejection],
) -> list[FoundSubject]:
    """Returns what was found as asked; the rejections of the rest go to `verdicts`.

    Later frames are searched only for phrases that are still in question.
    """
    known = [chunk.text for chunk in chunks if parts.grounder.knows(chunk.text)]
    first = _detect(frames[0], known, parts)
    subjects = {}
    for chunk in chunks:
        others = {
            other.text: (other, first[other.text]) for other in chunks if other is not chunk and other.text in first
        }
        is_known = chunk.text in first
        subject = FoundSubject(chunk, first.get(chunk.text, []), others=others, known=is_known)
        verdict = _first_no(run_filters("first", subject, settings))
        if verdict is not None:
            verdicts[chunk.text] = _rejection("grounding", verdict)
        else:
            subjects[chunk.text] = subject
    middle = _detect(frames[len(frames) // 2], list(subjects), parts)
    # A phrase that the middle frame does not show is not searched on the last one.
    missing = {text for text in subjects if not confident(middle[text], settings)}
    last = _detect(frames[-1], [text for text in subjects if text not in missing], parts)
    found = []
    for text, subject in subjects.items():
        later = replace(subject, middle=middle[text], last=last.get(text))
        verdict = _first_no(run_filters("later", later, settings))
        if verdict is not None:
            verdicts[text] = _rejection("grounding", verdict)
        else:
            found.append(later)
    return found


def _detect(frame: Frame, phrases: Sequence[str], parts: Parts) -> dict[str, list[Detection]]:
    detections: dict[str, list[Detection]] = {phrase: [] for phrase in phrases}
    for detection in ground_all(parts.grounder, [Query(frame, tuple(phrases))])[0]:
        detections[detection.phrase].append(detection)
    return detections


def _first_no(verdicts: Sequence[Verdict]) -> Verdict | None:
    return next((verdict for verdict in verdicts if not verdict.passed), None)


def _rejection(stage: Stage, verdict: Verdict) -> Rejection:
    return Rejection(stage, verdict.reason, verdict.value, verdict.threshold, verdict.detail)


def _accepted(subject: TrackSubject, said: Sequence[Verdict], settings: CurateSettings) -> Accepted:
    values = {verdict.filter: verdict.value or 0.0 for verdict in said}
    boxes, found = subject.track.boxes, subject.found
    matches = [
        best_match(confident(detections or (), settings), box)
        for detections, box in ((found.middle, boxes[len(boxes) // 2]), (found.last, boxes[-1]))
    ]
    (middle, middle_iou), (last, last_iou) = matches
    return Accepted(
        chunk=found.chunk,
        track=subject.track,
        groundings=(
            confident(found.first, settings)[0].confidence,
            middle.confidence if middle else 0.0,
            last.confidence if last else 0.0,
        ),
        overlaps=(middle_iou, last_iou),
        drift=values.get("drift", 0.0),
    )
