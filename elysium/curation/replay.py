"""`elysium curate replay`: one stage again, alone, on what was stored before it, and what comes out otherwise.

`chunk` and `filters`, which asks those of candidates, need no video and no model: every number that decided is stored.
The other stages look at the video again, at exactly the frames that the records name, which also proves that boxes and
frames line up here; `decode` asks the filters of pieces, too.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from elysium.boxes import iou
from elysium.config import CurateSettings, Settings
from elysium.curation.engine import Listing
from elysium.curation.evidence import CandidateRow, ChunkRow, PieceRow, VideoRow
from elysium.curation.fetcher import Fetcher
from elysium.curation.filters.base import PieceSubject
from elysium.curation.filters.registry import run_filters
from elysium.curation.graph import PieceWork, candidates_of, find_anew, follow_anew, read_caption
from elysium.curation.judging import all_passed, judge_first, judge_later, judge_tracks, verdict_rows
from elysium.curation.locating import Curation
from elysium.curation.pieces import WORKING_SIDE
from elysium.curation.protocols import Frame
from elysium.curation.registry import PartsShelf
from elysium.curation.sources.tasks import VideoTask
from elysium.data.decoding import decode_file
from elysium.errors import ElysiumError, UsageError

logger = logging.getLogger(__name__)

Stage = Literal["chunk", "decode", "ground", "track", "filters"]
STAGES: tuple[Stage, ...] = get_args(Stage)
_SAME = 1e-6  # seconds, or shares of a side


@dataclass
class Replayed:
    """What came of it.

    Attributes:
        stage: Which one.
        compared: Things that the stage made: captions, pieces, or candidates.
        same: Of these, as they were.
        missing: Of these, what could not be made again, for an earlier filter had stopped it; why is in `notes`.
        changes: The others: what, and how it was and is.
        notes: Counts of what else is to be said.
    """

    stage: Stage
    compared: int = 0
    same: int = 0
    missing: int = 0
    changes: list[dict[str, Any]] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, what: str, before: Any, now: Any) -> None:
        """Compares one thing."""
        self.compared += 1
        if before == now:
            self.same += 1
        else:
            self.changes.append({"what": what, "before": before, "now": now})


def replay(
    curation: Curation, stage: Stage, settings: Settings, listing: Listing | None, videos: Sequence[str] = ()
) -> Replayed:
    """Runs one stage again on stored inputs.

    Args:
        curation: Whose evidence is read.
        stage: The stage.
        settings: With the thresholds and parts to use now.
        listing: Where the videos are; `chunk` and `filters` need none.
        videos: Ids to look at; all by default.

    Raises:
        ElysiumError: If the stage needs the videos and they cannot be found.
    """
    result = Replayed(stage)
    if stage == "chunk":
        _replay_chunks(curation, settings.curate, videos, result)
    elif stage == "filters":
        for _, row in _videos(curation, videos):
            for piece in row.pieces:
                _replay_filters(piece, row, settings.curate, result)
    else:
        if listing is None:
            raise ElysiumError(f"{curation.root}: replaying {stage} needs the videos, and what lists them is not there")
        _replay_on_frames(curation, stage, settings, listing, videos, result)
    return result


def judge_again(piece: PieceRow, chunks: Sequence[ChunkRow], settings: CurateSettings) -> tuple[PieceRow, list[str]]:
    """Returns a piece with all its candidates judged anew, and those that got further than their evidence reaches.

    A candidate that a filter stopped was never looked for on later frames, or never followed: if it passes now, nothing
    can be said of it without the models.
    """
    judged = piece.model_copy(
        update={"candidates": [row.model_copy(update={"verdicts": []}) for row in piece.candidates]}
    )
    for judge in (judge_first, judge_later, judge_tracks):
        judged = judge(judged, chunks, settings)
    beyond = [row.text for row in judged.candidates if all_passed(row.verdicts) and row.track is None]
    return judged, beyond


def _replay_chunks(curation: Curation, settings: CurateSettings, videos: Sequence[str], result: Replayed) -> None:
    chunker = PartsShelf(settings).chunker
    for _, row in _videos(curation, videos):
        task = VideoTask(number=0, id=row.id, uri="", caption=row.caption, source="")
        now = read_caption(task, chunker, settings)
        result.add(row.id, _chunks(row), _chunks(now))


def _replay_filters(piece: PieceRow, video: VideoRow, settings: CurateSettings, result: Replayed) -> None:
    judged, beyond = judge_again(piece, candidates_of(video), settings)
    for before, now in zip(piece.candidates, judged.candidates, strict=True):
        if now.text in beyond:
            result.compared += 1
            result.missing += 1
            result.notes[
                "passed a filter that had stopped them; run the curation with these settings to follow them"
            ] += 1
            continue
        result.add(f"{piece.vid} {now.text!r}", _fate(before), _fate(now))
        result.notes["kept before"] += before.kept
        result.notes["kept now"] += now.kept


def _replay_on_frames(
    curation: Curation, stage: Stage, settings: Settings, listing: Listing, videos: Sequence[str], result: Replayed
) -> None:
    shelf = PartsShelf(settings.curate)
    with Fetcher(settings) as fetcher:
        for task, row in _tasks(curation, listing, videos):
            if not row.pieces:
                continue
            with fetcher.fetch(task) as fetched:
                if row.sha256 and fetched.sha256 != row.sha256:
                    result.changes.append({"what": f"{row.id} file", "before": row.sha256, "now": fetched.sha256})
                    continue
                for piece, frames in _frames(fetched.path, row.pieces):
                    if stage == "decode":
                        _compare_times(piece, frames, result)
                        _replay_piece_filters(piece, frames, settings.curate, result)
                        continue
                    work = PieceWork(piece, candidates_of(row), frames, fetched.annotations)
                    again: Callable[[PieceWork], PieceRow] = (
                        (lambda work: find_anew(work, lambda: shelf.grounder))
                        if stage == "ground"
                        else (lambda work: follow_anew(work, lambda: shelf.tracker))
                    )
                    now = again(work)
                    for before, after in zip(piece.candidates, now.candidates, strict=True):
                        _compare_found(stage, piece, before, after, result)


def _compare_times(piece: PieceRow, frames: Sequence[Frame], result: Replayed) -> None:
    times = [round(frame.timestamp, 6) for frame in frames]
    near = len(times) == len(piece.timestamps) and all(
        abs(a - b) <= _SAME for a, b in zip(times, piece.timestamps, strict=True)
    )
    result.add(f"{piece.vid} times", piece.timestamps, piece.timestamps if near else times)


def _replay_piece_filters(piece: PieceRow, frames: Sequence[Frame], settings: CurateSettings, result: Replayed) -> None:
    verdicts = verdict_rows(run_filters("piece", PieceSubject(frames), settings))
    result.add(f"{piece.vid} filters", _fate(piece), _fate(piece.model_copy(update={"verdicts": verdicts})))


def _compare_found(stage: Stage, piece: PieceRow, before: CandidateRow, after: CandidateRow, result: Replayed) -> None:
    what = f"{piece.vid} {before.text!r}"
    if stage == "ground":
        for name in ("first", "middle", "last"):
            old, new = getattr(before, name), getattr(after, name)
            if old is not None:
                result.add(f"{what} {name}", [row.model_dump() for row in old], [row.model_dump() for row in new or []])
    elif before.track is not None and after.track is not None:
        same = before.track == after.track
        shared = float(iou(before.track.boxes, after.track.boxes).mean())
        result.add(f"{what} track", "as it was", "as it was" if same else f"mean IoU {shared:.4f} with what it was")


def _frames(path: Path, pieces: Sequence[PieceRow]) -> Iterator[tuple[PieceRow, list[Frame]]]:
    """Yields each piece with its frames, by their numbers in the video."""
    waiting = iter(pieces)
    piece = next(waiting, None)
    frames: list[Frame] = []
    for decoded in decode_file(path):
        if piece is None:
            return
        if decoded.number in (wanted := set(piece.indices)):
            frames.append(Frame(decoded.image(WORKING_SIDE), decoded.number, decoded.timestamp))
        if decoded.number >= max(wanted):
            yield piece, frames
            piece, frames = next(waiting, None), []


def _videos(curation: Curation, videos: Sequence[str]) -> Iterator[tuple[int, VideoRow]]:
    if videos:
        for video in videos:
            yield curation.find(video)
        return
    for shard in range(curation.plan.num_shards):
        if curation.store.manifest(shard) is not None:
            for row in curation.store.evidence(shard):
                yield shard, row


def _tasks(curation: Curation, listing: Listing, videos: Sequence[str]) -> Iterator[tuple[VideoTask, VideoRow]]:
    shard, tasks = -1, {}
    for number, row in _videos(curation, videos):
        if number != shard:
            shard, tasks = number, {task.id: task for task in listing.shard(number)}
        if row.id not in tasks:
            raise UsageError(f"the source has no video {row.id!r} any more; replay needs the source as it was")
        yield tasks[row.id], row


def _chunks(row: VideoRow) -> list[tuple[str, str, str]]:
    found = []
    for chunk in row.chunks:
        failed = [verdict.reason for verdict in chunk.verdicts if not verdict.passed]
        found.append((chunk.text, chunk.head, failed[0] if failed else "looked for"))
    return found


def _fate(row: CandidateRow | PieceRow) -> str:
    failed = [verdict for verdict in row.verdicts if not verdict.passed]
    return f"{failed[0].reason} at {failed[0].filter}" if failed else "kept"
