"""Finding a curation again: from a folder's name to its plan, its shards and its source."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from elysium.config import CurateSettings
from elysium.curation.curation import Plan, read_plan
from elysium.curation.evidence import VideoRow
from elysium.curation.shards import ShardStore
from elysium.curation.sources.listing import FOLDER, Listing
from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.steps import step
from elysium.pipeline.workspace import Workspace


@dataclass(frozen=True)
class Curation:
    """A curation on disk.

    Attributes:
        root: Its folder.
        plan: What it is about.
        settings: What decided its results.
    """

    root: Path
    plan: Plan
    settings: CurateSettings

    @property
    def store(self) -> ShardStore:
        """Its shards."""
        return ShardStore(self.root, self.settings)

    def find(self, video: str) -> tuple[int, VideoRow]:
        """Returns a video's shard and what was found in it.

        Raises:
            UsageError: If there is no such video, or it was not worked on yet; the message names the nearest one.
        """
        if (self.root / FOLDER).is_dir():
            number = Listing(self.root).find(video).number
            rows = self._shard(number // self.settings.shard_videos)
            found = next((row for row in rows if row.id == video), None)
            if found is None:
                raise UsageError(f"video {video!r} was not worked on yet; see `elysium curate status {self.root}`")
            return number // self.settings.shard_videos, found
        known: list[str] = []
        for shard in range(self.plan.num_shards):
            for row in self._shard(shard):
                if row.id == video:
                    return shard, row
                known.append(row.id)
        close = difflib.get_close_matches(video, known, n=1, cutoff=0.4) or known[:1]
        told = f"; did you mean {close[0]!r}?" if close else "; none is finished yet"
        raise UsageError(f"there is no video {video!r} in {self.root}{told}")

    def _shard(self, shard: int) -> Iterator[VideoRow]:
        store = self.store
        return store.evidence(shard) if store.manifest(shard) is not None else store.unfinished(shard)


def find_curation(folder: Path) -> Curation:
    """Returns the curation in a folder: its own, `tracks/` below it, or that of a run's workspace.

    Raises:
        ElysiumError: If there is none.
    """
    for root in _roots(folder):
        plan = read_plan(root)
        if plan is not None:
            return Curation(root, plan, CurateSettings.model_validate(plan.curate))
    raise ElysiumError(f"{folder} holds no curation; name the output of `elysium curate run` or a run's workspace")


def _roots(folder: Path) -> Iterator[Path]:
    place, row = Workspace.at(folder), step("curate")
    yield place.partial(row)
    yield place.folder(row)
    yield folder
