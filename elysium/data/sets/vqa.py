"""COCO-VQA (VQAv2): one file of questions and one of annotations, joined by `question_id`.

```
v2_OpenEnded_mscoco_train2014_questions.json   {data_subtype, questions: [{image_id, question, question_id}]}
v2_mscoco_train2014_annotations.json           {annotations: [{question_id, image_id, multiple_choice_answer, …}]}
```
The questions are held in memory (444 thousand: about 200 MB), the annotations are streamed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from elysium.data.sets.coco import coco_names
from elysium.data.sets.conversations import turn
from elysium.data.sets.json_stream import first_array, small_values, stream_array
from elysium.data.sets.rows import expand
from elysium.data.sets.schema import SetRecord
from elysium.data.sets.source import BrokenSample, Sample, Source, id_or, take
from elysium.errors import UsageError

_NEEDED = "COCO-VQA needs a file of questions and a file of annotations of the same part"


def read(source: Source) -> Iterator[Sample]:
    """Reads one part's two files.

    Raises:
        UsageError: If they are not one file of questions and one of annotations.
    """
    files = expand(source.paths, (".json",))
    by_kind: dict[str, Path] = {}
    for path in files:
        kind = first_array(path)
        if kind not in ("questions", "annotations"):
            raise UsageError(f"{path} holds neither questions nor annotations; {_NEEDED}")
        if kind in by_kind:
            raise UsageError(f"{by_kind[kind]} and {path} both hold {kind}; {_NEEDED}")
        by_kind[kind] = path
    if len(by_kind) < 2:
        missing = ({"questions", "annotations"} - by_kind.keys()).pop()
        raise UsageError(f"there is no file of {missing}; {_NEEDED}")
    part = small_values(by_kind["questions"]).get("data_subtype")
    if not isinstance(part, str):
        raise UsageError(f"{by_kind['questions']} does not say its data_subtype, for example train2014")
    return _samples(source, by_kind["questions"], by_kind["annotations"], part)


def _samples(source: Source, questions: Path, annotations: Path, part: str) -> Iterator[Sample]:
    split = part.rstrip("0123456789")
    rows = enumerate(stream_array(questions, "questions"))
    asked = {id_or(row, ["question_id"], f"question-{number}"): row for number, row in rows}
    for number, row in enumerate(stream_array(annotations, "annotations")):
        sample_id = id_or(row, ["question_id"], f"annotation-{number}")
        yield Sample(sample_id, partial(_record, source, part, sample_id, asked.pop(sample_id, None), row), split)
    for sample_id, row in asked.items():
        yield Sample(sample_id, partial(_record, source, part, sample_id, row, None), split)


def _record(source: Source, part: str, sample_id: str, asked: Any, annotation: Any) -> SetRecord:
    if asked is None:
        raise BrokenSample("the annotation has no question")
    if annotation is None:
        raise BrokenSample("the question has no annotation")
    image = take(asked, "image_id", int)
    if take(annotation, "image_id", int) != image:
        raise BrokenSample("question and annotation name different images")
    said = turn(take(asked, "question", str), take(annotation, "multiple_choice_answer", str), source.codec)
    frame = source.images.find(*coco_names(part, image))
    return SetRecord(id=sample_id, dataset=source.name, frames=[frame], turns=[said])
