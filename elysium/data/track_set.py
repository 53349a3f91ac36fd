"""Track records by number and by id, straight from their JSON lines: only an index of 24 bytes a record is held.

The index lies beside the lines (`train.index`), and is a function of their bytes alone: a copy of both is as good as
the original, and the same data gives the same index.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from elysium.data.records import Split, TrackRecord
from elysium.data.transfer import whole_file
from elysium.errors import ElysiumError

_MAGIC = int.from_bytes(b"ELYTRK01", "little")
_HEADER = 4  # numbers: magic, bytes of the lines, their sample's digest, number of records
# How every line begins that `write_jsonl` wrote: the id is found without reading the rest.
_HEAD = re.compile(rb'\{"source":"(?:[^"\\]|\\.)*","id":("(?:[^"\\]|\\.)*")')
_BLOCK, _BLOCKS = 4096, 64
_AHEAD = 1 << 20  # bytes read at once when records are read in order

Numbers = npt.NDArray[np.uint64]


class TrackSet(Sequence[TrackRecord]):
    """The records of one split by number, by id, in slices and in order; each is parsed when it is asked for.

    It may be handed to worker processes, forked or spawned, and to threads: reads share no file position.

    Args:
        root: The data set's folder, that the records' frames are relative to.
        split: Which part of it.

    Raises:
        ElysiumError: If the lines are missing, end in the middle of a record, or two have the same id.

    Attributes:
        root: The folder.
        path: The file of JSON lines.
    """

    def __init__(self, root: str | Path, split: Split = "train") -> None:
        self.root = Path(root)
        self.path = self.root / f"{split}.jsonl"
        self._file: tuple[int, int] | None = None
        self._index = open_index(self.path)
        self._descriptor()  # before threads may ask for it

    def __len__(self) -> int:
        return len(self._index.ends)

    @overload
    def __getitem__(self, index: int) -> TrackRecord: ...
    @overload
    def __getitem__(self, index: slice) -> list[TrackRecord]: ...
    def __getitem__(self, index: int | slice) -> TrackRecord | list[TrackRecord]:
        """Returns record number `index`, or several."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"{self.path} holds {len(self)} records, there is no number {index}")
        begin, end = self._index.span(number)
        return self._parse(os.pread(self._descriptor(), end - begin, begin), number)

    def __iter__(self) -> Iterator[TrackRecord]:
        """Yields all records in order."""
        with self.path.open("rb", buffering=_AHEAD) as file:
            for number in range(len(self)):
                begin, end = self._index.span(number)
                yield self._parse(file.read(end - begin), number)

    def by_id(self, name: str) -> TrackRecord:
        """Returns the record of an id.

        Raises:
            KeyError: If there is none.
        """
        for number in self._index.candidates(_digest(name.encode())):
            record = self[number]
            if record.id == name:
                return record
        raise KeyError(f"{self.path} holds no record {name!r}")

    def sample(self, count: int, seed: int = 0) -> list[tuple[int, int]]:
        """Returns a random sample: for the same ids the same one, whatever their order.

        Args:
            count: How many, or all there are.
            seed: Another one gives another sample.

        Returns:
            Rank, and number of the record, in order of rank. Of two sets together, those of the lowest ranks are a
            sample of both.
        """
        ranks = self._index.digests ^ np.uint64(_digest(str(seed).encode()))
        places = np.argsort(ranks, kind="stable")[:count]
        return [(int(ranks[place]), int(self._index.rows[place])) for place in places]

    def __contains__(self, name: object) -> bool:
        """Returns whether there is a record of an id, or such a record."""
        wanted = name.id if isinstance(name, TrackRecord) else name
        if not isinstance(wanted, str):
            return False
        try:
            record = self.by_id(wanted)
        except KeyError:
            return False
        return not isinstance(name, TrackRecord) or record == name

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _file=None, _index=open_index(state["path"]))

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None and self._file[0] == os.getpid():  # type: ignore[index]  # just asked
            with contextlib.suppress(OSError):
                os.close(self._file[1])  # type: ignore[index]  # likewise

    def _descriptor(self) -> int:
        """Returns the open file of this process."""
        if self._file is None or self._file[0] != os.getpid():
            self._file = os.getpid(), os.open(self.path, os.O_RDONLY)
        return self._file[1]

    def _parse(self, line: bytes, number: int) -> TrackRecord:
        if not line.endswith(b"\n") or line.count(b"\n") != 1:
            raise ElysiumError(f"{self.path} has changed since it was opened: line {number + 1} is elsewhere")
        return parse_line(line, self.path, number + 1)


@dataclass(frozen=True)
class Index:
    """Where lines end, and which ids they have.

    Attributes:
        ends: Byte offset behind each line, shape `(n,)`.
        digests: Of the ids, sorted, shape `(n,)`.
        rows: The line of each digest, shape `(n,)`.
    """

    ends: Numbers
    digests: Numbers
    rows: Numbers

    def span(self, number: int) -> tuple[int, int]:
        """Returns where a line begins and ends."""
        return int(self.ends[number - 1]) if number else 0, int(self.ends[number])

    def candidates(self, digest: int) -> list[int]:
        """Returns the lines whose id may have a digest; nearly always one or none."""
        first, last = (int(np.searchsorted(self.digests, np.uint64(digest), side)) for side in ("left", "right"))
        return [int(row) for row in self.rows[first:last]]


class IndexWriter:
    """Gathers the index of lines as they are written."""

    def __init__(self) -> None:
        self._ends, self._digests, self._end = array("Q"), array("Q"), 0

    def add(self, name: str, size: int) -> None:
        """Takes the next line's id, and its length in bytes."""
        self._end += size
        self._ends.append(self._end)
        self._digests.append(_digest(name.encode()))

    def finish(self) -> Index:
        """Returns the index."""
        digests = np.frombuffer(self._digests, dtype=np.uint64) if self._digests else np.zeros(0, np.uint64)
        ends = np.frombuffer(self._ends, dtype=np.uint64) if self._ends else np.zeros(0, np.uint64)
        rows = np.argsort(digests, kind="stable")
        return Index(ends, digests[rows], rows.astype(np.uint64))


def open_index(path: Path) -> Index:
    """Returns the index of a file of track records: the one beside it if it fits, else a new one, which is kept there.

    Raises:
        ElysiumError: As of `TrackSet`.
    """
    if not path.is_file():
        raise ElysiumError(f"{path} does not exist; run `elysium curate run` first")
    beside = index_path(path)
    found = _load(beside, path)
    if found is None:
        found = build_index(path)
        with contextlib.suppress(OSError):  # data that may not be written to is read all the same
            save_index(found, path)
            return _load(beside, path) or found
    return found


def index_path(path: Path) -> Path:
    """Returns where the index of a file of lines is.

    Example:
        >>> index_path(Path("tracks/train.jsonl"))
        PosixPath('tracks/train.index')
    """
    return path.with_suffix(".index")


def save_index(index: Index, path: Path, beside: Path | None = None) -> None:
    """Writes the index of the lines in `path`, whole or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    size = path.stat().st_size
    header = np.array([_MAGIC, size, _sample(path, size), len(index.ends)], dtype="<u8")
    with whole_file(beside or index_path(path)) as file:
        for column in (header, index.ends, index.digests, index.rows):
            file.write(column.astype("<u8", copy=False).tobytes())


def build_index(path: Path) -> Index:
    """Returns the index of lines, found by reading them all.

    Raises:
        ElysiumError: If a line is no record or is cut short, or two have the same id; the message names the line.
    """
    writer, number, line = IndexWriter(), 0, b""
    with path.open("rb", buffering=_AHEAD) as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                raise ElysiumError(
                    f"{path}, line {number} is cut short: the file ends in the middle of it. Publish the data set again"
                )
            writer.add(_id_of(line, path, number), len(line))
    index = writer.finish()
    same = np.flatnonzero(index.digests[1:] == index.digests[:-1])
    for place in same.tolist():
        first, second = int(index.rows[place]), int(index.rows[place + 1])
        names = [_line_id(path, index, row) for row in (first, second)]
        if names[0] == names[1]:
            raise ElysiumError(f"{path}: lines {first + 1} and {second + 1} have the same id {names[0]!r}")
    return index


def parse_line(line: bytes, path: Path, number: int) -> TrackRecord:
    """Returns the record of a line.

    Raises:
        ElysiumError: If it is none; the message names line and field.
    """
    try:
        return TrackRecord.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the line"
        raise ElysiumError(f"{path}, line {number}: {where}: {first['msg']} (a track record is needed)") from error


def _load(beside: Path, path: Path) -> Index | None:
    """Returns an index file's content, mapped; None where there is none, or it does not belong to the lines."""
    try:
        size, stored = path.stat().st_size, beside.stat().st_size
        if stored < 8 * _HEADER or stored % 8:
            return None
        numbers = np.memmap(beside, dtype="<u8", mode="r")
    except (OSError, ValueError):
        return None
    magic, expected, sample, count = (int(number) for number in numbers[:_HEADER])
    if magic != _MAGIC or expected != size or len(numbers) != _HEADER + 3 * count or sample != _sample(path, size):
        return None
    columns = (numbers[_HEADER + part * count : _HEADER + (part + 1) * count] for part in range(3))
    return Index(*columns)


def _sample(path: Path, size: int) -> int:
    """Returns a digest of parts from all over a file: other lines of exactly the same size are told by it."""
    digest = hashlib.blake2b(digest_size=8)
    with path.open("rb") as file:
        for part in range(_BLOCKS + 1):
            file.seek(max(0, size - _BLOCK) * part // _BLOCKS)
            digest.update(file.read(_BLOCK))
    return int.from_bytes(digest.digest(), "little")


def _digest(name: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")


def _id_of(line: bytes, path: Path, number: int) -> str:
    head = _HEAD.match(line)
    try:
        name = json.loads(head[1] if head else line)
        return str(name if head else name["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise ElysiumError(f"{path}, line {number} is no track record: {error}") from error


def _line_id(path: Path, index: Index, row: int) -> str:
    begin, end = index.span(row)
    with path.open("rb") as file:
        file.seek(begin)
        return _id_of(file.read(end - begin), path, row + 1)
