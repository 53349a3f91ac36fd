"""TrackingNet: `<chunk>/anno/<sequence>.txt` and `<chunk>/frames/<sequence>/0.jpg`, numbers not padded.

Chunks are `TEST`, of which only the first box of each sequence is public, and `TRAIN_0` to `TRAIN_11`. The devkit
(SilvioGiancola/TrackingNet-devkit) neither says from where pixels count nor shifts them; they are read from 0. The
names of a chunk's sequences are those in `anno`, one download of all.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from elysium.errors import UsageError
from elysium.evaluation.tracking.files import Contents, Request, frames_of, read_truth
from elysium.evaluation.tracking.sequences import FrameFolder, TrackingSequence, count_images

# The devkit's README: 12 chunks of 2,511 sequences for training and one of 511 for testing.
_NUM_TEST = 511
_NUM_TRAIN = 2511


def find(folder: Path, name: str) -> bool:
    """Returns whether a folder holds chunks of TrackingNet, or is one."""
    del name
    return any((place / "anno").is_dir() and (place / "frames").is_dir() for place in (folder, *_chunks(folder)))


def contents(request: Request, name: str) -> Contents:
    """Returns the sequences that are there."""
    del name
    chunk = request.root / request.split
    if not (chunk / "anno").is_dir() and (request.root / "anno").is_dir():
        chunk = request.root
    present = {
        path.stem: partial(_sequence, request, path, chunk / "frames" / path.stem)
        for path in sorted((chunk / "anno").glob("*.txt"))
        if not path.name.startswith(".")
    }
    return Contents(
        present,
        num_published=_NUM_TEST if request.split == "TEST" else _NUM_TRAIN,
        names_in="the devkit's anno archive of the chunk",
    )


def _sequence(request: Request, truth: Path, folder: Path) -> TrackingSequence:
    boxes = read_truth(truth, one_based=False)
    given = len(boxes) > 1
    if given:
        frames = frames_of(folder, len(boxes), request.images)
    else:
        count = count_images(folder)
        if count == 0:
            raise UsageError(f"{folder} holds no image, and its truth has only the first box")
        frames = FrameFolder(folder, count)
        boxes = np.concatenate([boxes, np.full((count - 1, 4), np.nan)])
    return TrackingSequence(name=truth.stem, frames=frames, boxes=boxes, given=given)


def _chunks(folder: Path) -> list[Path]:
    return [folder / "TEST", *(folder / f"TRAIN_{number}" for number in range(12))]
