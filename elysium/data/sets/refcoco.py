"""RefCOCO, RefCOCO+ and RefCOCOg: what people said so that others found an object in a picture of COCO.

```
refs(unc).p, refs(google).p, refs(umd).p   [{ref_id, ann_id, image_id, category_id, split, sentences: [{sent, …}]}]
instances.json   {images: [{id, file_name, width, height}], annotations: [{id, bbox: [x, y, w, h]}], categories: …}
```
or rows (JSON lines, a JSON array, Parquet) of one expression each, with the image, the text and the box's corners.
References and instances are held in memory; rows are streamed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from elysium.data.sets.coco import coco_names
from elysium.data.sets.json_stream import first_array, stream_array
from elysium.data.sets.objects import Named, from_corner_and_size, from_corners, from_normalised, unambiguous
from elysium.data.sets.plain_pickle import load_plain
from elysium.data.sets.rows import SUFFIXES, check_rows, expand, read_rows
from elysium.data.sets.schema import SetRecord
from elysium.data.sets.source import BrokenSample, Images, Sample, Source, id_or, take, take_first, take_size
from elysium.errors import UsageError

PICKLES = (".p", ".pkl", ".pickle")
IMAGE_FIELDS = ("img_path", "image", "image_path", "file_name")
EXPRESSION_FIELDS = ("expression", "sent", "sentence", "text")


@dataclass(frozen=True)
class Instances:
    """What `instances.json` says.

    Attributes:
        images: By id the file's name and the size in pixels.
        boxes: By annotation's id, `(x, y, width, height)` in pixels.
        classes: Names of categories by id.
    """

    images: dict[Any, tuple[str, tuple[int, int] | None]]
    boxes: dict[Any, Any]
    classes: dict[Any, str]


def read(source: Source) -> Iterator[Sample]:
    """Reads the published pair of files, a folder with one, or rows.

    Raises:
        UsageError: If they are neither, one of the pair is missing, or several references could be meant.
    """
    files = expand(source.paths, (*PICKLES, *SUFFIXES))
    references = [path for path in files if path.suffix in PICKLES]
    if not references:
        for path in files:
            if path.suffix == ".json" and first_array(path) in ("images", "annotations"):
                raise UsageError(f"{path} comes with a file of references, for example refs(unc).p: name that too")
            check_rows(path, {"bbox"}, source.title)
        return _rows(source, files)
    if len(references) > 1:
        names = ", ".join(path.name for path in references)
        raise UsageError(f"several files of references are named ({names}); name one of them and instances.json")
    instances = [path for path in files if path.suffix == ".json"]
    if len(instances) != 1:
        raise UsageError(f"{references[0]} needs one instances.json beside it, {len(instances)} are named")
    if first_array(instances[0]) is None:
        raise UsageError(f"{instances[0]} is no instances.json: images and annotations are needed")
    found = load_plain(references[0])
    if not isinstance(found, list) or not any(isinstance(row, dict) and "sentences" in row for row in found[:100]):
        raise UsageError(f"{references[0]} is no list of references with ref_id, ann_id and sentences")
    return _references(source, found, read_instances(instances[0]))


def read_instances(path: Path) -> Instances:
    """Returns what `instances.json` says of images, boxes and classes; entries without a name or number are left out.

    Raises:
        UsageError: If it is not JSON.
    """
    images = {}
    for row in stream_array(path, "images"):
        if isinstance(row, dict) and isinstance(row.get("file_name"), str):
            try:
                images[row.get("id")] = row["file_name"], take_size(row)
            except BrokenSample:
                images[row.get("id")] = row["file_name"], None
    boxes = {row.get("id"): row.get("bbox") for row in stream_array(path, "annotations") if isinstance(row, dict)}
    names = {row.get("id"): row.get("name") for row in stream_array(path, "categories") if isinstance(row, dict)}
    return Instances(images, boxes, {key: name for key, name in names.items() if isinstance(name, str)})


def _references(source: Source, found: Sequence[Any], instances: Instances) -> Iterator[Sample]:
    for number, row in enumerate(found):
        sample_id = id_or(row, ["ref_id"], f"at-{number}")
        split = row.get("split") if isinstance(row, dict) else None
        made = partial(_reference, source, sample_id, row, instances)
        yield Sample(sample_id, made, split if isinstance(split, str) else None)


def _reference(source: Source, sample_id: str, row: Any, instances: Instances) -> SetRecord:
    image = instances.images.get(take(row, "image_id", int))
    if image is None:
        raise BrokenSample("the image is not in instances.json")
    box = instances.boxes.get(take(row, "ann_id", int))
    if box is None:
        raise BrokenSample("the annotation is not in instances.json")
    frame = find_picture(source.images, image[0])
    size = image[1] or source.images.size(frame)
    shown = from_corner_and_size(box, size)
    named = []
    for sentence in take(row, "sentences", list):
        with source.part():
            text = sentence.get("sent") or sentence.get("raw") if isinstance(sentence, dict) else None
            named.append(Named(take({"sent": text}, "sent", str), shown, instances.classes.get(row.get("category_id"))))
    objects = unambiguous(source, named)
    return SetRecord(id=sample_id, dataset=source.name, frames=[frame], frame_size=size, objects=objects)


def _rows(source: Source, files: list[Path]) -> Iterator[Sample]:
    for path in files:
        for number, row in enumerate(read_rows(path)):
            fields = row if isinstance(row, dict) else {}
            sample_id = id_or(row, ["id", "question_id"], f"{path.stem}-{number}")
            named, split = fields.get("dataset_name"), fields.get("split")
            if isinstance(named, str) and named != source.name:
                source.passed_over[named] += 1  # rows of all three sets may share a file
                continue
            yield Sample(sample_id, partial(_row, source, sample_id, row), split if isinstance(split, str) else None)


def _row(source: Source, sample_id: str, row: Any) -> SetRecord:
    frame = find_picture(source.images, take_first(row, IMAGE_FIELDS, str))
    expression = take_first(row, EXPRESSION_FIELDS, str)
    values, size = take(row, "bbox", list), take_size(row)
    if all(isinstance(value, int | float) and -1 <= value <= 1.1 for value in values):
        box = from_normalised(values)
    else:
        size = size or source.images.size(frame)
        box = from_corners(values, size)
    objects = unambiguous(source, [Named(expression, box)])
    return SetRecord(id=sample_id, dataset=source.name, frames=[frame], frame_size=size, objects=objects)


def find_picture(images: Images, name: str) -> str:
    """Returns where a picture is: as it is called, or in one of COCO's layouts.

    Raises:
        BrokenSample: As `Images.find`.
    """
    last = PurePosixPath(name).name
    parts = last.removesuffix(".jpg").split("_")
    if len(parts) >= 3 and parts[0] == "COCO" and parts[2].isdigit():
        names = coco_names(parts[1], int(parts[2]))
        return images.find(*names) if name == last else images.find(name, *names)
    return images.find(name) if name == last else images.find(name, last)
