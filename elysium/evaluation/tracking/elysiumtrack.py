"""ElysiumTrack's evaluation split: JSON lines of records (PROTOCOL §6), published ones and those of `elysium curate`.

Published: `ElysiumTrack-val500.json` (JSON lines in spite of its name), whose `frames` are relative to the unpacked
images. Ours: `evaluation.jsonl` of a run's `snapshot/data`. One set serves SOT (the first box is given) and RSOT (the
expression is). Boxes are normalised; they are brought to the pixels of `frame_size`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from elysium.boxes import FloatArray, to_pixels
from elysium.data.sets.rows import SUFFIXES, check_rows, read_rows
from elysium.errors import UsageError
from elysium.evaluation.tracking.files import Contents, Request
from elysium.evaluation.tracking.sequences import TrackingSequence

_NEEDED = ("frames", "box", "object_description")
_FILES = ("evaluation.jsonl", "ElysiumTrack-val500.json", "ElysiumTrack-val500.jsonl")


def find(folder: Path, name: str) -> bool:
    """Returns whether a path is a file of records, or a folder that holds one of a known name."""
    del name
    return _file(folder) is not None


def contents(request: Request, name: str) -> Contents:
    """Returns the records as sequences, by their ids.

    Raises:
        UsageError: If the file is none of records, or two of them have one id.
    """
    del name
    path = _file(request.root)
    if path is None:
        raise UsageError(f"{request.root} holds none of {', '.join(_FILES)}")
    check_rows(path, _NEEDED, "ElysiumTrack")
    present: dict[str, Callable[[], TrackingSequence]] = {}
    for number, row in enumerate(read_rows(path), start=1):
        record = row if isinstance(row, dict) else {}
        if request.split == "evaluation" and _split(record) not in (None, "evaluation"):
            continue
        record_id = str(record.get("id") or f"{path.stem}-{number}")
        if record_id in present:
            raise UsageError(f"{path}, record {number}: the id {record_id} is there twice")
        present[record_id] = partial(_sequence, path, number, record_id, record, request.images)
    return Contents(present)


def _sequence(path: Path, number: int, name: str, record: dict[str, Any], images: bool) -> TrackingSequence:
    where = f"{path}, record {number}"
    frames, size = record.get("frames"), record.get("frame_size")
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, str) for frame in frames):
        raise UsageError(f"{where}: frames must be a list of image paths")
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(isinstance(v, int) and v > 0 for v in size):
        raise UsageError(f"{where}: frame_size must be [width, height] in pixels, got {size!r}")
    boxes = _boxes(record.get("box"), where)
    if len(boxes) != len(frames):
        raise UsageError(f"{where} has {len(frames)} frames and {len(boxes)} boxes")
    paths = [path.parent / frame for frame in frames]
    if any(not frame.resolve().is_relative_to(path.parent.resolve()) for frame in (paths[0], paths[-1])):
        raise UsageError(f"{where}: its frames lead out of {path.parent}")
    missing = [frame for frame in paths if not frame.is_file()] if images else []
    if missing:
        raise UsageError(f"{where}: {len(missing)} of {len(paths)} frames are missing, the first one is {missing[0]}")
    return TrackingSequence(
        name=name,
        frames=tuple(paths),
        boxes=to_pixels(boxes, (size[0], size[1])),
        object_class=record.get("object_class") or None,
        expression=str(record.get("object_description") or "").strip().rstrip(".") or None,
        frame_size=(size[0], size[1]),
    )


def _boxes(values: Any, where: str) -> FloatArray:
    if not isinstance(values, list):
        raise UsageError(f"{where}: box must be a list of boxes")
    try:
        boxes = np.array([[np.nan] * 4 if value is None else value for value in values], dtype=np.float64)
    except (ValueError, TypeError):
        boxes = np.empty((0,))
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise UsageError(f"{where}: box must hold [x1, y1, x2, y2] or null for each frame")
    if np.nanmax(boxes, initial=0) > 1 or np.nanmin(boxes, initial=0) < 0:
        raise UsageError(f"{where}: boxes must be normalised to [0, 1], got {np.nanmax(np.abs(boxes)):g}")
    sound = np.asarray((np.nan_to_num(boxes[:, 2:]) > np.nan_to_num(boxes[:, :2])).all(axis=-1))
    return np.where(sound[:, None], boxes, np.nan)


def _split(record: dict[str, Any]) -> str | None:
    metadata = record.get("metadata")
    split = metadata.get("split") if isinstance(metadata, dict) else None
    return split if isinstance(split, str) else None


def _file(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix in SUFFIXES else None
    return next((path / name for name in _FILES if (path / name).is_file()), None)
