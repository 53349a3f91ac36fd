"""ElysiumTrack: the published JSON lines of expression–track pairs, and the records that `elysium curate` writes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from elysium.data.records import TrackRecord
from elysium.data.sets.objects import from_normalised
from elysium.data.sets.rows import check_rows, expand, read_rows
from elysium.data.sets.schema import SetObject, SetRecord
from elysium.data.sets.source import BrokenSample, Sample, Source, id_or, take

# Of the record's fields, what a track cannot be without.
_NEEDED = set(TrackRecord.model_fields) & {"frames", "box", "object_description"}


def read(source: Source) -> Iterator[Sample]:
    """Reads `ElysiumTrack-1M.json` (JSON lines in spite of its name), or `train.jsonl` of a run.

    Raises:
        UsageError: If a file is none.
    """
    files = expand(source.paths)
    for path in files:
        check_rows(path, _NEEDED, source.title)
    return _samples(source, files)


def _samples(source: Source, files: list[Path]) -> Iterator[Sample]:
    for path in files:
        for number, row in enumerate(read_rows(path)):
            sample_id = id_or(row, ["id"], f"{path.stem}-{number}")
            split = _metadata(row).get("split")
            yield Sample(sample_id, partial(_record, source, sample_id, row), split if isinstance(split, str) else None)


def _record(source: Source, sample_id: str, row: Any) -> SetRecord:
    frames, values = take(row, "frames", list), take(row, "box", list)
    if not frames or len(frames) != len(values):
        raise BrokenSample("there is not one box a frame")
    if not all(isinstance(frame, str) and frame for frame in frames):
        raise BrokenSample("a frame has no path")
    expression = take(row, "object_description", str)
    named = row.get("object_class")
    track = SetObject(
        expression=expression,
        object_class=named if isinstance(named, str) and named else None,
        # None is an object that is not in the frame.
        boxes=[None if box is None else from_normalised(box) for box in values],
    )
    if not any(track.boxes):
        raise BrokenSample("the object is in no frame")
    return SetRecord(
        id=sample_id,
        dataset=source.name,
        frames=[source.images.find(frame) for frame in frames],
        timestamps=_timestamps(row, len(frames)),
        frame_size=_size(row.get("frame_size")),
        objects=[track],
    )


def _metadata(row: Any) -> dict[str, Any]:
    """Returns what a record's own `metadata` says; the published set's may be anything."""
    found = row.get("metadata") if isinstance(row, dict) else None
    return found if isinstance(found, dict) else {}


def _timestamps(row: Any, count: int) -> list[float]:
    times = _metadata(row).get("timestamps")
    if isinstance(times, list) and len(times) == count and all(isinstance(time, int | float) for time in times):
        return [float(time) for time in times]
    return []


def _size(value: Any) -> tuple[int, int] | None:
    if isinstance(value, list) and len(value) == 2 and all(isinstance(side, int) and side > 0 for side in value):
        return value[0], value[1]
    return None
