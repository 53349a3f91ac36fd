"""Annotation files as rows: JSON arrays, JSON lines and Parquet alike, one row in memory at a time."""

from __future__ import annotations

import codecs
import itertools
import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from elysium.data.sets.json_stream import stream_array
from elysium.data.sets.schema import import_pyarrow
from elysium.errors import UsageError

SUFFIXES = (".json", ".jsonl", ".ndjson", ".parquet")
_LOOKED_AT = 100
_BATCH = 256
_HEAD = 4096
_MAX_LINE = 1 << 26


def read_rows(path: Path) -> Iterator[Any]:
    """Yields the rows of a file; its content decides between an array and lines, whatever a `.json` is called.

    A line that is not JSON comes as None, so that one broken line costs one sample. A broken array ends in an error:
    nobody knows where its next entry begins.

    Raises:
        UsageError: If the file cannot be read as what it is.
    """
    if path.suffix == ".parquet":
        return _parquet_rows(path)
    return stream_array(path) if first_character(path) == "[" else _lines(path)


def check_rows(path: Path, needed: Collection[str], title: str) -> None:
    """Looks at the first rows of a file, to tell before work starts that it is not what a reader reads.

    Raises:
        UsageError: If none of the first rows is an object with all `needed` fields.
    """
    first = list(itertools.islice(read_rows(path), _LOOKED_AT))
    if not first:
        raise UsageError(f"{path} holds no entry; {title} needs entries with {', '.join(sorted(needed))}")
    if not any(isinstance(row, dict) and row.keys() >= set(needed) for row in first):
        seen = next((row for row in first if isinstance(row, dict)), None)
        got = ", ".join(map(str, list(seen)[:12])) if seen else "none that is a JSON object"
        raise UsageError(
            f"{path} is no annotation file of {title}: entries with {', '.join(sorted(needed))} are needed, got {got}"
        )


def expand(paths: Sequence[Path], suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """Returns the files among `paths` and those of the right suffixes directly in its folders, sorted.

    Raises:
        UsageError: If a path does not exist, a file is empty, or a folder holds no such file.
    """
    files = []
    for path in paths:
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix in suffixes and file.is_file())
            if not found:
                raise UsageError(f"{path} holds no annotation file ({', '.join(suffixes)})")
            files += found
        else:
            files.append(path)
    for path in files:
        if not path.exists():
            raise UsageError(f"{path} does not exist")
        if path.stat().st_size == 0:
            raise UsageError(f"{path} is empty (0 bytes); fetch it again")
    return files


def first_character(path: Path) -> str:
    """Returns the first character of a JSON file that is no white space: `[` of an array, `{` of an object."""
    with path.open("rb") as file:
        head = file.read(_HEAD).removeprefix(codecs.BOM_UTF8).lstrip()
    return chr(head[0]) if head else ""


def _lines(path: Path) -> Iterator[Any]:
    # Only \n ends a line: other separators may stand inside strings. Bytes that are not UTF-8 break their line alone.
    with path.open("rb") as file:
        while line := file.readline(_MAX_LINE):
            if len(line) == _MAX_LINE:
                # Another kind of file all in one line, or a broken one: not worth its memory.
                while line and not line.endswith(b"\n"):
                    line = file.readline(_MAX_LINE)
                yield None
            elif line.strip():
                try:
                    yield json.loads(line.decode("utf-8-sig"))
                except (ValueError, RecursionError):
                    yield None


def _parquet_rows(path: Path) -> Iterator[Any]:
    pa = import_pyarrow()
    try:
        with pa.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH, use_threads=False):
                yield from batch.to_pylist()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no whole Parquet file: {error}") from error
