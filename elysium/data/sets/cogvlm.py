"""CogVLM-SFT-311K: folders of pictures with one JSON file each, a description or a conversation.

```
CogVLM-SFT-311K/
  llava_details-minigpt4_3500_formate/images/00000001.jpg
  llava_details-minigpt4_3500_formate/labels_en/00000001.json   {"captions": [{"role": "caption", "content": …}]}
  …_conversation_formate/labels_en/00000001.json   {"conversations": [{"role": "user", "content": …}, …]}
```
Labels lie in `labels_en`, or in `labels`; `labels_zh` is read only where it is named itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from elysium.boxes import BoxCodec
from elysium.data.sets.conversations import DESCRIBE, pair_turns, turn
from elysium.data.sets.schema import SetRecord, Turn
from elysium.data.sets.source import BrokenSample, Sample, Source, take
from elysium.errors import UsageError

_LABELS = ("labels_en", "labels")
_MAX_BYTES = 1 << 24


def read(source: Source) -> Iterator[Sample]:
    """Reads the unpacked archive, one of its three folders, or a folder of labels.

    Raises:
        UsageError: If a path is none of these.
    """
    folders = [folder for path in source.paths for folder in _label_folders(path)]
    return _samples(source, folders)


def _label_folders(path: Path) -> list[Path]:
    if not path.is_dir():
        raise UsageError(f"{path} is no folder; CogVLM-SFT-311K is a folder with images/ and labels_en/ in its parts")
    if path.name.startswith("labels"):
        return [path]
    parts = [path, *sorted(child for child in path.iterdir() if child.is_dir())]
    found = [next((part / name for name in _LABELS if (part / name).is_dir()), None) for part in parts]
    folders = [folder for folder in found if folder is not None]
    if not folders:
        raise UsageError(
            f"{path} has no folder {' or '.join(_LABELS)}, nor have its folders; unpack CogVLM-SFT-311K.zip there"
        )
    return folders


def _samples(source: Source, folders: list[Path]) -> Iterator[Sample]:
    for folder in folders:
        part = folder.resolve().parent.name
        for path in sorted(folder.glob("*.json")):
            names = [f"{part}/images/{path.stem}.jpg"]
            if len(folders) == 1:  # each part numbers its pictures from 1: only one part may leave its name out
                names += [f"images/{path.stem}.jpg", f"{path.stem}.jpg"]
            sample_id = f"{part}/{path.stem}"
            yield Sample(sample_id, partial(_record, source, sample_id, path, names))


def _record(source: Source, sample_id: str, path: Path, names: list[str]) -> SetRecord:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise BrokenSample("the label file is too large")
        label = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise BrokenSample("the label file is no JSON") from error
    turns = _turns(label, source.codec)
    return SetRecord(id=sample_id, dataset=source.name, frames=[source.images.find(*names)], turns=turns)


def _turns(label: Any, codec: BoxCodec) -> list[Turn]:
    if isinstance(label, dict) and "captions" in label:
        captions = take(label, "captions", list)
        if len(captions) != 1:
            raise BrokenSample("there is not exactly one caption")
        return [turn(DESCRIBE, take(captions[0], "content", str), codec)]
    lines = take(label, "conversations", list)
    return pair_turns(((take(line, "role", str), take(line, "content", str)) for line in lines), codec)
