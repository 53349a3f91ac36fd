"""From finished shards to the data set: what is one too many, who is on which side, and the files that people read."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elysium.curation.dataset.publish import publish_dataset
from elysium.curation.outcome import Reject
from elysium.curation.shards import ShardStore
from elysium.curation.splits import hold_out
from elysium.curation.summary import Counts
from elysium.data.records import TrackRecord, write_jsonl
from elysium.pipeline.workspace import write_atomic

logger = logging.getLogger(__name__)


def publish(store: ShardStore, num_shards: int, *, parquet: bool = True) -> dict[str, Any]:
    """Makes the data set of all shards and returns its statistics, which `stats.json` holds too.

    Every file appears when it is whole; made again from the same shards, they have the same bytes.

    Args:
        store: The shards, all published and whole.
        num_shards: How many there are.
        parquet: Whether to write the records as Parquet files, too.

    Raises:
        ElysiumError: If a shard or its frames are damaged, or a file cannot be written.
    """
    counts = Counts()
    for shard in range(num_shards):
        manifest = store.manifest(shard)
        if manifest is not None:
            counts.add(manifest.counts)

    def records() -> Iterator[TrackRecord]:
        for shard in range(num_shards):
            for row in store.records(shard, ["record"]):
                yield TrackRecord.model_validate_json(row["record"])

    published = publish_dataset(
        records(), store.root, store.settings, hold_out(records(), store.settings), parquet=parquet
    )
    logger.info("%s", ", ".join(f"{count} {split} records" for split, count in published.records.items()))

    def rejects() -> Iterator[Reject]:
        for shard in range(num_shards):
            yield from store.rejects(shard)

    _write(store.root / "rejects.jsonl", rejects())
    stats = counts.as_stats()
    write_atomic(store.root / "stats.json", json.dumps(stats, indent=1))
    return stats


def _write(path: Path, lines: Iterator[Any]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    write_jsonl(temporary, lines)
    temporary.replace(path)
