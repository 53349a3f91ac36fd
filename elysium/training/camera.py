"""A camera that moves on: objects are cut off by the frame's border, leave, and come back.

Track records hold objects that stay in view, so a model that is trained on them alone has never seen one that does not.
Showing their frames through a moving window gives such clips, with exact boxes, from any records. What comes into view
at the other side is the background, mirrored; sizes stay what the expressions say.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from elysium.boxes import FloatArray

# How far the camera goes, where 1 is just far enough for the object to be out of view.
_REACH = (0.5, 1.5)
_COMES_BACK, _BEGINS_AWAY = 0.5, 0.25

Frames = npt.NDArray[np.uint8]


def sample_path(rng: np.random.Generator, boxes: FloatArray) -> FloatArray:
    """Returns how far the camera shifts what is seen in each frame, shape `(T, 2)`, in sides of the frame.

    It moves along one axis past the object, or part of the way, stays there, and may come back; some paths begin there,
    and some of these never show the object.

    Args:
        rng: Draws.
        boxes: Of an object, normalised, shape `(T, 4)`.
    """
    count = len(boxes)
    axis, forward = int(rng.integers(2)), bool(rng.random() < 0.5)
    whole = float((1 - boxes[:, axis]).max() if forward else boxes[:, 2 + axis].max())
    first, second = np.sort(rng.uniform(0, count, size=2))
    begin, end = float(rng.random() < _BEGINS_AWAY), float(rng.random() >= _COMES_BACK)
    away = np.interp(np.arange(count), [0, first, second, count], [begin, 1, 1, end]) if count > 1 else np.ones(1)
    path = np.zeros((count, 2))
    path[:, axis] = away * rng.uniform(*_REACH) * whole * (1 if forward else -1)
    return path


def move_camera(frames: Frames, background: Frames, shifts: npt.NDArray[np.int64]) -> Frames:
    """Returns frames as the moved camera sees them.

    Args:
        frames: Shape `(T, side, side, 3)`.
        background: What the frames show without moving objects, `(side, side, 3)`.
        shifts: Of what is seen, x and y, in pixels, at most `side` each way, shape `(T, 2)`.
    """
    side = frames.shape[1]
    around = np.pad(background, ((side, side), (side, side), (0, 0)), mode="symmetric")
    moved = np.empty_like(frames)
    for number, (frame, (x, y)) in enumerate(zip(frames, shifts, strict=True)):
        scene = around.copy()
        scene[side : 2 * side, side : 2 * side] = frame
        moved[number] = scene[side - y : 2 * side - y, side - x : 2 * side - x]
    return moved


def mean_background(frames: Frames, boxes: FloatArray) -> Frames:
    """Returns what frames show where no known object is, `(side, side, 3)`; plain where one always is.

    Args:
        frames: Of one video, shape `(T, side, side, 3)`.
        boxes: Of its known objects, normalised, shape `(num_objects, T, 4)`.
    """
    side = frames.shape[1]
    free = np.ones(frames.shape[:3], dtype=bool)
    for track in boxes:
        low, high = np.floor(track[:, :2] * side).astype(int) - 1, np.ceil(track[:, 2:] * side).astype(int) + 1
        for number, ((x1, y1), (x2, y2)) in enumerate(zip(low.clip(0), high, strict=True)):
            free[number, y1:y2, x1:x2] = False
    counts = free.sum(axis=0)
    sums = np.einsum("tyxc,tyx->yxc", frames.astype(np.float32), free.astype(np.float32))
    plain = sums.sum(axis=(0, 1)) / max(counts.sum(), 1)
    mean = np.where(counts[..., None] > 0, sums / counts.clip(1)[..., None], plain)
    return np.asarray(np.rint(mean).astype(np.uint8))


def seen_boxes(boxes: FloatArray, shifts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Returns what of each box the moved camera sees, `(T, 4)`, and its share of the box, `(T,)`.

    Args:
        boxes: Normalised, each with an area, shape `(T, 4)`.
        shifts: In sides of the frame, shape `(T, 2)`.
    """
    moved = boxes + np.tile(shifts, 2)
    cut = np.clip(moved, 0, 1)
    sizes, left = moved[:, 2:] - moved[:, :2], cut[:, 2:] - cut[:, :2]
    return cut, left.prod(axis=1) / np.maximum(sizes.prod(axis=1), 1e-12)


def fill_gone(rng: np.random.Generator, boxes: FloatArray, gone: npt.NDArray[np.bool_]) -> FloatArray:
    """Returns boxes with something in place of those that are gone: what a model reads that had to write a box.

    Half of the time that is the last box before (or the first after), else any box at all.
    """
    shown = np.flatnonzero(~gone)
    filled = boxes.copy()
    anything = shown.size == 0 or rng.random() < 0.5
    for frame in np.flatnonzero(gone):
        before = shown[shown < frame] if shown.size else shown
        if anything:
            filled[frame] = np.sort(rng.random((2, 2)), axis=0).reshape(4)
        else:
            filled[frame] = boxes[before[-1] if before.size else shown[0]]
    return filled
