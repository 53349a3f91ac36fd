"""Writing the data set: JSON lines with their index, and Parquet files with the same fields, in one pass.

```
train.jsonl  evaluation.jsonl      the published dataset's own format, one record a line
train.index  evaluation.index      where each line ends, for `elysium.data.track_set`
parquet/train-00000.parquet …      the same records as typed columns
```
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, get_args

from elysium.config import CurateSettings
from elysium.curation.dataset.columns import FOLDER, ColumnsWriter
from elysium.curation.splits import HeldOut
from elysium.data.records import Split, TrackRecord, to_line
from elysium.data.track_set import IndexWriter, index_path, save_index
from elysium.errors import ElysiumError

logger = logging.getLogger(__name__)

SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Published:
    """What was written.

    Attributes:
        records: Number of records by split.
        left_out: Records that their source wanted to train on although their video is held out.
        moved: Records that went to another split than they came with.
        files: Of the data set, relative to its root, sorted.
    """

    records: dict[str, int]
    left_out: int
    moved: int
    files: list[str]


def publish_dataset(
    records: Iterable[TrackRecord],
    root: Path,
    settings: CurateSettings,
    held_out: HeldOut | None = None,
    *,
    parquet: bool = True,
) -> Published:
    """Writes records into `root`, where the files appear when all of them are whole.

    Memory does not grow with the number of records but for 24 bytes each. The same records give the same bytes.

    Args:
        records: In the order of the source.
        root: The data set's folder; stored frames are there or come there.
        settings: `rows_per_file`.
        held_out: Who goes where, from `splits.hold_out`; by default records stay on their side.
        parquet: Whether to write Parquet files, too.

    Raises:
        ElysiumError: If a file cannot be written, or pyarrow is not installed.
    """
    held_out = held_out or HeldOut(moves=False)
    scratch = root / f".dataset.{os.getpid()}.tmp"
    counts: dict[str, int] = dict.fromkeys(SPLITS, 0)
    left_out = moved = 0
    try:
        root.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)
        (scratch / FOLDER).mkdir(parents=True)
        with _writers(scratch, settings.rows_per_file, parquet=parquet) as writers:
            for record in records:
                side = held_out.side(record)
                if side == "left out":
                    left_out += 1
                    continue
                if side != record.metadata.split:
                    moved += 1
                    metadata = record.metadata.model_copy(update={"split": side})
                    record = record.model_copy(update={"metadata": metadata})
                writers[side].add(record)
                counts[side] += 1
        files = _move(scratch, root, parquet=parquet)
    except OSError as error:
        raise ElysiumError(f"the data set in {root} was not written: {error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if left_out:
        logger.warning("%d records were left out: their source trains on videos that are held out", left_out)
    return Published(counts, left_out, moved, files)


class _SplitWriter:
    """Writes one split in all its forms."""

    def __init__(self, folder: Path, split: Split, rows: int, *, parquet: bool) -> None:
        self._path = folder / f"{split}.jsonl"
        self._file: IO[bytes] = self._path.open("wb")
        self._index = IndexWriter()
        self._columns = ColumnsWriter(folder / FOLDER, split, rows) if parquet else None

    def add(self, record: TrackRecord) -> None:
        line = to_line(record).encode()
        self._file.write(line)
        self._index.add(record.id, len(line))
        if self._columns is not None:
            self._columns.add(record)

    def close(self) -> None:
        if self._columns is not None:
            self._columns.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        save_index(self._index.finish(), self._path)

    def abandon(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        if self._columns is not None:
            with contextlib.suppress(OSError, ValueError):
                self._columns.abandon()


@contextlib.contextmanager
def _writers(folder: Path, rows: int, *, parquet: bool) -> Iterator[dict[Split, _SplitWriter]]:
    writers = {split: _SplitWriter(folder, split, rows, parquet=parquet) for split in SPLITS}
    try:
        yield writers
        for writer in writers.values():
            writer.close()
    except BaseException:
        for writer in writers.values():
            writer.abandon()
        raise


def _move(scratch: Path, root: Path, *, parquet: bool) -> list[str]:
    """Puts finished files into their places: lines before their index, which tells whether both belong together."""
    for split in SPLITS:
        for path in (scratch / f"{split}.jsonl", index_path(scratch / f"{split}.jsonl")):
            path.replace(root / path.name)
    old = scratch / "old"
    if (root / FOLDER).exists():
        (root / FOLDER).rename(old)
    if parquet:
        (scratch / FOLDER).rename(root / FOLDER)
    names = [f"{split}{end}" for split in SPLITS for end in (".jsonl", ".index")]
    return sorted([*names, *(f"{FOLDER}/{path.name}" for path in (root / FOLDER).glob("*.parquet"))])
