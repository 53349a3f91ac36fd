"""Visual Genome: described regions and named objects of pictures, boxes in pixels.

```
region_descriptions.json  [{id, regions: [{region_id, image_id, phrase, x, y, width, height}]}]
objects.json              [{image_id, objects: [{object_id, names: […], x, y, w, h}]}]
image_data.json           [{image_id, url, width, height, …}]; without it, sizes come from the pictures' headers
```
The sizes of all images are held in memory, the rest is streamed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from elysium.data.sets.objects import Named, from_corner_and_size, unambiguous
from elysium.data.sets.rows import expand, read_rows
from elysium.data.sets.schema import SetRecord
from elysium.data.sets.source import BrokenSample, Sample, Source, id_or, take, take_id, take_size
from elysium.errors import UsageError

_FOLDERS = ("VG_100K", "VG_100K_2")
# What tells the kinds of file apart: a field of their entries.
_KINDS = {"regions": "regions", "objects": "objects", "url": "images"}
_Known = dict[str, tuple[str, tuple[int, int] | None]]


def read(source: Source) -> Iterator[Sample]:
    """Reads region descriptions, objects or both, with the images' data where it is given.

    Raises:
        UsageError: If a file is none of them, or neither regions nor objects are among them.
    """
    files = [(path, _kind(path)) for path in expand(source.paths, (".json",))]
    if all(kind == "images" for _, kind in files):
        raise UsageError("Visual Genome needs region_descriptions.json, objects.json or both, got image_data.json only")
    known: _Known = {}
    for path, kind in files:
        if kind == "images":
            known |= _images(path)
    return _samples(source, [(path, kind) for path, kind in files if kind != "images"], known)


def _kind(path: Path) -> str:
    first = next(read_rows(path), None)
    for name, kind in _KINDS.items():
        if isinstance(first, dict) and name in first:
            return kind
    raise UsageError(f"{path} is no file of Visual Genome: entries with regions, objects or an image's url are needed")


def _images(path: Path) -> _Known:
    """Returns by id each image's path below the images' folder and its size."""
    known: _Known = {}
    for row in read_rows(path):
        try:
            number, url = take_id(row, "image_id"), take(row, "url", str)
            known[number] = "/".join(url.split("/")[-2:]), take_size(row)
        except BrokenSample:
            continue  # its samples do without, and are broken if they cannot
    return known


def _samples(source: Source, files: list[tuple[Path, str]], known: _Known) -> Iterator[Sample]:
    for path, kind in files:
        for number, row in enumerate(read_rows(path)):
            image = id_or(row, ["image_id", "id"], f"at-{number}")
            yield Sample(f"{kind}-{image}", partial(_record, source, kind, image, row, known))


def _record(source: Source, kind: str, image: str, row: Any, known: _Known) -> SetRecord:
    name, size = known.get(image, (None, None))
    names = [f"{folder}/{image}.jpg" for folder in _FOLDERS]
    frame = source.images.find(*([name] if name else []), *names, f"{image}.jpg")
    size = size or source.images.size(frame)
    named = []
    for entry in take(row, kind, list):
        with source.part():
            named.append(_region(entry, size) if kind == "regions" else _object(entry, size))
    objects = unambiguous(source, named)
    return SetRecord(id=f"{kind}-{image}", dataset=source.name, frames=[frame], frame_size=size, objects=objects)


def _region(entry: Any, size: tuple[int, int]) -> Named:
    phrase = take(entry, "phrase", str)
    return Named(phrase, from_corner_and_size([entry.get(side) for side in ("x", "y", "width", "height")], size))


def _object(entry: Any, size: tuple[int, int]) -> Named:
    names = take(entry, "names", list)
    if not names or not isinstance(names[0], str) or not names[0].strip():
        raise BrokenSample("the object has no name")
    name = names[0].strip()
    return Named(name, from_corner_and_size([entry.get(side) for side in ("x", "y", "w", "h")], size), name)
