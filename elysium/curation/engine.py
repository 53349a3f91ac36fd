"""What carries the graph out: shard after shard, block after block, in this process; `ray_engine` has the other way."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from elysium.config import Settings
from elysium.curation.blocks import (
    Block,
    BlockEnd,
    Group,
    GroupResult,
    decode_block,
    finish_block,
    ground_group,
    store_group,
    track_group,
)
from elysium.curation.evidence import VideoRow
from elysium.curation.fetcher import Fetcher
from elysium.curation.memory import reuse_memory
from elysium.curation.registry import PartsShelf
from elysium.curation.shards import ShardStore
from elysium.curation.sources.tasks import VideoTask
from elysium.curation.timing import StageClock

logger = logging.getLogger(__name__)

Item = TypeVar("Item")


class Listing(Protocol):
    """The videos of a source, shard by shard."""

    @property
    def num_videos(self) -> int:
        """Videos in all."""

    @property
    def num_shards(self) -> int:
        """Shards in all."""

    def shard(self, index: int) -> list[VideoTask]:
        """Returns the videos of one shard, in order."""


@dataclass(frozen=True)
class Job:
    """What an engine is to do.

    Attributes:
        settings: Of the whole run.
        store: Where results go.
        listing: The source.
        shards: Which shards are still to be done, in order.
        clock: Told where the time goes, by the engine in this process alone.
    """

    settings: Settings
    store: ShardStore
    listing: Listing
    shards: Sequence[int]
    clock: StageClock = field(default_factory=StageClock)

    def blocks(self, shard: int) -> list[Block]:
        """Returns the blocks of a shard."""
        tasks, size = self.listing.shard(shard), self.settings.curate.batch_videos
        return [
            Block(shard, number, tuple(tasks[first : first + size]))
            for number, first in enumerate(range(0, len(tasks), size))
        ]


Report = Callable[[int, int], None]


def run_job(job: Job, report: Report) -> None:
    """Does the shards with the engine that the settings name.

    Args:
        job: What is to be done.
        report: Called after each block with its number of videos and of tracks.

    Raises:
        FetchError: If something keeps every video from being fetched.
        UsageError: If a part does not exist or cannot be made.
        OSError: If results cannot be written.
    """
    if job.settings.engine.name == "ray":
        from elysium.curation.ray_engine import run_on_ray

        run_on_ray(job, report)
    else:
        run_here(job, report)


def run_here(job: Job, report: Report) -> None:
    """Does the shards in this process: videos are fetched and decoded while the models are at work."""
    reuse_memory()
    settings = job.settings
    shelf = PartsShelf(settings.curate)
    if job.shards:
        shelf.make_all()
    with Fetcher(settings) as fetcher:
        for shard in job.shards:
            job.store.begin(shard)
            blocks, rows = job.blocks(shard), []
            found = [job.store.read_block(block) for block in blocks]
            waiting = [task for block, old in zip(blocks, found, strict=True) if old is None for task in block.tasks]
            for block, old in zip(blocks, found, strict=True):
                if old is None:
                    old = _run_block(block, job, shelf, fetcher, waiting)
                    job.store.write_block(block, old)
                    report(len(old), sum(c.kept for row in old for piece in row.pieces for c in piece.candidates))
                rows += old
            tasks = [task for block in blocks for task in block.tasks]
            job.store.publish(shard, tasks, rows)


def _run_block(block: Block, job: Job, shelf: PartsShelf, fetcher: Fetcher, waiting: list[VideoTask]) -> list[VideoRow]:
    settings, clock = job.settings.curate, job.clock
    results: list[GroupResult] = []
    end: BlockEnd | None = None
    decoded = clock.iterate("decode", decode_block(block, shelf, fetcher, settings, coming=waiting))
    for item in ahead(decoded, job.settings.engine.decode_ahead):
        if isinstance(item, Group):
            with clock.by_clock("ground"):
                group = ground_group(item, shelf, settings)
            with clock.by_clock("track"):
                group = track_group(group, shelf, settings)
            with clock.by_processor("store"):
                results.append(store_group(group, job.store.media(block.shard), settings))
        else:
            end = item
    if end is None:
        raise RuntimeError(f"block {block.name} ended without its end")
    return finish_block(end, results)


def ahead(items: Iterator[Item], depth: int) -> Iterator[Item]:
    """Yields the items of an iterator that runs ahead in a thread, by `depth` items at most; 0 does without."""
    if depth == 0:
        yield from items
        return
    waiting: queue.Queue[tuple[str, Item | BaseException | None]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(entry: tuple[str, Item | BaseException | None]) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(("item", item)):
                    return
            put(("end", None))
        except BaseException as error:  # handed to whoever waits
            put(("error", error))

    thread = threading.Thread(target=work, name="decode", daemon=True)
    thread.start()
    try:
        while True:
            kind, item = waiting.get()
            if isinstance(item, BaseException):
                raise item
            if kind == "end":
                return
            yield item  # type: ignore[misc]  # what is marked as an item is one
    finally:
        stopped.set()
        thread.join()
