"""The Parquet tables of a shard: small, typed, and the same bytes for the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

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


def write_rows(path: Path, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a table with the given columns, by name and Arrow's name of the type."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, _type(kind)) for name, kind in columns.items()])
    table = pa.table({name: [row[name] for row in rows] for name in columns}, schema=schema)
    pq.write_table(table, path, compression="zstd")


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


def count_values(paths: Iterable[Path], columns: Sequence[str]) -> dict[tuple[Any, ...], int]:
    """Returns how often each combination of values occurs in some tables together."""
    counts: dict[tuple[Any, ...], int] = {}
    for path in paths:
        for row in read_rows(path, columns):
            key = tuple(row[name] for name in columns)
            counts[key] = counts.get(key, 0) + 1
    return counts


def _type(name: str) -> Any:
    import pyarrow as pa

    return pa.list_(pa.string()) if name == "list<string>" else pa.type_for_alias(name)
