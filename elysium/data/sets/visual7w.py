"""Visual7W: questions answered in words (telling) or by a box (pointing).

```
dataset_v7w_telling.json    {images: [{image_id, filename, split, qa_pairs: [{qa_id, question, answer, …}]}]}
dataset_v7w_pointing.json   the same, answers being ids of {boxes: [{box_id, name, x, y, width, height}]}, in pixels
```
Pointing's boxes are held in memory, the images are streamed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from elysium.data.sets.conversations import turn
from elysium.data.sets.json_stream import first_array, stream_array
from elysium.data.sets.objects import from_corner_and_size
from elysium.data.sets.rows import expand
from elysium.data.sets.schema import SetRecord, Turn
from elysium.data.sets.source import BrokenSample, Sample, Source, id_or, take
from elysium.errors import UsageError
from elysium.prompts import boxes_answer

_Boxes = dict[int, tuple[Any, Any, Any, Any]]


def read(source: Source) -> Iterator[Sample]:
    """Reads either file, or both.

    Raises:
        UsageError: If a file is none.
    """
    files = expand(source.paths, (".json",))
    for path in files:
        if first_array(path) not in ("images", "boxes") or not _has_questions(path):
            raise UsageError(f"{path} is no file of Visual7W: images with qa_pairs are needed")
    return _samples(source, files)


def _has_questions(path: Path) -> bool:
    first = next(stream_array(path, "images"), None)
    return isinstance(first, dict) and "qa_pairs" in first


def _samples(source: Source, files: list[Path]) -> Iterator[Sample]:
    for path in files:
        boxes: _Boxes = {
            row["box_id"]: (row.get("x"), row.get("y"), row.get("width"), row.get("height"))
            for row in stream_array(path, "boxes")
            if isinstance(row, dict) and isinstance(row.get("box_id"), int)
        }
        kind = "pointing" if boxes else "telling"
        for number, row in enumerate(stream_array(path, "images")):
            sample_id = f"{kind}-{id_or(row, ['image_id'], f'at-{number}')}"
            split = row.get("split") if isinstance(row, dict) else None
            made = partial(_record, source, sample_id, row, boxes)
            yield Sample(sample_id, made, split if isinstance(split, str) else None)


def _record(source: Source, sample_id: str, row: Any, boxes: _Boxes) -> SetRecord:
    name = take(row, "filename", str)
    frame = source.images.find(f"images/{name}", name)
    size = source.images.size(frame) if boxes else None
    turns = []
    for pair in take(row, "qa_pairs", list):
        with source.part():
            turns.append(_turn(source, pair, boxes, size))
    if not turns:
        raise BrokenSample("no question can be used")
    return SetRecord(id=sample_id, dataset=source.name, frames=[frame], frame_size=size, turns=turns)


def _turn(source: Source, pair: Any, boxes: _Boxes, size: tuple[int, int] | None) -> Turn:
    question = take(pair, "question", str)
    if size is None:
        return turn(question, take(pair, "answer", str), source.codec)
    box = boxes.get(take(pair, "answer", int))
    if box is None:
        raise BrokenSample("the answer's box is missing")
    return turn(question, boxes_answer([from_corner_and_size(box, size)], source.codec), source.codec)
