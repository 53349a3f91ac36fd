"""The graph of curation: what becomes of a video between its caption and its tracks, stage by stage.

```
caption -> chunks -> fetch -> decode -> piece filters -> ground -> filters -> track -> filters -> store
```
Each stage is a function of its inputs and the settings; nothing here knows which engine calls it, or where. What
travels between stages is `PieceWork`: a piece's row of evidence, and its frames as long as a later stage needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from elysium.config import CurateSettings
from elysium.curation.evidence import DIGITS, CandidateRow, ChunkRow, PieceRow, VideoRow
from elysium.curation.filters.base import PieceSubject
from elysium.curation.filters.grounding import more_positions
from elysium.curation.filters.registry import run_filters
from elysium.curation.judging import (
    all_passed,
    found_rows,
    judge_caption,
    judge_chunks,
    judge_first,
    judge_later,
    judge_tracks,
    track_row,
    verdict_rows,
)
from elysium.curation.pieces import Piece, read_pieces
from elysium.curation.protocols import Chunker, Frame, Grounder, Query, Tracker, ground_all, track_all
from elysium.curation.sources.tasks import VideoTask
from elysium.data.limits import Limits
from elysium.data.records import ClipAnnotations, Split


@dataclass(frozen=True)
class PieceWork:
    """One piece on its way.

    Attributes:
        row: What was found so far.
        chunks: The caption's chunks; `row.candidates` names those in question.
        frames: Empty once no later stage needs them.
        annotations: Exact boxes of a simulated clip, which take the models' place.
    """

    row: PieceRow
    chunks: Sequence[ChunkRow]
    frames: Sequence[Frame]
    annotations: ClipAnnotations | None = None


def read_caption(task: VideoTask, chunker: Chunker, settings: CurateSettings) -> VideoRow:
    """Returns what the caption says; of a caption that a filter refuses no chunk is looked for."""
    verdicts = judge_caption(task.caption, settings)
    chunks = judge_chunks(chunker.chunk(task.caption), settings) if all_passed(verdicts) else []
    return VideoRow(id=task.id, caption=task.caption, verdicts=verdicts, chunks=chunks)


def candidates_of(row: VideoRow) -> list[ChunkRow]:
    """Returns the chunks that are looked for in the video, each text once."""
    passed: dict[str, ChunkRow] = {}
    for chunk in row.chunks:
        if all_passed(chunk.verdicts):
            passed.setdefault(chunk.text, chunk)
    return list(passed.values())


def read_video(
    video: VideoRow,
    path: Path,
    split: Split | None,
    settings: CurateSettings,
    *,
    limits: Limits | None = None,
    annotations: ClipAnnotations | None = None,
) -> Iterator[PieceWork]:
    """Yields a video's pieces as they are decoded, each judged as a piece.

    Args:
        video: With its chunks.
        path: The file.
        split: Which side it is on; None where the time decides (`split_by: time`).
        settings: Frame rate, cuts, thresholds.
        limits: How much the video may ask of this machine.
        annotations: Of a simulated clip, of which every frame is kept.

    Raises:
        VideoError: If it cannot be read any further.
    """
    chunks = candidates_of(video)
    pieces = read_pieces(path, settings, split=split, every_frame=annotations is not None, limits=limits)
    for number, piece in enumerate(pieces):
        row = _piece_row(f"{video.id}_{number:03d}", piece, settings, simulated=annotations is not None)
        if all_passed(row.verdicts):
            candidates = [CandidateRow(text=chunk.text) for chunk in chunks]
            yield PieceWork(row.model_copy(update={"candidates": candidates}), chunks, piece.frames, annotations)
        else:
            yield PieceWork(row, chunks, (), annotations)


def ground_pieces(
    works: Sequence[PieceWork], grounder: Callable[[], Grounder], settings: CurateSettings
) -> list[PieceWork]:
    """Returns the pieces with what the grounder found: on first frames, then on middle and last of those still there.

    Args:
        works: Looked at together; which pieces are together may change the last bits of what a model finds.
        grounder: Gives the grounder of pieces without annotations.
        settings: Thresholds.
    """
    asked = [_with_known(work, grounder) for work in works]
    first = _look(asked, grounder, lambda work: [work.frames[0]] if work.frames else [])
    asked = [_with_found(work, found, ("first",)) for work, found in zip(asked, first, strict=True)]
    asked = [replace(work, row=judge_first(work.row, work.chunks, settings)) for work in asked]
    later = _look(asked, grounder, lambda work: [work.frames[place] for place in _later(work, settings)])
    asked = [_with_later(work, found, settings) for work, found in zip(asked, later, strict=True)]
    asked = [replace(work, row=judge_later(work.row, work.chunks, settings)) for work in asked]
    return [work if _open(work) else replace(work, frames=()) for work in asked]


def track_piece(work: PieceWork, tracker: Callable[[], Tracker], settings: CurateSettings) -> PieceWork:
    """Returns the piece with the tracks of what was found, judged; its frames only if one was kept.

    Each object is followed from the most confident detection on the first frame.
    """
    rows = _open(work)
    if not rows:
        return replace(work, frames=())
    boxes = [row.first[0].box for row in rows if row.first]
    tracks = track_all(_tracker(work, tracker), work.frames, boxes)
    tracked = {row.text: track_row(track) for row, track in zip(rows, tracks, strict=True)}
    candidates = [
        row.model_copy(update={"track": tracked[row.text]}) if row.text in tracked else row
        for row in work.row.candidates
    ]
    row = judge_tracks(work.row.model_copy(update={"candidates": candidates}), work.chunks, settings)
    kept = any(candidate.kept for candidate in row.candidates)
    return replace(work, row=row, frames=work.frames if kept else ())


def find_anew(work: PieceWork, grounder: Callable[[], Grounder]) -> PieceRow:
    """Returns the row with what the grounder finds now, on those frames where it was asked for before."""
    found: dict[str, dict[str, Any]] = {row.text: {} for row in work.row.candidates}
    places = {"first": 0, "middle": len(work.frames) // 2, "last": len(work.frames) - 1}
    for name, place in places.items():
        phrases = tuple(row.text for row in work.row.candidates if row.known and getattr(row, name) is not None)
        [answer] = ground_all(_grounder(work, grounder), [Query(work.frames[place], phrases)])
        for phrase in phrases:
            found[phrase][name] = found_rows(detection for detection in answer if detection.phrase == phrase)
    for row in work.row.candidates:
        for place in row.more:
            [answer] = ground_all(_grounder(work, grounder), [Query(work.frames[place], (row.text,))])
            found[row.text].setdefault("more", {})[place] = found_rows(answer)
    candidates = [row.model_copy(update=found[row.text]) for row in work.row.candidates]
    return work.row.model_copy(update={"candidates": candidates})


def follow_anew(work: PieceWork, tracker: Callable[[], Tracker]) -> PieceRow:
    """Returns the row with the tracks of now, of those that were followed before and from the same boxes."""
    rows = [row for row in work.row.candidates if row.track is not None and row.first]
    tracks = track_all(_tracker(work, tracker), work.frames, [row.first[0].box for row in rows if row.first])
    now = {row.text: track_row(track) for row, track in zip(rows, tracks, strict=True)}
    candidates = [
        row.model_copy(update={"track": now[row.text]}) if row.text in now else row for row in work.row.candidates
    ]
    return work.row.model_copy(update={"candidates": candidates})


def _piece_row(vid: str, piece: Piece, settings: CurateSettings, *, simulated: bool) -> PieceRow:
    image = piece.frames[0].image
    verdicts = verdict_rows(run_filters("piece", PieceSubject(piece.frames), settings))
    return PieceRow(
        vid=vid,
        shot=piece.shot,
        split=piece.split,
        indices=[frame.index for frame in piece.frames],
        timestamps=[round(frame.timestamp, DIGITS) for frame in piece.frames],
        size=(image.shape[1], image.shape[0]),
        verdicts=verdicts,
    )


def _open(work: PieceWork) -> list[CandidateRow]:
    """Returns the candidates that no filter has refused."""
    return [row for row in work.row.candidates if all_passed(row.verdicts)]


def _with_known(work: PieceWork, grounder: Callable[[], Grounder]) -> PieceWork:
    if not work.row.candidates:
        return work
    knows = _grounder(work, grounder).knows
    candidates = [
        row if knows(row.text) else row.model_copy(update={"known": False, "first": []}) for row in work.row.candidates
    ]
    return replace(work, row=work.row.model_copy(update={"candidates": candidates}))


def _look(
    works: Sequence[PieceWork],
    grounder: Callable[[], Grounder],
    frames_of: Callable[[PieceWork], Sequence[Frame]],
) -> list[dict[str, list[list[Any]]]]:
    """Returns for each piece what was found of each open candidate, a list for each frame that was looked at."""
    queries: list[Query] = []
    where: list[tuple[int, Grounder]] = []
    for number, work in enumerate(works):
        phrases = tuple(row.text for row in _open(work) if row.known)
        for frame in frames_of(work) if phrases else ():
            queries.append(Query(frame, phrases))
            where.append((number, _grounder(work, grounder)))
    answers: list[list[Any]] = [[] for _ in queries]
    # An annotated clip has an oracle of its own; all others share one grounder and its batches.
    for asked in dict.fromkeys(found for _, found in where):
        own = [place for place, (_, found) in enumerate(where) if found is asked]
        for place, answer in zip(own, ground_all(asked, [queries[place] for place in own]), strict=True):
            answers[place] = answer
    results: list[dict[str, list[list[Any]]]] = [{} for _ in works]
    for (number, _), query, answer in zip(where, queries, answers, strict=True):
        for phrase in query.phrases:
            found = [detection for detection in answer if detection.phrase == phrase]
            results[number].setdefault(phrase, []).append(found)
    return results


def _with_found(work: PieceWork, found: dict[str, list[list[Any]]], names: Iterable[str]) -> PieceWork:
    candidates = [
        row.model_copy(
            update={name: found_rows(entry) for name, entry in zip(names, found[row.text], strict=True)}
            if row.text in found
            else {}
        )
        for row in work.row.candidates
    ]
    return replace(work, row=work.row.model_copy(update={"candidates": candidates}))


def _later(work: PieceWork, settings: CurateSettings) -> list[int]:
    """Returns the positions of the middle frame, of the last one, and of those that are searched besides."""
    count = len(work.frames)
    return [count // 2, count - 1, *more_positions(count, settings)] if count else []


def _with_later(work: PieceWork, found: dict[str, list[list[Any]]], settings: CurateSettings) -> PieceWork:
    rest = _later(work, settings)[2:]
    work = _with_found(work, {text: entries[:2] for text, entries in found.items()}, ("middle", "last"))
    candidates = [
        row.model_copy(update={"more": dict(zip(rest, map(found_rows, found[row.text][2:]), strict=True))})
        if row.text in found
        else row
        for row in work.row.candidates
    ]
    return replace(work, row=work.row.model_copy(update={"candidates": candidates}))


def _grounder(work: PieceWork, grounder: Callable[[], Grounder]) -> Grounder:
    if work.annotations is None:
        return grounder()
    from elysium.curation.oracle import AnnotationsGrounder

    return AnnotationsGrounder(work.annotations)


def _tracker(work: PieceWork, tracker: Callable[[], Tracker]) -> Tracker:
    if work.annotations is None:
        return tracker()
    from elysium.curation.oracle import AnnotationsTracker

    return AnnotationsTracker(work.annotations)
