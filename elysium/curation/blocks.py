"""Blocks: some consecutive videos of a shard that are worked on together, and what is written down of them.

A block is what a crash costs at most, and what decides which pieces a model sees together: its pieces, in order, in
groups of `batch_pieces`. So the same block gives the same result on any machine, in any order, after any number of
restarts.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from elysium.config import CurateSettings
from elysium.curation.dataset.media import store_piece
from elysium.curation.evidence import PieceRow, Row, VideoRow
from elysium.curation.fetcher import Fetcher
from elysium.curation.graph import PieceWork, candidates_of, ground_pieces, read_caption, read_video, track_piece
from elysium.curation.judging import verdict_rows
from elysium.curation.registry import PartsShelf
from elysium.curation.sources.header import limits_of, probe_limits
from elysium.curation.sources.tasks import VideoTask
from elysium.curation.splits import split_of
from elysium.data.limits import FrameSizeError, LengthError, NoVideoError, VideoError, flag
from elysium.data.transfer import FetchError
from elysium.data.video import decoder
from elysium.errors import ElysiumError, UsageError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Block:
    """Some consecutive videos.

    Attributes:
        shard: Number of their shard.
        number: Position of the block in its shard.
        tasks: The videos.
    """

    shard: int
    number: int
    tasks: tuple[VideoTask, ...]

    @property
    def name(self) -> str:
        """Names the block among all, for example `00012-003`."""
        return f"{self.shard:05d}-{self.number:03d}"


@dataclass(frozen=True)
class Group:
    """Pieces that models see together, on their way.

    Attributes:
        block: Name of the block.
        shard: Its shard.
        number: Position in the block.
        works: The pieces.
        owners: For each piece the position of its video in the block.
        errors: By position in the block, what went wrong with a video; nothing of it is kept then.
    """

    block: str
    shard: int
    number: int
    works: tuple[PieceWork, ...]
    owners: tuple[int, ...]
    errors: dict[int, str] = field(default_factory=dict)


class BlockEnd(Row):
    """What comes after a block's last group: its videos without their pieces.

    Attributes:
        block: Name of the block.
        shard: Its shard.
        num_groups: Groups that came before.
        videos: One row a video, in order.
    """

    block: str
    shard: int
    num_groups: int
    videos: list[VideoRow]


class GroupResult(Row):
    """What a group ends as: rows alone, the frames are stored.

    Attributes:
        block: Name of the block.
        shard: Its shard.
        number: Position in the block.
        pieces: By position of the video in the block.
        errors: By position of the video in the block.
    """

    block: str
    shard: int
    number: int
    pieces: list[tuple[int, PieceRow]]
    errors: dict[int, str]


def decode_block(
    block: Block,
    shelf: PartsShelf,
    fetcher: Fetcher,
    settings: CurateSettings,
    *,
    coming: Sequence[VideoTask] = (),
) -> Iterator[Group | BlockEnd]:
    """Yields a block's pieces in groups while its videos are fetched and decoded, and then its end.

    A video that cannot be had or read has its error in its row; only what would stop every video stops this.

    Args:
        block: The videos.
        shelf: Where the chunker is.
        fetcher: Brings the videos here.
        settings: Thresholds and parts.
        coming: Videos that will be asked for, in order, from this block on; they are fetched ahead.

    Raises:
        FetchError: If its scope is the whole run.
        UsageError: If the settings name a part that does not exist.
        OSError: If this machine's disk is full.
    """
    videos: list[VideoRow] = []
    waiting: list[tuple[int, PieceWork]] = []
    num_groups = 0
    names = [task.number for task in coming]
    for position, task in enumerate(block.tasks):
        if task.number in names:
            fetcher.prepare(_worth_fetching(coming[names.index(task.number) :], shelf, settings))
        pieces = _Video(task, shelf, fetcher, settings)
        for work in pieces:
            waiting.append((position, work))
            # Pieces that no model looks at fill no batch.
            if sum(bool(piece.frames) for _, piece in waiting) == settings.batch_pieces:
                yield _group(block, num_groups, waiting)
                waiting, num_groups = [], num_groups + 1
        videos.append(pieces.row)
    if waiting:
        yield _group(block, num_groups, waiting)
        num_groups += 1
    yield BlockEnd(block=block.name, shard=block.shard, num_groups=num_groups, videos=videos)


def ground_group(group: Group, shelf: PartsShelf, settings: CurateSettings) -> Group:
    """Returns the group with what the grounder found."""
    return _each(group, lambda works: ground_pieces(works, lambda: shelf.grounder, settings))


def track_group(group: Group, shelf: PartsShelf, settings: CurateSettings) -> Group:
    """Returns the group with its tracks."""
    for number in range(len(group.works)):
        group = _one(group, number, lambda work: track_piece(work, lambda: shelf.tracker, settings))
    return group


def store_group(group: Group, folder: Path, settings: CurateSettings) -> GroupResult:
    """Writes the frames of kept tracks below `folder` and returns the rows.

    Raises:
        OSError: If they cannot be written.
    """
    from elysium.curation.filters.looks import looks

    pieces = []
    for owner, work in zip(group.owners, group.works, strict=True):
        row = work.row
        if work.frames and owner not in group.errors and any(candidate.kept for candidate in row.candidates):
            stored = store_piece(work.frames, row.vid, folder, settings, group.shard).size
            row = row.model_copy(update={"stored": stored, "looks": looks(work.frames)})
        pieces.append((owner, row))
    return GroupResult(block=group.block, shard=group.shard, number=group.number, pieces=pieces, errors=group.errors)


def finish_block(end: BlockEnd, results: Sequence[GroupResult]) -> list[VideoRow]:
    """Returns the rows of a block's videos with their pieces.

    Args:
        end: The block's end.
        results: Of all its groups, in any order.
    """
    pieces: list[list[PieceRow]] = [[] for _ in end.videos]
    errors: dict[int, str] = {}
    for result in sorted(results, key=lambda result: result.number):
        errors.update(result.errors)
        for owner, piece in result.pieces:
            pieces[owner].append(piece)
    rows = []
    for position, video in enumerate(end.videos):
        if position in errors and not video.error:
            video = video.model_copy(update={"error": errors[position], "kind": "part_failed"})
        shots = len({piece.shot for piece in pieces[position]})
        # Of a video that broke off nothing is kept: what is wrong with its end may be wrong with its times.
        found = [] if video.error else pieces[position]
        rows.append(video.model_copy(update={"pieces": found, "num_shots": shots}))
    return rows


def _worth_fetching(tasks: Sequence[VideoTask], shelf: PartsShelf, settings: CurateSettings) -> Iterator[VideoTask]:
    """Yields the videos whose captions name something; asked only as far as there is room to fetch."""
    for task in tasks:
        if task.problem is None and candidates_of(read_caption(task, shelf.chunker, settings)):
            yield task


class _Video:
    """Iterates over one video's pieces; `row` is whole at the end."""

    def __init__(self, task: VideoTask, shelf: PartsShelf, fetcher: Fetcher, settings: CurateSettings) -> None:
        self.row = VideoRow(id=task.id, caption=task.caption)
        self._task, self._shelf, self._fetcher, self._settings = task, shelf, fetcher, settings
        self._folder: Path | None = None

    def __iter__(self) -> Iterator[PieceWork]:
        try:
            yield from self._pieces()
        except FetchError as failure:
            if failure.scope == "run":
                raise
            self._fail(failure.kind, str(failure))
        except UsageError:
            raise
        except VideoError as error:
            self._fail(_kind(error), str(error))
        except (ElysiumError, ValueError) as error:
            self._fail("failed", str(error))

    def _pieces(self) -> Iterator[PieceWork]:
        task, settings = self._task, self._settings
        self.row = read_caption(task, self._shelf.chunker, settings)
        if task.problem is not None:
            self._fail("not_allowed", task.problem)
        if self.row.error or not candidates_of(self.row):
            return
        with self._fetcher.fetch(task) as video:
            self._folder = video.path.parent
            self.row = self.row.model_copy(update={"sha256": video.sha256, "decoder": decoder()})
            header = probe_limits(video.path, settings)
            if not header.passed and header.reason not in ("too_long", "too_large"):
                self._fail(header.reason, header.detail)
                return
            self.row = self.row.model_copy(update={"verdicts": [*self.row.verdicts, *verdict_rows([header])]})
            if header.passed:
                split = task.split or task.side or split_of(video.sha256, settings)
                yield from read_video(
                    self.row, video.path, split, settings, limits=limits_of(settings), annotations=video.annotations
                )

    def _fail(self, kind: str, message: str) -> None:
        shown = message.strip().splitlines()[0] if message.strip() else kind
        # Where files lay on this machine says nothing to anybody, and differs from run to run.
        shown = shown.replace(f"{self._folder}{os.sep}", "") if self._folder is not None else shown
        for name in ("max_seconds", "max_pixels"):
            shown = shown.replace(flag(name), f"curate.{name}")
        self.row = self.row.model_copy(update={"error": shown, "kind": kind})


def _kind(error: VideoError) -> str:
    """Returns what is wrong with a video that decoding gave up, in the words that its header is refused with."""
    kinds = {FrameSizeError: "too_large", LengthError: "too_long", NoVideoError: "no_video"}
    return kinds.get(type(error), "unreadable")


def _group(block: Block, number: int, waiting: Sequence[tuple[int, PieceWork]]) -> Group:
    owners, works = zip(*waiting, strict=True)
    return Group(block.name, block.shard, number, tuple(works), tuple(owners))


def _each(group: Group, stage: Callable[[Sequence[PieceWork]], list[PieceWork]]) -> Group:
    """Applies a stage to all pieces together; if that fails, to one after the other, to find the one it fails on."""
    errors = _part_errors()
    try:
        return replace(group, works=tuple(stage(group.works)))
    except UsageError:
        raise
    except errors:
        for number in range(len(group.works)):
            group = _one(group, number, lambda work: stage([work])[0])
        return group


def _one(group: Group, number: int, stage: Callable[[PieceWork], PieceWork]) -> Group:
    owner = group.owners[number]
    if owner in group.errors:
        return group
    try:
        work = stage(group.works[number])
    except UsageError:
        raise
    except _part_errors() as error:
        logger.warning("%s: %s", group.works[number].row.vid, error)
        message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return replace(group, errors={**group.errors, owner: message})
    return replace(group, works=(*group.works[:number], work, *group.works[number + 1 :]))


def _part_errors() -> tuple[type[Exception], ...]:
    import cv2

    # A video that needs more memory than there is would else stop the run each time it is started again.
    torch = sys.modules.get("torch")
    memory = (MemoryError,) if torch is None else (MemoryError, torch.OutOfMemoryError)
    return ElysiumError, ValueError, cv2.error, *memory
