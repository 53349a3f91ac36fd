"""One Parquet file of records: written whole or not at all, read by number without holding it in memory."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, overload

import numpy as np

from elysium.boxes import BoxCodec
from elysium.data.sets.schema import SetRecord, arrow_schema, from_row, import_pyarrow, to_row
from elysium.errors import ElysiumError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

DATA = "data.parquet"
_VERSION = "1"
# Rows that reading one of them decodes. Fewer make single reads faster and the file's directory longer.
ROW_GROUP = 128
_BUFFER = 32 * ROW_GROUP
# Training comes back to 64 of them for a while (`elysium.training.mixture`).
_KEPT_GROUPS = 72


class SetWriter:
    """Appends records to a Parquet file, a few thousand at a time.

    Attributes:
        count: Records added so far.
    """

    def __init__(self, file: Any, information: Mapping[str, str]) -> None:
        """Begins the file; use `open_writer`."""
        pa = import_pyarrow()
        self.count = 0
        self._schema = arrow_schema().with_metadata({f"elysium.{key}": text for key, text in information.items()})
        self._rows: list[dict[str, Any]] = []
        self._pa = pa
        self._writer = pa.parquet.ParquetWriter(
            # Strings differ from row to row: dictionaries would only make the directory longer.
            *(file, self._schema), compression="zstd", use_dictionary=["dataset"], write_statistics=False
        )  # fmt: skip

    def add(self, record: SetRecord) -> None:
        """Appends one record."""
        self._rows.append(to_row(record))
        self.count += 1
        if len(self._rows) >= _BUFFER:
            self._flush()

    def note(self, key: str, text: str) -> None:
        """Adds to what the file says of itself; before the block ends."""
        self._writer.add_key_value_metadata({f"elysium.{key}": text})

    def close(self) -> None:
        """Writes the rest and the file's directory."""
        self._flush()
        self._writer.close()

    def abandon(self) -> None:
        """Lets the file go, whatever it holds."""
        self._rows = []
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            table = self._pa.Table.from_pylist(self._rows, schema=self._schema)
            self._writer.write_table(table, row_group_size=ROW_GROUP)
            self._rows = []


@contextlib.contextmanager
def open_writer(path: Path, root: str, codec: BoxCodec | None = None) -> Iterator[SetWriter]:
    """Opens a file of records that takes its place only when the block ends well.

    Args:
        path: The file; its folder is made.
        root: Folder or URI that the records' frames and videos are relative to.
        codec: How boxes are written in the turns' text; the paper's by default.

    Raises:
        ElysiumError: If another process is writing the same file, or it cannot be written.
    """
    codec = codec or BoxCodec()
    information = {
        "format": _VERSION,
        "root": root,
        "box_scale": str(codec.scale),
        "box_maximum": str(codec.maximum),
    }
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("ab") as file:
            _lock(file, temporary, path)
            file.truncate(0)  # what a killed process left
            writer = SetWriter(file, information)
            try:
                yield writer
                writer.close()
                file.flush()
                os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                with contextlib.suppress(OSError, ValueError):
                    writer.abandon()
                raise
    except OSError as error:
        raise ElysiumError(f"{path} was not written: {error}") from error


def _lock(file: IO[bytes], temporary: Path, path: Path) -> None:
    """Takes the file for this process; the lock goes with the process, also on kill -9."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # One that has just ended may have renamed the file that was opened here: it is its result.
        renamed = not os.path.samestat(os.fstat(file.fileno()), temporary.stat())
    except OSError:
        renamed = True
    if renamed:
        raise ElysiumError(f"another process is writing {path}; wait for it or stop it")


class SetReader(Sequence[SetRecord]):
    """The records of a file by number, read from a memory map: opening it reads its directory only.

    It may be handed to worker processes, forked or spawned: each maps the file anew, and all share its pages. Within
    one process it belongs to one thread.

    Args:
        path: The file, or the folder of an import that holds it.
        root: Where the frames are, if not where they were at the import.

    Raises:
        ElysiumError: If the file is missing, is no Parquet file or none of records.

    Attributes:
        path: The file.
        root: Folder or URI that the records' frames and videos are relative to.
        codec: How boxes are written in the turns' text.
        information: What the file says of itself.
    """

    def __init__(self, path: str | Path, root: str | Path | None = None) -> None:
        path = Path(path)
        self.path = path / DATA if path.is_dir() else path
        if not self.path.is_file():
            raise ElysiumError(f"{self.path} does not exist; make it with `elysium data import`")
        self._file: pq.ParquetFile | None = None
        self._process = -1
        self._groups: OrderedDict[int, pa.Table] = OrderedDict()
        directory = self._open().metadata
        stated = {key.decode(): text.decode() for key, text in (directory.metadata or {}).items()}
        prefix = "elysium."
        self.information = {key.removeprefix(prefix): text for key, text in stated.items() if key.startswith(prefix)}
        if self.information.get("format") != _VERSION:
            raise ElysiumError(
                f"{self.path} holds no records of format {_VERSION}, but {self.information.get('format', 'none')}; "
                "make it anew with `elysium data import`"
            )
        self.root = str(root) if root is not None else self.information["root"]
        self.codec = BoxCodec(int(self.information["box_scale"]), int(self.information["box_maximum"]))
        sizes = [directory.row_group(number).num_rows for number in range(directory.num_row_groups)]
        # Number of the first row of each group, and of one past the last.
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, index: int) -> SetRecord: ...
    @overload
    def __getitem__(self, index: slice) -> list[SetRecord]: ...
    def __getitem__(self, index: int | slice) -> SetRecord | list[SetRecord]:
        """Returns record number `index`, or several."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"{self.path} holds {len(self)} records, there is no number {index}")
        group = int(np.searchsorted(self._starts, number, side="right")) - 1
        row = self._group(group).slice(number - int(self._starts[group]), 1)
        return from_row(row.to_pylist()[0])

    def __iter__(self) -> Iterator[SetRecord]:
        """Yields all records in order, a group of rows in memory at a time."""
        for group in range(len(self._starts) - 1):
            for row in self._group(group).to_pylist():
                yield from_row(row)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_process": -1, "_groups": OrderedDict()}

    def _group(self, number: int) -> pa.Table:
        file = self._open()
        table = self._groups.get(number)
        if table is None:
            try:
                table = file.read_row_group(number, use_threads=False)
            except (OSError, ValueError) as error:
                raise ElysiumError(f"{self.path} is damaged in its row group {number}: {error}") from error
            if len(self._groups) >= _KEPT_GROUPS:
                self._groups.popitem(last=False)
            self._groups[number] = table
        else:
            self._groups.move_to_end(number)
        return table

    def _open(self) -> pq.ParquetFile:
        """Returns the open file of this process: one that a parent opened is not used after a fork."""
        if self._file is None or self._process != os.getpid():
            pa = import_pyarrow()
            try:
                self._file = pa.parquet.ParquetFile(self.path, memory_map=True)
            except (OSError, ValueError) as error:
                raise ElysiumError(f"{self.path} is no whole Parquet file: {error}") from error
            self._process = os.getpid()
            self._groups = OrderedDict()
        return self._file
