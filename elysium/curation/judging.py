"""The filters, asked at each level of what the models found: on rows as they are stored, in a run and in a replay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from elysium.config import CurateSettings
from elysium.curation.evidence import DIGITS, CandidateRow, ChunkRow, FoundRow, PieceRow, TrackRow, VerdictRow
from elysium.curation.filters.base import ChunkSubject, FoundSubject, Level, TrackSubject, Verdict
from elysium.curation.filters.registry import run_filters
from elysium.curation.protocols import Chunk, Detection, Track

_NOT_FOUND = VerdictRow(filter="first_frame", passed=False, reason="not_found_first", value=0.0, threshold=0.0)


def verdict_rows(verdicts: Iterable[Verdict]) -> list[VerdictRow]:
    """Returns verdicts as they are stored."""
    return [
        VerdictRow(**{**vars(verdict), "value": _rounded(verdict.value), "threshold": _rounded(verdict.threshold)})
        for verdict in verdicts
    ]


def all_passed(verdicts: Sequence[VerdictRow]) -> bool:
    """Returns whether no filter said no."""
    return all(verdict.passed for verdict in verdicts)


def judge_caption(caption: str, settings: CurateSettings) -> list[VerdictRow]:
    """Returns what the filters of captions say."""
    return verdict_rows(run_filters("caption", caption, settings))


def judge_chunks(chunks: Sequence[Chunk], settings: CurateSettings) -> list[ChunkRow]:
    """Returns every chunk with what the filters of words say of it."""
    return [
        ChunkRow(
            text=chunk.text,
            head=chunk.head,
            words=chunk.words,
            verdicts=verdict_rows(run_filters("chunk", ChunkSubject(chunk, tuple(chunks[:number])), settings)),
        )
        for number, chunk in enumerate(chunks)
    ]


def judge_first(piece: PieceRow, chunks: Sequence[ChunkRow], settings: CurateSettings) -> PieceRow:
    """Returns the piece with the verdicts on what was found on its first frame."""
    judged = _judge("first", piece, chunks, settings, [row for row in _in_question(piece) if row.first is not None])
    # Whatever filters are switched off: what was not found cannot be followed.
    candidates = [
        row.model_copy(update={"verdicts": [*row.verdicts, _NOT_FOUND]})
        if row.first == [] and all_passed(row.verdicts)
        else row
        for row in judged.candidates
    ]
    return judged.model_copy(update={"candidates": candidates})


def judge_later(piece: PieceRow, chunks: Sequence[ChunkRow], settings: CurateSettings) -> PieceRow:
    """Returns the piece with the verdicts on what was found on middle and last frame."""
    asked = [row for row in _in_question(piece) if row.middle is not None and row.last is not None]
    return _judge("later", piece, chunks, settings, asked)


def judge_tracks(piece: PieceRow, chunks: Sequence[ChunkRow], settings: CurateSettings) -> PieceRow:
    """Returns the piece with the verdicts on each track, and then on those that are left beside each other."""
    tracked = [row for row in _in_question(piece) if row.track is not None]
    piece = _judge("track", piece, chunks, settings, tracked)
    left = [row for row in _in_question(piece) if row.track is not None]
    return _judge("kept", piece, chunks, settings, left)


def _in_question(piece: PieceRow) -> list[CandidateRow]:
    return [row for row in piece.candidates if all_passed(row.verdicts)]


def _judge(
    level: Level, piece: PieceRow, chunks: Sequence[ChunkRow], settings: CurateSettings, asked: Sequence[CandidateRow]
) -> PieceRow:
    named = {chunk.text: Chunk(chunk.text, chunk.head, chunk.words) for chunk in chunks}
    subjects = {row.text: _found(row, piece, named, asked) for row in asked}
    new: dict[str, list[VerdictRow]] = {}
    for row in asked:
        subject: FoundSubject | TrackSubject = subjects[row.text]
        if level in ("track", "kept"):
            others = {other.text: (named[other.text], as_track(other.track)) for other in asked if other is not row}
            subject = TrackSubject(subjects[row.text], as_track(row.track), others if level == "kept" else {})
        new[row.text] = verdict_rows(run_filters(level, subject, settings))
    candidates = [
        row.model_copy(update={"verdicts": [*row.verdicts, *new[row.text]]}) if row.text in new else row
        for row in piece.candidates
    ]
    return piece.model_copy(update={"candidates": candidates})


def _found(row: CandidateRow, piece: PieceRow, named: dict[str, Chunk], asked: Sequence[CandidateRow]) -> FoundSubject:
    return FoundSubject(
        chunk=named[row.text],
        first=as_detections(row.text, row.first),
        middle=None if row.middle is None else as_detections(row.text, row.middle),
        last=None if row.last is None else as_detections(row.text, row.last),
        more={position: as_detections(row.text, rows) for position, rows in row.more.items()},
        others={
            other.text: (named[other.text], as_detections(other.text, other.first))
            for other in asked
            if other is not row
        },
        known=row.known,
        split=piece.split,
    )


def as_detections(phrase: str, rows: Sequence[FoundRow] | None) -> list[Detection]:
    """Returns stored detections as the grounder gave them."""
    return [Detection(phrase, row.box, row.confidence) for row in rows or ()]


def found_rows(detections: Iterable[Detection]) -> list[FoundRow]:
    """Returns detections as they are stored, rounded: what is stored is what is judged."""
    rows = []
    for detection in detections:
        x1, y1, x2, y2 = (round(float(value), DIGITS) for value in detection.box)
        rows.append(FoundRow(box=(x1, y1, x2, y2), confidence=round(float(detection.confidence), DIGITS)))
    return rows


def as_track(row: TrackRow | None) -> Track:
    """Returns a stored track; one without frames where there is none."""
    if row is None:
        return Track(np.zeros((0, 4)), np.zeros(0))
    return Track(np.array(row.boxes, dtype=np.float64).reshape(-1, 4), np.array(row.confidence, dtype=np.float64))


def track_row(track: Track) -> TrackRow:
    """Returns a track as it is stored, rounded."""
    boxes = np.asarray(track.boxes, dtype=np.float64).round(DIGITS).tolist()
    confidence = np.asarray(track.confidence, dtype=np.float64).round(DIGITS).tolist()
    return TrackRow(boxes=[(x1, y1, x2, y2) for x1, y1, x2, y2 in boxes], confidence=confidence)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), DIGITS)
