"""Whether evaluation records show anything that training records show (PROTOCOL §6)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from elysium.data.records import TrackRecord
from elysium.pipeline.workspace import sha256


def find_leaks(records: Sequence[TrackRecord], folder: Path) -> pd.DataFrame:
    """Returns one row an evaluation record: what it shares with training.

    Args:
        records: All records; `metadata.split` says which side each is on.
        folder: What frame paths are relative to.

    Returns:
        Columns `id`; `shared_sequences`: training records with the same `vid`; `shared_clips`: 1 where a simulated
        clip is on both sides (real clips may be, cut in time); `overlap`: seconds of the same video file, by content,
        that both sides cover, or 0; `shared_frames`: frames whose image file is, byte for byte, in training too.
    """
    train = [record for record in records if record.metadata.split == "train"]
    evaluation = [record for record in records if record.metadata.split == "evaluation"]
    vids = {record.vid for record in train}
    clips = {record.metadata.clip for record in train}
    spans: dict[str, set[tuple[float, float]]] = defaultdict(set)
    for record in train:
        spans[record.metadata.content_sha256].add(_span(record))
    hashes: dict[str, str | None] = {}

    def content(name: str) -> str | None:
        if name not in hashes:
            path = folder / name
            hashes[name] = sha256(path) if path.is_file() else None
        return hashes[name]

    known = {content(name) for name in {name for record in train for name in record.frames}} - {None}
    rows = [
        {
            "id": record.id,
            "shared_sequences": float(record.vid in vids),
            "shared_clips": float(record.metadata.kind == "simulated" and record.metadata.clip in clips),
            "overlap": _overlap(_span(record), spans.get(record.metadata.content_sha256, set())),
            "shared_frames": float(sum(content(name) in known for name in record.frames)),
        }
        for record in evaluation
    ]
    numbers = ["shared_sequences", "shared_clips", "overlap", "shared_frames"]
    return pd.DataFrame(rows, columns=["id", *numbers]).astype({"id": "object", **dict.fromkeys(numbers, "float64")})


def _span(record: TrackRecord) -> tuple[float, float]:
    return min(record.metadata.timestamps), max(record.metadata.timestamps)


def _overlap(span: tuple[float, float], others: set[tuple[float, float]]) -> float:
    """Returns the longest overlap in seconds; spans that share a single instant overlap by a microsecond."""
    overlaps = [min(span[1], other[1]) - max(span[0], other[0]) for other in others]
    return max((max(overlap, 1e-6) for overlap in overlaps if overlap >= 0), default=0.0)
