"""From finished shards to the data set: what belongs to which side, and the files that people and programs read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elysium.curation.shards import ShardStore
from elysium.curation.summary import Counts
from elysium.data.records import TrackRecord, write_jsonl
from elysium.pipeline.workspace import write_atomic


def publish(store: ShardStore, num_shards: int) -> dict[str, Any]:
    """Writes `train.jsonl`, `evaluation.jsonl`, `rejects.jsonl` and `stats.json` from all shards; returns the stats."""
    counts = Counts()

    def records(split: str) -> Iterator[TrackRecord]:
        for shard in range(num_shards):
            for row in store.records(shard):
                if row["split"] == split:
                    yield TrackRecord.model_validate_json(row["record"])

    def rejects() -> Iterator[Any]:
        for shard in range(num_shards):
            yield from store.rejects(shard)

    for split in ("train", "evaluation"):
        _write(store.root / f"{split}.jsonl", records(split))
    _write(store.root / "rejects.jsonl", rejects())
    for shard in range(num_shards):
        manifest = store.manifest(shard)
        if manifest is not None:
            counts.add(manifest.counts)
    stats = counts.as_stats()
    write_atomic(store.root / "stats.json", json.dumps(stats, indent=1))
    return stats


def _write(path: Path, lines: Iterator[Any]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    write_jsonl(temporary, lines)
    temporary.replace(path)
