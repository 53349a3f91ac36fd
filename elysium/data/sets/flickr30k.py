"""Flickr30k Entities: sentences with marked phrases, and the boxes of what they name.

```
Sentences/1000092795.txt    [/EN#1/people Two young guys] with [/EN#2/bodyparts shaggy hair] look at …
Annotations/1000092795.xml  <annotation><size>…</size><object><name>1</name><bndbox>…</bndbox></object>…</annotation>
train.txt, val.txt, test.txt   ids of the pictures of each part
```
Boxes count pixels from 1 and include their last row and column. Phrase 0 is one that nothing was marked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from elysium.data.sets.objects import Named, from_corners, unambiguous
from elysium.data.sets.schema import SetRecord
from elysium.data.sets.source import BrokenSample, Sample, Source
from elysium.errors import UsageError

_PHRASE = re.compile(r"\[/EN#(?P<entity>\d+)/(?P<kind>[^\s\]]+) (?P<text>[^\]]+)\]")
_SPLITS = ("train", "val", "test")
_MAX_BYTES = 1 << 22
_EDGES = ("xmin", "ymin", "xmax", "ymax")


def read(source: Source) -> Iterator[Sample]:
    """Reads the repository's unpacked annotations.

    Raises:
        UsageError: If the folders, or the lists that tell the parts, are missing.
    """
    if len(source.paths) != 1 or not source.paths[0].is_dir():
        raise UsageError("Flickr30k Entities is one folder, with Annotations/, Sentences/ and train.txt in it")
    folder = source.paths[0]
    for name in ("Annotations", "Sentences"):
        if not (folder / name).is_dir():
            raise UsageError(f"{folder} has no folder {name}; unpack annotations.zip of Flickr30k Entities there")
    splits: dict[str, str] = {}
    for split in _SPLITS:
        path = folder / f"{split}.txt"
        if path.is_file():
            splits |= dict.fromkeys(path.read_text(encoding="utf-8").split(), split)
    if source.split is not None and source.split not in splits.values():
        raise UsageError(
            f"{folder} has no {source.split}.txt, which tells the pictures of the part {source.split}: "
            "put the repository's lists there, or take all parts with --split all"
        )
    return _samples(source, folder, splits)


def _samples(source: Source, folder: Path, splits: dict[str, str]) -> Iterator[Sample]:
    for path in sorted((folder / "Sentences").glob("*.txt")):
        annotations = folder / "Annotations" / f"{path.stem}.xml"
        yield Sample(path.stem, partial(_record, source, path, annotations), splits.get(path.stem, "no part"))


def _record(source: Source, sentences: Path, annotations: Path) -> SetRecord:
    size, boxes = _read_annotations(annotations)
    named = []
    for phrase in _PHRASE.finditer(_read(sentences).decode("utf-8", errors="replace")):
        # Several boxes of one entity are several people or things: `unambiguous` leaves its phrases out.
        for x1, y1, x2, y2 in boxes.get(phrase["entity"], []):
            with source.part():
                box = from_corners((x1 - 1, y1 - 1, x2, y2), size)
                named.append(Named(phrase["text"].strip(), box, phrase["kind"].split("/")[0]))
    objects = unambiguous(source, named)
    name = f"{sentences.stem}.jpg"
    frame = source.images.find(name, f"flickr30k-images/{name}")
    return SetRecord(id=sentences.stem, dataset=source.name, frames=[frame], frame_size=size, objects=objects)


_Boxes = dict[str, list[tuple[float, float, float, float]]]


def _read_annotations(path: Path) -> tuple[tuple[int, int], _Boxes]:
    """Returns the image's size and the boxes of each entity in pixels."""
    parser = _Annotations()
    try:
        parser.feed(_read(path))
        size = int(parser.size["width"]), int(parser.size["height"])
        boxes: _Boxes = {}
        for names, box in parser.objects:
            x1, y1, x2, y2 = (float(box[edge]) for edge in _EDGES)
            for name in names:
                boxes.setdefault(name, []).append((x1, y1, x2, y2))
    except (expat.ExpatError, KeyError, ValueError) as error:
        raise BrokenSample("the annotation file is broken") from error
    if min(size) < 1:
        raise BrokenSample("the image's stated size is not positive")
    return size, boxes


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise BrokenSample(f"the {path.suffix[1:]} file is too large")
        return path.read_bytes()
    except OSError as error:
        raise BrokenSample(f"the {path.suffix[1:]} file is missing") from error


class _Annotations:
    """Gathers what an annotation file says; one that declares entities, which may unfold without end, is broken.

    Attributes:
        size: Texts of the image's width and height.
        objects: Names of the entities, and texts of the box's edges; those without a box are left out.
    """

    def __init__(self) -> None:
        self.size: dict[str, str] = {}
        self.objects: list[tuple[list[str], dict[str, str]]] = []
        self._names: list[str] = []
        self._box: dict[str, str] = {}
        self._path: list[str] = []
        self._text = ""
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.EntityDeclHandler = self._refuse

    def feed(self, content: bytes) -> None:
        """Reads a whole file."""
        self._parser.Parse(content, True)

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._path.append(tag)
        self._text = ""

    def _characters(self, text: str) -> None:
        self._text += text

    def _end(self, tag: str) -> None:
        inside = self._path[-2:-1]
        if inside == ["size"]:
            self.size[tag] = self._text
        elif inside == ["bndbox"]:
            self._box[tag] = self._text
        elif inside == ["object"] and tag == "name":
            self._names.append(self._text.strip())
        elif tag == "object":
            if self._box:
                self.objects.append((self._names, self._box))
            self._names, self._box = [], {}
        self._path.pop()

    def _refuse(self, *_: object) -> NoReturn:
        raise ValueError("entities are not read")
