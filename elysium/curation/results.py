"""What a video's evidence comes to: its one outcome, its records, and the reasons of everything that was dropped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from elysium.config import CurateSettings
from elysium.curation.dataset.media import frame_paths
from elysium.curation.evidence import DIGITS, CandidateRow, ChunkRow, PieceRow, Row, VerdictRow, VideoRow
from elysium.curation.filters.grounding import confident
from elysium.curation.filters.registry import FILTERS
from elysium.curation.filters.tracks import best_match
from elysium.curation.judging import all_passed, as_detections, as_track
from elysium.curation.outcome import Reject
from elysium.curation.sources.header import NAME as HEADER
from elysium.curation.sources.tasks import VideoTask
from elysium.curation.splits import BY_SOURCE
from elysium.data.records import TrackMetadata, TrackRecord

Outcome = Literal["kept", "rejected", "failed"]


class LedgerRow(Row):
    """What became of one video; every video of the source has exactly one.

    Attributes:
        number: Position in the source.
        id: The video's id.
        source: Its origin.
        sha256: Of the file's bytes; empty if it was not fetched.
        outcome: `kept` with at least one track, `rejected` by filters, or `failed` with an error.
        stage: Where it ended: of a rejected one, the furthest that a candidate came.
        reason: Why, one of few words; of a failed one the kind of failure. Empty if it was kept.
        detail: For people: the error of a failed one.
        num_tracks: Records kept.
        num_candidates: Noun chunk and piece pairs that were searched for.
        num_pieces: Pieces.
        seconds: Time between the first and the last frame that was looked at.
    """

    number: int
    id: str
    source: str
    sha256: str
    outcome: Outcome
    stage: str
    reason: str
    detail: str
    num_tracks: int
    num_candidates: int
    num_pieces: int
    seconds: float


def ledger_row(task: VideoTask, video: VideoRow) -> LedgerRow:
    """Returns the outcome of one video."""
    candidates = [candidate for piece in video.pieces for candidate in piece.candidates]
    num_tracks = sum(candidate.kept for candidate in candidates)
    outcome: Outcome = "failed" if video.error else "kept" if num_tracks else "rejected"
    stage = reason = detail = ""
    if outcome == "failed":
        stage, reason, detail = failed_stage(video), video.kind, video.error
    elif outcome == "rejected":
        # The furthest stage says most: of candidates that came equally far, the first one's reason.
        furthest = max(_refusals(video), key=lambda entry: entry[0], default=(0, "chunk", "no_chunk"))
        _, stage, reason = furthest
    times = [time for piece in video.pieces for time in (piece.timestamps[0], piece.timestamps[-1])]
    return LedgerRow(
        number=task.number,
        id=task.id,
        source=task.source,
        sha256=video.sha256,
        outcome=outcome,
        stage=stage,
        reason=reason,
        detail=detail,
        num_tracks=num_tracks,
        num_candidates=len(candidates),
        num_pieces=len(video.pieces),
        seconds=round(max(times) - min(times), DIGITS) if times else 0.0,
    )


def failed_stage(video: VideoRow) -> str:
    """Returns where a failed video failed: `fetch` before its bytes were here, else `decode` or `models`."""
    if not video.sha256:
        return "fetch"
    return "models" if video.kind == "part_failed" else "decode"


def records_of(task: VideoTask, video: VideoRow, shard: int, settings: CurateSettings) -> list[TrackRecord]:
    """Returns the records of what was kept, piece after piece, in the caption's order."""
    return [
        _record(task, video, piece, candidate, number, shard, settings)
        for piece in video.pieces
        for number, candidate in enumerate(row for row in piece.candidates if row.kept)
    ]


def rejects_of(video: VideoRow) -> list[Reject]:
    """Returns everything that was dropped, in the order of stages and pieces."""
    rejects = []
    if video.error:
        detail = video.error
        return [
            _reject(
                video,
                None,
                None,
                failed_stage(video),
                VerdictRow(filter="", passed=False, reason=video.kind, detail=detail),
            )
        ]
    rejects += [_reject(video, None, None, stage_of(verdict.filter), verdict) for verdict in _failed(video.verdicts)]
    if all_passed(video.verdicts) and not video.chunks:
        none = VerdictRow(filter="", passed=False, reason="no_chunk", value=0, threshold=1)
        rejects.append(_reject(video, None, None, "chunk", none))
    for chunk in video.chunks:
        rejects += [_reject(video, None, chunk.text, "chunk", verdict) for verdict in _failed(chunk.verdicts)]
    for piece in video.pieces:
        for verdict in _failed(piece.verdicts):
            rejects.append(_reject(video, piece.vid, None, stage_of(verdict.filter), verdict))
        for candidate in piece.candidates:
            for verdict in _failed(candidate.verdicts):
                rejects.append(_reject(video, piece.vid, candidate.text, stage_of(verdict.filter), verdict))
    return rejects


_ORDER = ("caption", "chunk", "decode", "shots", "grounding", "tracking", "drift", "agreement", "size", "kept")
_STAGES = {
    "caption": "caption",
    "chunk": "chunk",
    "piece": "shots",
    "first": "grounding",
    "later": "grounding",
    "track": "tracking",
    "kept": "kept",
}
# Filters of tracks that have a stage of their own.
_OF_TRACKS = {
    "drift": "drift",
    "agreement_middle": "agreement",
    "agreement_last": "agreement",
    "agreement": "agreement",
    "tiny_box": "size",
    "full_box": "size",
}
_STAGE_OF = {HEADER: "decode"} | {entry.name: _OF_TRACKS.get(entry.name, _STAGES[entry.level]) for entry in FILTERS}


def stage_of(name: str) -> str:
    """Returns the stage that a filter belongs to, as rejects and the funnel name it."""
    return _STAGE_OF.get(name, "tracking")


def _refusals(video: VideoRow) -> Iterator[tuple[int, str, str]]:
    """Yields how far each dropped thing came, its stage and its reason."""
    for reject in rejects_of(video):
        yield _ORDER.index(reject.stage), reject.stage, reject.reason


def _failed(verdicts: list[VerdictRow]) -> list[VerdictRow]:
    return [verdict for verdict in verdicts if not verdict.passed][:1]


def _reject(video: VideoRow, vid: str | None, expression: str | None, stage: str, verdict: VerdictRow) -> Reject:
    return Reject.model_validate(
        {
            "clip": video.id,
            "shot": vid,
            "expression": expression,
            "stage": stage,
            "filter": verdict.filter,
            "reason": verdict.reason,
            "value": verdict.value,
            "threshold": verdict.threshold,
            "detail": verdict.detail,
        }
    )


def _record(
    task: VideoTask,
    video: VideoRow,
    piece: PieceRow,
    candidate: CandidateRow,
    number: int,
    shard: int,
    settings: CurateSettings,
) -> TrackRecord:
    if candidate.track is None or not candidate.first or piece.stored is None:
        raise ValueError(f"{piece.vid}: {candidate.text!r} was kept without a track or without frames")
    chunk = _chunk(video, candidate.text)
    confidences, overlaps = _agreement(candidate, settings)
    metadata = TrackMetadata.model_validate(
        {
            "content_sha256": video.sha256,
            "timestamps": piece.timestamps,
            "decoder": video.decoder,
            "caption": task.caption,
            "clip": task.id,
            "split": piece.split,
            "kind": "real" if task.annotations is None else "simulated",
            "confidence": round(min(candidate.track.confidence), DIGITS),
            "shot": piece.shot,
            "frame_indices": piece.indices,
            "grounding_confidence": confidences,
            "grounding_iou": overlaps,
            "drift": next((v.value for v in candidate.verdicts if v.filter == "drift"), None),
            "licence": task.licence,
            **({BY_SOURCE: True} if task.split is not None and task.annotations is None else {}),
        }
    )
    return TrackRecord(
        source=task.source,
        id=f"{piece.vid}_{number:02d}",
        vid=piece.vid,
        metadata=metadata,
        frames=frame_paths(piece.vid, len(piece.indices), shard, settings),
        object_class=chunk.head,
        box=candidate.track.boxes,
        object_description=candidate.text,
        frame_size=piece.stored,
    )


def _chunk(video: VideoRow, text: str) -> ChunkRow:
    return next(chunk for chunk in video.chunks if chunk.text == text and all_passed(chunk.verdicts))


def _agreement(candidate: CandidateRow, settings: CurateSettings) -> tuple[list[float], list[float]]:
    """Returns the confidences of first, middle and last detection, and the IoU of the last two with the track.

    They are the detections that the filters of agreement went by, so only confident ones count.
    """
    track = as_track(candidate.track)
    confidences, overlaps = [candidate.first[0].confidence if candidate.first else 0.0], []
    for position, rows in ((len(track.boxes) // 2, candidate.middle), (-1, candidate.last)):
        sure = confident(as_detections(candidate.text, rows), settings)
        best, overlap = best_match(sure, track.boxes[position])
        if best is not None:
            confidences.append(best.confidence)
            overlaps.append(round(overlap, DIGITS))
    return confidences, overlaps
