"""GOT-10k: `<split>/list.txt` and `<split>/<sequence>/` with images, `groundtruth.txt`, labels and `meta_info.ini`.

Pixels count from 1, as its authors say (got-10k/toolkit, issue 6), although some boxes begin at 0. Of the test split
only the first box is public: its results go to the server, see `write_results`. `cover.label` is how much of the
target is seen, in steps of an eighth; the toolkit counts frames above 0 alone.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from elysium.errors import UsageError
from elysium.evaluation.tracking.files import Contents, Request, frames_of, read_flags, read_truth, read_values
from elysium.evaluation.tracking.rows import read_bytes
from elysium.evaluation.tracking.sequences import FrameFolder, TrackingSequence, count_images

_NUM_SEQUENCES = {"val": 180, "test": 180}
_NAMES = {"val": "GOT-10k_Val_{:06}", "test": "GOT-10k_Test_{:06}"}
_RESOLUTION = re.compile(r"\((\d+),\s*(\d+)\)")
# Labels of frames; a sequence has the attribute where one of its frames has the label.
_LABELS = {"absence": "absence.label", "cut_by_image": "cut_by_image.label"}


def find(folder: Path, name: str) -> bool:
    """Returns whether a folder holds splits of GOT-10k, or is one."""
    del name
    return any(_is_split(folder / split) or _is_split(folder, split) for split in _NAMES)


def contents(request: Request, name: str) -> Contents:
    """Returns the sequences that are there."""
    del name
    split = request.split
    root = request.root / split
    if not _is_split(root):
        root = request.root
    published = [_NAMES[split].format(number) for number in range(1, _NUM_SEQUENCES[split] + 1)]
    present = {
        sequence: partial(_sequence, request, sequence, root / sequence)
        for sequence in published
        if (root / sequence / "groundtruth.txt").is_file()
    }
    return Contents(present, published=published)


def _sequence(request: Request, name: str, folder: Path) -> TrackingSequence:
    boxes = read_truth(folder / "groundtruth.txt", one_based=True)
    given = len(boxes) > 1
    if given:
        frames = frames_of(folder, len(boxes), request.images)
    else:
        count = count_images(folder)
        if count == 0:
            raise UsageError(f"{folder} holds no image, and its truth has only the first box")
        frames = FrameFolder(folder, count)
        boxes = np.concatenate([boxes, np.full((count - 1, 4), np.nan)])
    meta = _meta(folder / "meta_info.ini")
    cover = folder / "cover.label"
    resolution = _RESOLUTION.search(meta.get("resolution", ""))
    return TrackingSequence(
        name=name,
        frames=frames,
        boxes=boxes,
        given=given,
        absent=_label(folder / "absence.label", len(boxes)),
        counted=_covered(cover, len(boxes)) if cover.is_file() else None,
        attributes=_attributes(folder, len(boxes)),
        object_class=meta.get("object_class"),
        frame_size=(int(resolution[1]), int(resolution[2])) if resolution else None,
        one_based=True,
    )


def _covered(path: Path, length: int) -> np.ndarray:
    values = read_values(path)
    if len(values) != length:
        raise UsageError(f"{path}: one value for each of {length} frames is needed, got {len(values)}")
    return values > 0


def _label(path: Path, length: int) -> np.ndarray | None:
    return read_flags(path, length) if path.is_file() else None


def _attributes(folder: Path, length: int) -> tuple[str, ...] | None:
    found = {name: flags for name, file in _LABELS.items() if (flags := _label(folder / file, length)) is not None}
    return tuple(name for name, flags in found.items() if flags.any()) if found else None


def _meta(path: Path) -> dict[str, str]:
    """Returns the `key: value` lines below the heading of `meta_info.ini`."""
    if not path.is_file():
        return {}
    lines = read_bytes(path).decode("utf-8", errors="replace").splitlines()
    return {key.strip(): value.strip() for key, mark, value in (line.partition(":") for line in lines) if mark}


def _is_split(folder: Path, split: str | None = None) -> bool:
    if not (folder / "list.txt").is_file():
        return False
    split = split or folder.name
    return split in _NAMES and any(folder.glob(_NAMES[split].format(0).rstrip("0") + "*"))
