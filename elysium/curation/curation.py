"""One curation: a folder, a source and settings that belong together, from the first video to the data set."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from elysium.config import Settings
from elysium.curation.dataset.card import installed
from elysium.curation.engine import Job, Listing, run_job
from elysium.curation.filters.registry import check_filters
from elysium.curation.publishing import publish
from elysium.curation.registry import check_names
from elysium.curation.shards import WORK, ShardStore
from elysium.curation.sharing import alone, claiming, is_held, make_data_set, missing_shards
from elysium.curation.sources.streak import SUSPICIOUS
from elysium.curation.sources.tasks import VideoTask
from elysium.curation.timing import StageClock
from elysium.data.transfer import FetchError
from elysium.errors import UsageError
from elysium.pipeline.workspace import digest_of, write_atomic

logger = logging.getLogger(__name__)

PLAN = "plan.json"
_LOG_EVERY = 15.0  # seconds


class Plan(BaseModel):
    """What a folder's curation is about; another source or other settings need another folder.

    Attributes:
        source: As it was named.
        num_videos: Videos in it.
        num_shards: Shards they are divided into.
        listing: Digest of the videos' ids, addresses and captions.
        curate: The settings that decide the result.
        seed: Of the run.
        versions: Of the packages that it was begun with; others give other bytes, which is warned of.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    num_videos: int
    num_shards: int
    listing: str
    curate: dict[str, Any]
    seed: int
    versions: dict[str, str]


@dataclass(frozen=True)
class TaskList:
    """A listing in memory, for sources of a size that allows it."""

    tasks: Sequence[VideoTask]
    shard_videos: int

    @property
    def num_videos(self) -> int:
        """Videos in all."""
        return len(self.tasks)

    @property
    def num_shards(self) -> int:
        """Shards in all."""
        return -(-len(self.tasks) // self.shard_videos)

    @property
    def digest(self) -> str:
        """Digest of what the videos are; where they lie on this machine does not count."""
        return digest_of(
            [[task.id, task.sha256, task.caption, task.source, task.split, task.side] for task in self.tasks]
        )

    def shard(self, index: int) -> list[VideoTask]:
        """Returns the videos of one shard."""
        return list(self.tasks[index * self.shard_videos : (index + 1) * self.shard_videos])


def curate(
    root: Path,
    settings: Settings,
    listing: Listing,
    *,
    digest: str,
    share: tuple[int, int] = (0, 1),
    retry_failed: bool = False,
    assemble: bool = True,
    clock: StageClock | None = None,
) -> dict[str, Any] | None:
    """Does what is left to do of a curation, and makes the data set if all shards are there then.

    Args:
        root: The curation's folder.
        settings: Of the whole run.
        listing: The source.
        digest: Of the listing.
        retry_failed: Fetches again what could not be fetched.
        share: Which of how many machines this is: it does every shard whose number leaves that remainder.
        assemble: Makes the data set where this process does the last shard.
        clock: Told where the time goes.

    Returns:
        The statistics; None while other machines' shards are missing, and where no data set was to be made.

    Raises:
        UsageError: If the folder holds a curation of another source or other settings, or a part does not exist.
        ElysiumError: If another process does the same share, or something keeps every video from being fetched.
        OSError: If results cannot be written.
    """
    check_names(settings.curate)
    check_filters(settings.curate)
    store = ShardStore(root, settings.curate)
    plan = Plan(
        source=settings.ingest.source,
        num_videos=listing.num_videos,
        num_shards=listing.num_shards,
        listing=digest,
        curate=json.loads(settings.curate.model_dump_json()),
        seed=settings.seed,
        versions=installed(),
    )
    old = read_plan(root)
    if old is not None and not _is_same(old, plan) and store.has_work():
        raise _another(root, old, plan)
    index, count = share
    with alone(root, index, count):
        _claim(store, plan, share)
        own = range(index, listing.num_shards, count)
        todo = [shard for shard in own if not store.is_whole(shard)]
        if retry_failed:
            job = Job(settings, store, listing, ())
            again = [shard for shard in own if shard not in todo and store.reopen(shard, job.blocks(shard))]
            todo = sorted([*todo, *again])
        if len(todo) < len(own):
            logger.info("going on: %d of %d shards are finished", len(own) - len(todo), len(own))
        progress = _Progress(sum(len(listing.shard(shard)) for shard in todo) if len(todo) < 1000 else None)
        try:
            run_job(Job(settings, store, listing, todo, clock or StageClock()), progress)
        except FetchError:
            # What was noted of the last videos before it may be the same trouble, and none of theirs.
            for shard in todo:
                store.forget(shard, SUSPICIOUS)
            _take_back(Job(settings, store, listing, todo))
            raise
    if not assemble:
        return None
    missing = missing_shards(store, listing.num_shards)
    if missing:
        logger.info(
            "%d of %d shards are missing; whoever does the last one makes the data set",
            len(missing),
            listing.num_shards,
        )
        return None
    return make_data_set(store, listing.num_shards, publish)


def _take_back(job: Job) -> None:
    """Takes the last shards back into work whose last videos failed as those after them did, which stopped the run."""
    for shard in reversed(job.shards):
        if job.store.manifest(shard) is None:
            continue
        rows = job.store.ledger(shard)
        came = max((place for place, row in enumerate(rows) if row.sha256), default=-1)
        if any(row.stage == "fetch" and row.reason in SUSPICIOUS for row in rows[came + 1 :]):
            job.store.reopen(shard, job.blocks(shard))
        if came >= 0:
            return


def read_plan(root: Path) -> Plan | None:
    """Returns the plan of a folder's curation, None if there is none."""
    try:
        return Plan.model_validate_json((root / PLAN).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _claim(store: ShardStore, plan: Plan, share: tuple[int, int]) -> None:
    """Says what the folder is about, or sees to it that it is about the same; one process after the other."""
    root = store.root
    with claiming(root):
        old = read_plan(root)
        if old == plan:
            return
        begun = old is not None and (store.has_work() or is_held(root, but=share))
        if old is not None and begun:
            if not _is_same(old, plan):
                raise _another(root, old, plan)
            _warn_of_versions(old, plan)
            return
        # A setting that was mistyped must not bind the folder: nothing was finished with it.
        for folder in (root / WORK).glob("[0-9]*"):
            shutil.rmtree(folder, ignore_errors=True)
        write_atomic(root / PLAN, plan.model_dump_json(indent=1))


def _is_same(old: Plan, plan: Plan) -> bool:
    return old.model_copy(update={"versions": plan.versions}) == plan


def _warn_of_versions(old: Plan, plan: Plan) -> None:
    names = sorted({*old.versions, *plan.versions})
    other = [name for name in names if old.versions.get(name) != plan.versions.get(name)]
    if other:
        told = ", ".join(f"{name} {old.versions.get(name)} there, {plan.versions.get(name)} now" for name in other)
        logger.warning("going on with other versions (%s): what is left may come out otherwise", told)


def _another(root: Path, old: Plan, plan: Plan) -> UsageError:
    changed = [
        f"curate.{name}: {_differing(old.curate.get(name), plan.curate[name])}"
        for name in plan.curate
        if plan.curate[name] != old.curate.get(name)
    ]
    if old.seed != plan.seed:
        changed.append(f"seed: {old.seed} there, {plan.seed} now")
    what = f"{old.num_videos} videos of {old.source!r} there, {plan.num_videos} of {plan.source!r} now"
    return UsageError(
        f"{root} holds a curation of {'other settings' if changed else 'another source'} "
        f"({', '.join(changed) or what}); name another output, or the same source and settings to go on"
    )


def _differing(there: Any, now: Any) -> str:
    """Returns how a setting differs; of a list what is in one of both only."""
    if isinstance(there, list) and isinstance(now, list) and set(there) != set(now):
        there, now = [name for name in there if name not in now], [name for name in now if name not in there]
    return f"{_short(there)} there, {_short(now)} now"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}…"


class _Progress:
    """Says now and then how far it is and how long it will take."""

    def __init__(self, num_videos: int | None) -> None:
        self._total, self._videos, self._tracks = num_videos, 0, 0
        self._began = self._said = time.monotonic()

    def __call__(self, num_videos: int, num_tracks: int) -> None:
        self._videos += num_videos
        self._tracks += num_tracks
        moment = time.monotonic()
        if moment - self._said < _LOG_EVERY and self._videos != self._total:
            return
        self._said = moment
        rate = self._videos / max(moment - self._began, 1e-6)
        of = "" if self._total is None else f" of {self._total}"
        left = "" if self._total is None else f", {(self._total - self._videos) / rate:.0f} s left"
        logger.info("%d%s videos, %d tracks, %.2f videos/s%s", self._videos, of, self._tracks, rate, left)
