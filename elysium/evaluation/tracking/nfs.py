"""NfS (Need for Speed) at 30 and 240 frames a second, as published and as pytracking has repacked it.

As published: `<sequence>/<fps>/<sequence>/00001.jpg` and `<sequence>/<fps>/<sequence>.txt`, VATIC rows of
`id xmin ymin xmax ymax frame lost occluded generated "class"` in pixels from 0. The truth that lies with the 30 fps
images is often that of 240: then every eighth row counts (got-10k/toolkit, nfs.py; visionml/pytracking, issue 160).
Ten sequences have one image more than rows. Repacked (30 fps): `sequences/<sequence>/` and `anno/nfs_<sequence>.txt`
of `x,y,w,h`. The set says no attributes in its folders, and its `lost` flags are not part of its protocol.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from elysium.boxes import FloatArray
from elysium.errors import UsageError
from elysium.evaluation.tracking.facts import words
from elysium.evaluation.tracking.files import Contents, Request, read_truth
from elysium.evaluation.tracking.rows import read_bytes
from elysium.evaluation.tracking.sequences import FrameFolder, TrackingSequence, count_images, finite_rows

_STEP = 8


def find(folder: Path, name: str) -> bool:
    """Returns whether a folder holds sequences of NfS in one of the two layouts."""
    del name
    return any(_truth(folder, sequence, fps) for sequence in words("nfs") for fps in ("30", "240"))


def contents(request: Request, name: str) -> Contents:
    """Returns the sequences that are there."""
    del name
    present = {}
    for sequence in words("nfs"):
        truth = _truth(request.root, sequence, request.split)
        if truth:
            present[sequence] = partial(_sequence, request, sequence, truth)
    return Contents(present, published=words("nfs"))


def _sequence(request: Request, name: str, truth: Path) -> TrackingSequence:
    repacked = truth.parent.name == "anno"
    folder = request.root / "sequences" / name if repacked else truth.parent / name
    if repacked:
        boxes, object_class = read_truth(truth, one_based=False), None
    else:
        boxes, object_class = _read_vatic(truth)
    images = count_images(folder)
    if not images and not request.images:
        images = len(boxes)
    if images and abs(len(boxes) / images - _STEP) < 1:
        boxes = boxes[::_STEP]
    if abs(images - len(boxes)) > 1:
        raise UsageError(f"{folder} holds {images} images, and its truth has {len(boxes)} rows")
    boxes = boxes[:images]
    return TrackingSequence(name=name, frames=FrameFolder(folder, len(boxes)), boxes=boxes, object_class=object_class)


def _read_vatic(path: Path) -> tuple[FloatArray, str | None]:
    """Returns the boxes of VATIC's rows and the object's class."""
    rows, label = [], None
    for number, line in enumerate(read_bytes(path).decode("utf-8", errors="replace").splitlines(), start=1):
        fields = line.replace(",", " ").split(maxsplit=9)
        if not fields:
            continue
        try:
            rows.append([float(field) for field in fields[1:5]])
            if len(fields) < 9 or len(rows[-1]) != 4:
                raise ValueError
        except ValueError:
            raise UsageError(
                f'{path}, line {number}: id xmin ymin xmax ymax frame lost occluded generated "class" is needed, '
                f"got {line.strip()!r}"
            ) from None
        label = fields[9].strip().strip('"') if len(fields) > 9 else label
    if not rows:
        raise UsageError(f"{path} is empty")
    boxes = np.array(rows)
    sound = finite_rows(boxes) & (boxes[:, 2:] > boxes[:, :2]).all(-1)
    return np.where(sound[:, None], boxes, np.nan), label or None


def _truth(root: Path, sequence: str, fps: str) -> Path | None:
    places = [root / sequence / fps / f"{sequence}.txt"]
    if fps == "30":
        places.append(root / "anno" / f"nfs_{sequence}.txt")
    return next((place for place in places if place.is_file()), None)
