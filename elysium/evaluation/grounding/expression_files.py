"""The files that referring expressions are published in, read for evaluation: nothing is dropped or repaired here.

| files | one entry | box |
| --- | --- | --- |
| `refs(unc).p`, `refs(umd).p`, `refs(google).p` with `instances.json` | a reference with its `sentences` | x, y, w, h |
| MDETR's `finetune_refcoco_val.json` | an image with its `caption`, and its one annotation | x, y, w, h |
| rows with `answer` (a list of sentences), `file_name` and `bbox`, as lmms-eval's | a reference | x, y, w, h |
| rows with `sentences` and `raw_anns`, as the Hub's jxu124/refcoco | a reference | x, y, w, h of `raw_anns` |
| rows with `expression`, `sent`, `sentence` or `text`, as Shikra's, Qwen-VL's and InternVL's | a sentence | corners |

Rows are JSON lines, a JSON array or Parquet.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from elysium.data.sets.json_stream import first_array, stream_array
from elysium.data.sets.plain_pickle import load_plain
from elysium.data.sets.refcoco import EXPRESSION_FIELDS, IMAGE_FIELDS, PICKLES, Instances, read_instances
from elysium.data.sets.rows import SUFFIXES, expand, read_rows
from elysium.data.sets.source import BrokenSample, id_or, take, take_first, take_size
from elysium.errors import UsageError

Form = Literal["xyxy", "xywh"]

_SET = re.compile(r"refcoco(\+|[_-]?plus|g)?", re.IGNORECASE)
_SPLIT = re.compile(r"(?<![a-z])(test[ab]?|val|validation|train)(?![a-z])", re.IGNORECASE)
_PARTITION = re.compile(r"(?<![a-z])(unc|umd|google)(?![a-z])", re.IGNORECASE)
_SPLITS = {"testa": "testA", "testb": "testB", "validation": "val"}


@dataclass(frozen=True)
class Said:
    """One expression as a file says it.

    Attributes:
        id: Of the expression.
        place: Where it stands, for messages.
        image: The picture's name.
        text: The expression.
        box: Whatever stands for the box.
        form: What the box's numbers are.
        size: `(width, height)` in pixels, where the file states it.
        object_class: Where the file states it.
    """

    id: str
    place: str
    image: str
    text: str
    box: Any
    form: Form
    size: tuple[int, int] | None
    object_class: str | None = None


@dataclass
class Found:
    """What files hold of one split of one set.

    Attributes:
        said: The expressions, in the files' order.
        partition: Who divided the set: `unc`, `umd` or `google`; None where the files do not say.
        broken: Place and reason of each entry of the split that cannot be read.
        splits: How many entries there are of each split; entries that do not say have the file name's.
        others: How many entries belong to another set, by its name.
    """

    said: list[Said] = field(default_factory=list)
    partition: str | None = None
    broken: list[tuple[str, str]] = field(default_factory=list)
    splits: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)


def read_files(set_name: str, split: str, paths: Sequence[Path]) -> Found:
    """Reads the expressions of one split of one set.

    Args:
        set_name: `refcoco`, `refcoco+` or `refcocog`.
        split: As the files call it.
        paths: Files, or folders with them.

    Raises:
        UsageError: If the files are not of a kind in the table above, or cannot be read.
    """
    files = expand(paths, (*PICKLES, *SUFFIXES))
    references = [path for path in files if path.suffix in PICKLES]
    found = Found()
    if not references:
        for path in files:
            _read_file(set_name, split, path, found)
        return found
    if len(references) > 1:
        names = ", ".join(path.name for path in references)
        raise UsageError(f"several files of references are named ({names}); name one of them and instances.json")
    instances = [path for path in files if path.suffix == ".json" and first_array(path) is not None]
    if len(instances) != 1:
        raise UsageError(f"{references[0]} needs one instances.json beside it, {len(instances)} are named")
    parent = references[0].resolve().parent.name
    folder = _set_of(parent) if _SET.fullmatch(parent) else None
    if folder not in (None, set_name):
        raise UsageError(f"{references[0]} lies in a folder of {folder}, and {set_name} is asked for")
    _read_references(split, references[0], read_instances(instances[0]), found)
    return found


def _read_references(split: str, path: Path, instances: Instances, found: Found) -> None:
    rows = load_plain(path)
    if not isinstance(rows, list) or not any(isinstance(row, dict) and "sentences" in row for row in rows[:100]):
        raise UsageError(f"{path} is no list of references with ref_id, ann_id and sentences")
    found.partition = _partition_of(path.name)
    for number, row in enumerate(rows):
        its_split = str(row.get("split")) if isinstance(row, dict) else split
        found.splits[its_split] += 1
        if its_split != split:
            continue
        place = f"{path.name}, ref_id {id_or(row, ['ref_id'], f'at {number}')}"
        try:
            name, size = _known(instances.images, take(row, "image_id", int), "the image")
            box = _known(instances.boxes, take(row, "ann_id", int), "the annotation")
            sentences = _sentences(take(row, "sentences", list))
        except BrokenSample as error:
            found.broken.append((place, str(error)))
            continue
        kind = instances.classes.get(row.get("category_id"))
        for order, (key, text) in enumerate(sentences):
            sentence_id = f"{id_or(row, ['ref_id'], f'at-{number}')}-{order if key is None else key}"
            found.said.append(Said(sentence_id, place, name, text, box, "xywh", size, kind))


def _read_file(set_name: str, split: str, path: Path, found: Found) -> None:
    named_set, named_split = _set_of(path.stem), _split_of(path.stem)
    if named_set not in (None, set_name):
        found.others[str(named_set)] += 1
        return
    found.partition = found.partition or _partition_of(path.stem)
    if path.suffix == ".json" and first_array(path) is not None:
        entries = _captioned(path)
    else:
        entries = ((f"{path.name}, row {number + 1}", row) for number, row in enumerate(read_rows(path)))
    for number, (place, row) in enumerate(entries):
        fields = row if isinstance(row, dict) else {}
        its_set = _set_of(str(fields.get("dataset_name") or "")) or set_name
        if its_set != set_name:
            found.others[its_set] += 1
            continue
        its_split = _spelled(fields["split"]) if isinstance(fields.get("split"), str) else named_split or split
        found.splits[its_split] += 1
        if its_split != split:
            continue
        try:
            found.said += _row(row, place, f"{path.stem}-{number}")
        except BrokenSample as error:
            found.broken.append((place, str(error)))


def _captioned(path: Path) -> Iterator[tuple[str, Any]]:
    """Yields rows of a file in COCO's layout whose images have captions; each has one annotation (MDETR)."""
    boxes: dict[Any, list[Any]] = {}
    for annotation in stream_array(path, "annotations"):
        if isinstance(annotation, dict):
            boxes.setdefault(annotation.get("image_id"), []).append(annotation.get("bbox"))
    for number, image in enumerate(stream_array(path, "images")):
        if not isinstance(image, dict) or "caption" not in image:
            raise UsageError(f"{path} comes with a file of references, for example refs(unc).p: name that too")
        its_boxes = boxes.get(image.get("id"), [])
        yield (
            f"{path.name}, image {image.get('id', number)}",
            {
                **image,
                "sentences": [image["caption"]],
                "raw_anns": {"bbox": its_boxes[0]} if len(its_boxes) == 1 else {},
            },
        )


def _row(row: Any, place: str, row_id: str) -> list[Said]:
    if not isinstance(row, dict):
        raise BrokenSample("not a JSON object")
    size, kind = take_size(row), row.get("object_class")
    form: Form = "xywh"
    if row.get("sentences") is not None and row.get("raw_anns") is not None:
        info = {**row, **_nested(row.get("raw_image_info"))}
        sentences, row_id = _sentences(take(row, "sentences", list)), id_or(row, ["ref_id"], row_id)
        box, image, size = take(_nested(row["raw_anns"]), "bbox", list), take(info, "file_name", str), take_size(info)
    elif row.get("answer") is not None:
        sentences = _sentences(row["answer"] if isinstance(row["answer"], list) else [row["answer"]])
        box, image = take(row, "bbox", list), take_first(row, ("file_name", "image"), str)
    else:
        sentences, row_id = _sentences([take_first(row, EXPRESSION_FIELDS, str)]), id_or(row, ["id", "sent_id"], row_id)
        box, image, form = take(row, "bbox", list), take_first(row, IMAGE_FIELDS, str), "xyxy"
    kind = kind if isinstance(kind, str) and kind.strip() else None
    return [
        Said(_numbered(row_id, order, key, len(sentences)), place, image, text, box, form, size, kind)
        for order, (key, text) in enumerate(sentences)
    ]


def _numbered(row_id: str, order: int, key: Any, count: int) -> str:
    """Returns a sentence's id: its row's, and where that has several, its own number or place."""
    return row_id if count == 1 else f"{row_id}-{order if key is None else key}"


def _sentences(given: list[Any]) -> list[tuple[Any, str]]:
    """Returns number and text of each sentence: texts, or objects with `sent` or `raw`."""
    found = []
    for sentence in given:
        if isinstance(sentence, dict):
            found.append((sentence.get("sent_id"), take_first(sentence, ("sent", "raw"), str)))
        else:
            found.append((None, take({"sent": sentence}, "sent", str)))
    if not found:
        raise BrokenSample("there is no sentence")
    return found


def _nested(value: Any) -> dict[str, Any]:
    """Returns an object that a field holds, as it is or as JSON text; empty if it holds none."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def _known(table: dict[Any, Any], key: int, what: str) -> Any:
    if table.get(key) is None:
        raise BrokenSample(f"{what} is not in instances.json")
    return table[key]


def _set_of(name: str) -> str | None:
    match = _SET.search(name)
    if not match:
        return None
    return {None: "refcoco", "g": "refcocog"}.get(match[1] and match[1].lower(), "refcoco+")


def _split_of(name: str) -> str | None:
    match = _SPLIT.search(name)
    return _spelled(match[1]) if match else None


def _spelled(split: str) -> str:
    return _SPLITS.get(split.lower(), split)


def _partition_of(name: str) -> str | None:
    match = _PARTITION.search(name)
    return match[1].lower() if match else None
