"""The Parquet tables of a shard: small, typed, and the same bytes for the same rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from elysium.errors import ElysiumError

LEDGER: Mapping[str, str] = {
    "number": "int64",
    "id": "string",
    "source": "string",
    "sha256": "string",
    "outcome": "string",
    "stage": "string",
    "reason": "string",
    "detail": "string",
    "num_tracks": "int32",
    "num_candidates": "int32",
    "num_pieces": "int32",
    "seconds": "float64",
}
RECORDS: Mapping[str, str] = {
    "number": "int64",
    "id": "string",
    "vid": "string",
    "sha256": "string",
    "split": "string",
    "looks": "list<string>",
    "record": "string",
}
REJECTS: Mapping[str, str] = {
    "clip": "string",
    "shot": "string",
    "expression": "string",
    "stage": "string",
    "filter": "string",
    "reason": "string",
    "value": "float64",
    "threshold": "float64",
    "detail": "string",
}
_BATCH = 1024  # rows
_GROUP = 65_536  # rows that are written at once: the directory at the file's end grows with every group


class TableWriter:
    """Writes a table part by part; the file appears when it is whole."""

    def __init__(self, path: Path, columns: Mapping[str, str]) -> None:
        self._path, self._columns = path, columns
        self._temporary = path.with_name(f".{path.name}.tmp")
        self._waiting: list[Mapping[str, Any]] = []

    def __enter__(self) -> Self:
        import pyarrow.parquet as pq

        self._writer = pq.ParquetWriter(self._temporary, _schema(self._columns), compression="zstd")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()
        self._writer.close()
        if kind is None:
            self._temporary.replace(self._path)
        else:
            self._temporary.unlink(missing_ok=True)

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes some rows."""
        self._waiting += rows
        if len(self._waiting) >= _GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(_table(self._columns, self._waiting))
        self._waiting = []


def write_rows(path: Path, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a table with the given columns, by name and Arrow's name of the type."""
    import pyarrow.parquet as pq

    pq.write_table(_table(columns, rows), path, compression="zstd")


def read_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yields a table's rows, a batch of them in memory.

    Raises:
        ElysiumError: If the file is missing or cut short.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH, columns=None if columns is None else list(columns)):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise ElysiumError(
            f"{path} cannot be read ({error}); run the same curation again: it makes the shard anew"
        ) from error


def _table(columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> Any:
    import pyarrow as pa

    return pa.table({name: [row[name] for row in rows] for name in columns}, schema=_schema(columns))


def _schema(columns: Mapping[str, str]) -> Any:
    import pyarrow as pa

    return pa.schema([(name, _type(kind)) for name, kind in columns.items()])


def _type(name: str) -> Any:
    import pyarrow as pa

    return pa.list_(pa.string()) if name == "list<string>" else pa.type_for_alias(name)
