"""GQA: a JSON object of `question id: {question, answer, imageId, …}`, or a folder of such files."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from elysium.data.sets.conversations import turn
from elysium.data.sets.json_stream import stream_object
from elysium.data.sets.rows import expand, first_character
from elysium.data.sets.schema import SetRecord
from elysium.data.sets.source import Sample, Source, take, take_id
from elysium.errors import UsageError

_SPLITS = ("train", "val", "testdev", "test")


def read(source: Source) -> Iterator[Sample]:
    """Reads `train_balanced_questions.json`, the folder `train_all_questions`, and their like.

    The part is what a file's name begins with; a file of another name is read whatever part is wanted.

    Raises:
        UsageError: If a file is none.
    """
    files = expand(source.paths, (".json",))
    for path in files:
        _, first = next(stream_object(path), ("", None)) if first_character(path) == "{" else ("", None)
        if not isinstance(first, dict) or not {"question", "imageId"} <= first.keys():
            raise UsageError(f"{path} is no file of GQA's questions: question, answer and imageId are needed by id")
    return _samples(source, files)


def _samples(source: Source, files: list[Path]) -> Iterator[Sample]:
    for path in files:
        split = path.name.partition("_")[0]
        for sample_id, row in stream_object(path):
            yield Sample(sample_id, partial(_record, source, sample_id, row), split if split in _SPLITS else None)


def _record(source: Source, sample_id: str, row: Any) -> SetRecord:
    said = turn(take(row, "question", str), take(row, "answer", str), source.codec)
    name = f"{take_id(row, 'imageId')}.jpg"
    frame = source.images.find(f"images/{name}", name)
    return SetRecord(id=sample_id, dataset=source.name, frames=[frame], turns=[said])
