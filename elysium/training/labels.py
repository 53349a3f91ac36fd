"""What a vision tower is taught before the language model comes: of each patch, what lies there.

The paper starts from CLIP's tower, which has read 400 M captioned pictures. The simulator knows exactly what is where,
so a tower of a few hundred thousand parameters can be told. Axes: F frames, N patches of a frame, row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from elysium.data.records import AnnotatedObject
from elysium.data.simulator import simulate
from elysium.data.vocabulary import COLOURS, SHAPES, SIZES
from elysium.model.frames import resize_frame

_MIN_VISIBLE = 0.5
_CLIPS_A_JOB = 100
_WORDS = (tuple(COLOURS), tuple(SHAPES), tuple(SIZES))


@dataclass(frozen=True)
class PatchLabels:
    """Frames, and of each patch what lies there.

    Attributes:
        images: Shape `(F, side, side, 3)`, uint8, RGB.
        covered: Shape `(F, N)`, bool: whether the patch's centre lies in an object's box, or an object's centre in the
            patch.
        centred: Shape `(F, N)`, bool: whether an object's centre lies in the patch.
        boxes: Shape `(F, N, 4)`, normalised; of the front object, where covered.
        words: Shape `(F, N, 3)`: its colour, shape and size, as numbers of the simulator's words.
    """

    images: Tensor
    covered: Tensor
    centred: Tensor
    boxes: Tensor
    words: Tensor

    def __len__(self) -> int:
        return len(self.images)

    @staticmethod
    def join(parts: Sequence[PatchLabels]) -> PatchLabels:
        """Returns the frames of several as one."""
        return PatchLabels(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(PatchLabels)))


class NumberedPatches(Dataset[dict[str, Tensor]]):
    """An endless supply of frames with their labels: number `i` is drawn by the seed and `i` alone."""

    def __init__(self, labels: PatchLabels, length: int, seed: int) -> None:
        self._labels = labels
        self._length = length
        self._seed = seed

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        number = int(np.random.default_rng([self._seed, index]).integers(len(self._labels)))
        return {field.name: getattr(self._labels, field.name)[number] for field in fields(PatchLabels)}


def draw_labels(
    clips: Sequence[int], side: int, grid: int, num_frames: int, interval: int, jobs: int = 1
) -> PatchLabels:
    """Returns labelled frames of simulated clips, the same ones for the same arguments.

    Args:
        clips: Seeds.
        side: Width and height of a frame, in pixels.
        grid: Patches across and down.
        num_frames: Of a clip.
        interval: Every so many frames of a clip are taken.
        jobs: Processes.
    """
    parts = [clips[at : at + _CLIPS_A_JOB] for at in range(0, len(clips), _CLIPS_A_JOB)]
    sizes = [[value] * len(parts) for value in (side, grid, num_frames, interval)]
    if jobs == 1:
        return PatchLabels.join(list(map(_draw, parts, *sizes)))
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return PatchLabels.join(list(pool.map(_draw, parts, *sizes)))


def _draw(clips: Sequence[int], side: int, grid: int, num_frames: int, interval: int) -> PatchLabels:
    images, labels = [], []
    for seed in clips:
        clip = simulate(seed, num_frames)
        for number in range(seed % interval, num_frames, interval):
            images.append(resize_frame(clip.frames[number], side))
            labels.append(label_patches(_shown(clip.annotations.objects, number), grid))
    covered, centred, boxes, words = (torch.from_numpy(np.stack(column)) for column in zip(*labels, strict=True))
    return PatchLabels(torch.from_numpy(np.stack(images)), covered, centred, boxes, words)


def label_patches(
    things: Sequence[tuple[str, Sequence[float]]], grid: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Returns `covered`, `centred`, `boxes` and `words` of one frame, as in `PatchLabels`.

    Args:
        things: Name and normalised box of the objects that it shows, nearest first.
        grid: Patches across and down.
    """
    covered, centred = np.zeros((2, grid, grid), dtype=bool)
    boxes, words = np.zeros((grid, grid, 4), np.float32), np.zeros((grid, grid, 3), np.int64)
    middles = (np.arange(grid) + 0.5) / grid
    for name, box in reversed(things):
        x1, y1, x2, y2 = box
        inside = ((middles > y1) & (middles < y2))[:, None] & ((middles > x1) & (middles < x2))
        centre = tuple(min(int((low + high) / 2 * grid), grid - 1) for low, high in ((y1, y2), (x1, x2)))
        inside[centre] = centred[centre] = True
        covered |= inside
        boxes[inside] = box
        words[inside] = _word_numbers(name)
    return covered.ravel(), centred.ravel(), boxes.reshape(-1, 4), words.reshape(-1, 3)


def _shown(objects: Sequence[AnnotatedObject], frame: int) -> list[tuple[str, Sequence[float]]]:
    """Returns name and box of the objects that are not mostly hidden in a frame."""
    boxes = [thing.boxes[frame] if thing.visibility[frame] >= _MIN_VISIBLE else None for thing in objects]
    return [(thing.expression, box) for thing, box in zip(objects, boxes, strict=True) if box is not None]


def _word_numbers(expression: str) -> tuple[int, ...]:
    given = expression.split()
    named = (given[-2], given[-1], given[1] if given[1] in SIZES else "medium")
    return tuple(words.index(word) for words, word in zip(_WORDS, named, strict=True))


NUM_WORDS = tuple(map(len, _WORDS))
