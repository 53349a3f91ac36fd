"""From finished shards to the data set: what is one too many, who is on which side, and the files that people read."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elysium.config import CurateSettings
from elysium.curation.dataset.card import write_card
from elysium.curation.dataset.publish import publish_dataset
from elysium.curation.dataset.sheet import write_contact_sheet
from elysium.curation.filters.looks import Entry, find_duplicates
from elysium.curation.outcome import Reject
from elysium.curation.shards import ShardStore
from elysium.curation.splits import HeldOut, hold_out
from elysium.curation.summary import Counts
from elysium.curation.tables import LEDGER, TableWriter
from elysium.data.records import TrackRecord, write_jsonl
from elysium.errors import ElysiumError
from elysium.pipeline.workspace import write_atomic

logger = logging.getLogger(__name__)

LEDGER_FILE = "ledger.parquet"
REJECTS_FILE = "rejects.jsonl"


@dataclass(frozen=True)
class _Choice:
    """What goes into the data set.

    Attributes:
        duplicates: Piece that looks like one of another video, to that piece and the bits between them.
        held_out: Who is on which side.
    """

    duplicates: dict[str, tuple[str, int]]
    held_out: HeldOut

    def refusal(self, record: TrackRecord, settings: CurateSettings) -> Reject | None:
        """Returns why a record that passed every filter stays out, if it does."""
        found = self.duplicates.get(record.vid)
        if found is not None:
            return _refused(record, "near_duplicate", found[1], settings.duplicate_bits, f"of {found[0]}")
        if self.held_out.side(record) == "left out":
            return _refused(record, "held_out", 1, 0, "its source trains on a video that is held out")
        return None


def publish(store: ShardStore, num_shards: int) -> dict[str, Any]:
    """Makes the data set of all shards and returns its statistics, which `stats.json` holds too.

    Every file appears when it is whole; made again from the same shards, they have the same bytes.

    Args:
        store: The shards, all published and whole.
        num_shards: How many there are.

    Raises:
        ElysiumError: If a shard or its frames are damaged, or a file cannot be written.
    """
    _check(store, num_shards)
    choice = _choose(store, num_shards)
    counts, refused = Counts(), []
    lost: dict[str, int] = {}

    def records() -> Iterator[TrackRecord]:
        for record in _records(store, num_shards):
            reject = choice.refusal(record, store.settings)
            if reject is not None:
                refused.append(reject)
                lost[record.metadata.clip] = lost.get(record.metadata.clip, 0) + 1
                continue
            side = choice.held_out.side(record)
            if side != record.metadata.split:
                metadata = record.metadata.model_copy(update={"split": side})
                record = record.model_copy(update={"metadata": metadata})
            counts.add_record(record)
            yield record

    publish_dataset(records(), store.root, store.settings)
    _write_ledger(store, num_shards, lost, counts)

    def rejects() -> Iterator[Reject]:
        for shard in range(num_shards):
            yield from store.rejects(shard)
        yield from refused

    _write_lines(store.root / REJECTS_FILE, rejects(), counts)
    stats = counts.as_stats()
    write_atomic(store.root / "stats.json", json.dumps(stats, indent=1))
    write_card(store.root, store.settings)
    if store.settings.sheet_tracks and counts.num_records:
        write_contact_sheet(store.root, store.settings.sheet_tracks)
    logger.info("%d records of %d videos", counts.num_records, counts.num_videos)
    return stats


def _check(store: ShardStore, num_shards: int) -> None:
    for shard in range(num_shards):
        damage = store.damage(shard)
        if damage is not None:
            raise ElysiumError(
                f"{damage}; remove {store.folder(shard)} and run the same command again: it makes that shard anew"
            )


def _choose(store: ShardStore, num_shards: int) -> _Choice:
    contents: dict[str, str] = {}

    def pieces() -> Iterator[Entry]:
        for shard in range(num_shards):
            for row in store.records(shard, ["number", "vid", "sha256", "looks"]):
                if row["vid"] not in contents:
                    contents[row["vid"]] = row["sha256"]
                    yield Entry(row["vid"], str(row["number"]), (row["number"],), row["looks"])

    wanted = store.settings.duplicate_bits
    duplicates = find_duplicates(pieces(), wanted) if wanted >= 0 else {}
    near = [(contents[vid], contents[kept]) for vid, (kept, _) in sorted(duplicates.items())]
    left = (record for record in _records(store, num_shards) if record.vid not in duplicates)
    return _Choice(duplicates, hold_out(left, store.settings, near))


def _records(store: ShardStore, num_shards: int) -> Iterator[TrackRecord]:
    for shard in range(num_shards):
        for row in store.records(shard, ["record"]):
            yield TrackRecord.model_validate_json(row["record"])


def _write_ledger(store: ShardStore, num_shards: int, lost: dict[str, int], counts: Counts) -> None:
    """Writes the outcome of every video, with what the whole data set made of it."""
    with TableWriter(store.root / LEDGER_FILE, LEDGER) as table:
        for shard in range(num_shards):
            rows = []
            for row in store.ledger(shard):
                left = row.num_tracks - lost.get(row.id, 0)
                if left < row.num_tracks:
                    row = row.model_copy(update={"num_tracks": left})
                    if left == 0:
                        row = row.model_copy(update={"outcome": "rejected", "stage": "dataset", "reason": "left_out"})
                rows.append(row)
            counts.add_videos(rows)
            table.write([row.model_dump() for row in rows])


def _refused(record: TrackRecord, reason: str, value: float, threshold: float, detail: str) -> Reject:
    return Reject(
        clip=record.metadata.clip,
        shot=record.vid,
        expression=record.object_description,
        stage="dataset",
        filter=reason,
        reason=reason,
        value=value,
        threshold=threshold,
        detail=detail,
    )


def _write_lines(path: Path, rejects: Iterator[Reject], counts: Counts) -> None:
    def counted() -> Iterator[Reject]:
        for reject in rejects:
            counts.add_reject(reject)
            yield reject

    temporary = path.with_name(f".{path.name}.tmp")
    write_jsonl(temporary, counted())
    temporary.replace(path)
