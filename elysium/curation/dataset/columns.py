"""Track records as columns of Parquet files: the fields of a line, typed, in files of so many rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elysium.data.records import TrackMetadata, TrackRecord
from elysium.data.sets.schema import import_pyarrow

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "parquet"
# Rows that are held, and that are read together: few enough for a file of one group to be read in parts.
_ROW_GROUP = 1000
_KNOWN = tuple(TrackMetadata.model_fields)


class ColumnsWriter:
    """Writes `<split>-00000.parquet` and so on; nothing is in its place before the caller moves it there.

    Args:
        folder: Where the files go; it is there.
        split: Their name's beginning.
        rows: In one file.

    Attributes:
        files: Those begun so far.
    """

    def __init__(self, folder: Path, split: str, rows: int) -> None:
        self.files: list[Path] = []
        self._folder, self._split, self._rows = folder, split, rows
        self._held: list[TrackRecord] = []
        self._writer: Any = None
        self._left = 0

    def add(self, record: TrackRecord) -> None:
        """Appends one record."""
        self._held.append(record)
        if len(self._held) >= min(_ROW_GROUP, self._left or self._rows):
            self._flush()

    def close(self) -> None:
        """Writes the rest; a split without any record gets a file without rows, for its columns."""
        if self._held or not self.files:
            self._flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def abandon(self) -> None:
        """Lets the open file go, whatever it holds."""
        self._held = []
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        if self._writer is None:
            pa = import_pyarrow()
            path = self._folder / f"{self._split}-{len(self.files):05d}.parquet"
            self._writer = pa.parquet.ParquetWriter(
                path, track_schema(), compression="zstd", use_dictionary=_REPEATED, column_encoding=_ENCODINGS,
            )  # fmt: skip
            self.files.append(path)
            self._left = self._rows
        self._writer.write_table(to_table(self._held), row_group_size=_ROW_GROUP)
        self._left -= len(self._held)
        self._held = []
        if self._left <= 0:
            self._writer.close()
            self._writer = None


# Columns whose values come again and again, by their paths in the file.
_REPEATED = [
    "source", "vid", "object_class", "metadata.content_sha256", "metadata.timestamps.list.element", "metadata.decoder",
    "metadata.caption", "metadata.clip", "metadata.split", "metadata.kind", "frame_size.list.element",
]  # fmt: skip
_ENCODINGS = {"frames.list.element": "DELTA_BYTE_ARRAY", "box.list.element.list.element": "BYTE_STREAM_SPLIT"}


def track_schema() -> pa.Schema:
    """Returns the columns: a record's fields, and in `metadata.extra` as JSON whatever a source adds to them."""
    pa = import_pyarrow()
    metadata = pa.struct(
        [
            ("content_sha256", pa.string()),
            ("timestamps", pa.list_(pa.float64())),
            ("decoder", pa.string()),
            ("caption", pa.string()),
            ("clip", pa.string()),
            ("split", pa.string()),
            ("kind", pa.string()),
            ("confidence", pa.float64()),
            ("extra", pa.string()),
        ]
    )
    return pa.schema(
        [
            ("source", pa.string()),
            ("id", pa.string()),
            ("vid", pa.string()),
            ("metadata", metadata),
            ("frames", pa.list_(pa.string())),
            ("object_class", pa.string()),
            ("box", pa.list_(pa.list_(pa.float64(), 4))),
            ("object_description", pa.string()),
            ("frame_size", pa.list_(pa.int32(), 2)),
        ]
    )


def to_table(records: Sequence[TrackRecord]) -> pa.Table:
    """Returns records as a table of the columns; lists are laid out by hand, which is many times as fast."""
    pa = import_pyarrow()
    schema = track_schema()
    lengths = np.cumsum([0, *(len(record.frames) for record in records)], dtype=np.int32)
    boxes = np.array([box for record in records for box in record.box], dtype=np.float64).reshape(-1)
    sizes = np.array([record.frame_size for record in records], dtype=np.int32).reshape(-1)
    columns: dict[str, Any] = {
        "metadata": _metadata([record.metadata for record in records], schema.field("metadata").type, lengths),
        "frames": _lists(lengths, pa.array([name for record in records for name in record.frames], pa.string())),
        "box": _lists(lengths, pa.FixedSizeListArray.from_arrays(pa.array(boxes), 4)),
        "frame_size": pa.FixedSizeListArray.from_arrays(pa.array(sizes), 2),
    }
    arrays = [
        columns[field.name]
        if field.name in columns
        else pa.array([getattr(record, field.name) for record in records], field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(
        [array.cast(field.type) for array, field in zip(arrays, schema, strict=True)], schema=schema
    )


def from_rows(rows: Iterable[dict[str, Any]]) -> Iterable[TrackRecord]:
    """Yields the records that rows of the columns hold, exactly as they were written."""
    for row in rows:
        metadata = dict(row["metadata"])
        extra = json.loads(metadata.pop("extra"))
        yield TrackRecord.model_validate({**row, "metadata": {**metadata, **extra}})


def _lists(offsets: Any, values: Any) -> Any:
    pa = import_pyarrow()
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def _metadata(entries: Sequence[TrackMetadata], kind: Any, lengths: Any) -> Any:
    pa = import_pyarrow()
    extras = [json.dumps(entry.model_extra or {}, ensure_ascii=False, separators=(",", ":")) for entry in entries]
    times = pa.array(np.array([time for entry in entries for time in entry.timestamps], dtype=np.float64))
    columns: dict[str, Any] = {"timestamps": _lists(lengths, times), "extra": pa.array(extras, pa.string())}
    arrays = [
        columns[field.name]
        if field.name in columns
        else pa.array([getattr(entry, field.name) for entry in entries], field.type)
        for field in kind
    ]
    return pa.StructArray.from_arrays(arrays, fields=list(kind))
