"""GRIT: captions of web pictures with the boxes of the phrases in them.

A row (Parquet, JSON lines, or the JSON file that img2dataset leaves beside each picture) is
`{caption, noun_chunks: [[start, end, x1, y1, x2, y2, score], …], ref_exps: […], id, …}`: characters of the caption, and
shares of the sides. The published rows name no picture, only its address. Rows that img2dataset wrote have `status` and
its own `key`: the picture is `<first five digits>/<key>.jpg`. Other rows need an `image`, or pictures named `<id>.jpg`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from elysium.data.sets.objects import Named, from_normalised, unambiguous
from elysium.data.sets.rows import SUFFIXES, check_rows, expand, read_rows
from elysium.data.sets.schema import SetRecord
from elysium.data.sets.source import BrokenSample, Sample, Source, id_or, take, take_id, take_size
from elysium.errors import UsageError

_NEEDED = {"caption", "ref_exps"}
_SHARD_DIGITS = 5  # of img2dataset's numbers for its folders


def read(source: Source) -> Iterator[Sample]:
    """Reads files of rows, folders of them, and folders of img2dataset with one JSON file a picture.

    Raises:
        UsageError: If a path holds neither.
    """
    plans = [plan for path in source.paths for plan in _plan(path, source.title)]
    return _samples(source, plans)


def _plan(path: Path, title: str) -> list[Path]:
    """Returns the files of rows that a path stands for; a folder of img2dataset stands for itself."""
    if path.is_dir():
        tables = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.suffix != ".json")
        if not tables and next(_sidecars(path), None) is not None:
            return [path]
        if any(file.suffix == ".tar" for file in path.iterdir()) and not tables:
            raise UsageError(f"{path} holds .tar files; unpack them, or let img2dataset write --output_format files")
    files = expand([path], tuple(suffix for suffix in SUFFIXES if suffix != ".json") if path.is_dir() else SUFFIXES)
    for file in files:
        check_rows(file, _NEEDED, title)
    return files


def _sidecars(folder: Path) -> Iterator[Path]:
    """Yields img2dataset's JSON files, one a picture, in a folder and the folders in it; not its statistics."""
    for inner in (folder, *sorted(child for child in folder.iterdir() if child.is_dir())):
        yield from sorted(file for file in inner.glob("*.json") if not file.stem.endswith("_stats"))


def _samples(source: Source, plans: list[Path]) -> Iterator[Sample]:
    for path in plans:
        rows = _read_sidecars(path) if path.is_dir() else read_rows(path)
        for number, row in enumerate(rows):
            sample_id = id_or(row, ["id", "key"], f"{path.stem}-{number}")
            yield Sample(sample_id, partial(_record, source, sample_id, row))


def _read_sidecars(folder: Path) -> Iterator[Any]:
    for path in _sidecars(folder):
        try:
            yield json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            yield None


def _record(source: Source, sample_id: str, row: Any) -> SetRecord:
    take(row, "caption", str)
    caption = row["caption"]  # phrases count the characters of the text as it is, unstripped
    if row.get("status", "success") != "success":
        raise BrokenSample("the picture was not downloaded")
    frame = source.images.find(*_names(row))
    referring = _named(source, caption, row.get("ref_exps"))
    # A chunk that grew into a referring expression has the same box: the longer text says more.
    taken = {named.box for named in referring}
    chunks = [named for named in _named(source, caption, row.get("noun_chunks")) if named.box not in taken]
    objects = unambiguous(source, [*referring, *chunks])
    return SetRecord(id=sample_id, dataset=source.name, frames=[frame], frame_size=take_size(row), objects=objects)


def _names(row: dict[str, Any]) -> list[str]:
    for field in ("image", "image_path", "file_name"):
        if isinstance(row.get(field), str):
            return [row[field]]
    if "status" in row:
        key = take_id(row, "key")
        return [f"{key[:_SHARD_DIGITS]}/{key}.jpg", f"{key}.jpg"]
    # A published `key` is the number of another download: it would find the wrong picture.
    return [f"{take_id(row, 'id')}.jpg"]


def _named(source: Source, caption: str, spans: Any) -> list[Named]:
    found = []
    for span in spans if isinstance(spans, list) else []:
        with source.part():
            if not isinstance(span, list) or len(span) < 6 or not all(isinstance(n, int | float) for n in span[:2]):
                raise BrokenSample("a phrase is not its characters and its box")
            text = caption[int(span[0]) : int(span[1])].strip()
            if not 0 <= span[0] < span[1] or not text:
                raise BrokenSample("a phrase lies outside its caption")
            found.append(Named(text, from_normalised(span[2:6])))
    return found
