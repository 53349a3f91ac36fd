"""What every tracking set is read into: sequences of frames with a box each, and the set they belong to."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from elysium.boxes import FloatArray
from elysium.errors import ElysiumError, UsageError

BoolArray = npt.NDArray[np.bool_]
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
_DIGITS = "0123456789"
_NUMBERS = re.compile(f"([{_DIGITS}]+)")


@dataclass(frozen=True, eq=False)
class TrackingSequence:
    """One target in one video.

    Attributes:
        name: Unique in its set; what result files are called by.
        frames: The T images in time order; a folder is listed when the first of them is asked for.
        boxes: Shape `(T, 4)`, `(x1, y1, x2, y2)` in pixels counted from 0, NaN where the target has no box: because it
            is not in the frame, because its box has no size, or because the truth is not public.
        given: Whether the truth is public beyond the first frame.
        absent: Shape `(T,)`, true where the set flags the target as not in view; None where it has no flags.
        counted: Shape `(T,)`, true for frames that the set's own protocol counts; None for all.
        attributes: Names of the challenges the set says the sequence holds; None where it does not say.
        object_class: What the target is; None where the set does not say.
        expression: The sentence that names the target; None where the set has none.
        frame_size: `(width, height)` in pixels where the set states it.
        one_based: Whether the set's files count pixels from 1, which some protocols depend on.
    """

    name: str
    frames: Sequence[Path]
    boxes: FloatArray
    given: bool = True
    absent: BoolArray | None = None
    counted: BoolArray | None = None
    attributes: tuple[str, ...] | None = None
    object_class: str | None = None
    expression: str | None = None
    frame_size: tuple[int, int] | None = None
    one_based: bool = False

    def size(self) -> tuple[int, int]:
        """Returns `(width, height)` in pixels, from the first image's header where the set does not state it.

        Raises:
            UsageError: If there is no image either.
            ElysiumError: If it cannot be read.
        """
        if self.frame_size:
            return self.frame_size
        if not self.frames:
            raise UsageError(
                f"the frame size of {self.name} is not known: neither the set nor an image says it; give --frame-size"
            )
        from PIL import Image

        path = self.frames[0]
        try:
            with Image.open(path) as image:
                return image.size
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ElysiumError(f"the picture {path} cannot be read: {error}") from error


@dataclass(frozen=True, eq=False)
class TrackingSet:
    """A published set, or a part of it that was asked for.

    Attributes:
        name: What commands call it.
        title: What people call it, with its split.
        split: Of the set.
        one_based: Whether the set's files, and so the result files for it, count pixels from 1.
        protocol: Name of the protocol that its figures are published by, see `PROTOCOLS`.
        scored: Which frames are scored, in words.
        sequences: By name.
        num_published: Number of sequences that the set has; None where nobody states it.
        left_out: Names of sequences that were not asked for, where only some were.
    """

    name: str
    title: str
    split: str
    one_based: bool
    protocol: str
    scored: str
    sequences: tuple[TrackingSequence, ...]
    num_published: int | None = None
    left_out: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all sequences of the set are in."""
        return not self.left_out and self.num_published in (None, len(self.sequences))

    @property
    def label(self) -> str:
        """The title, and for a part how much of the set it is: what stands beside each figure."""
        if self.complete:
            return self.title
        total = self.num_published or len(self.sequences) + len(self.left_out)
        return f"{self.title}, {len(self.sequences)} of {total} sequences"


class FrameFolder(Sequence[Path]):
    """The images of a folder in the order of their numbers, listed when the first one is asked for.

    Args:
        folder: With one image a frame.
        count: Number of frames.
        first: Number in the name of the first frame, where a sequence is a part of its folder; else the first `count`
            images are meant.
    """

    def __init__(self, folder: Path, count: int, first: int | None = None) -> None:
        self.folder, self._count, self._first = folder, count, first
        self._names: list[str] | None = None

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> list[Path]: ...
    def __getitem__(self, index: int | slice) -> Path | list[Path]:
        """Returns the path of a frame, or of several.

        Raises:
            ElysiumError: If the folder no longer holds as many images.
        """
        if self._names is None:
            names = list_images(self.folder, self._first, self._count)
            if len(names) < self._count:
                raise ElysiumError(f"{self.folder} holds {len(names)} of the {self._count} frames that are needed")
            self._names = names
        if isinstance(index, slice):
            return [self.folder / name for name in self._names[index]]
        return self.folder / self._names[index]

    def __repr__(self) -> str:
        return f"FrameFolder({str(self.folder)!r}, {self._count}, {self._first})"


def finite_rows(rows: FloatArray) -> BoolArray:
    """Returns which rows of shape `(n, 4)` hold finite numbers only, shape `(n,)`."""
    # A sum over four columns is several times as fast as `all`, and is finite where all of them are.
    with np.errstate(invalid="ignore"):
        return np.asarray(np.isfinite(rows[:, 0] + rows[:, 1] + rows[:, 2] + rows[:, 3]), dtype=bool)


def list_images(folder: Path, first: int | None = None, count: int | None = None) -> list[str]:
    """Returns the names of a folder's images in the order of the numbers in them; of a missing folder none.

    Args:
        folder: The folder; nothing is opened.
        first: Takes only images numbered from here on, by the last number in their name.
        count: Takes so many at the most: the first ones, or those with the `count` numbers from `first` on.
    """
    names = sorted(_images(folder), key=_natural)
    if first is None:
        return names[:count]
    stop = None if count is None else first + count
    return [name for name in names if (number := _number(name)) >= first and (stop is None or number < stop)]


def count_images(folder: Path, first: int | None = None, last: int | None = None) -> int:
    """Returns the number of a folder's images, or of those numbered `first` to `last`; of a missing folder 0."""
    names = _images(folder)
    if first is None or last is None:
        return len(names)
    return sum(first <= _number(name) <= last for name in names)


def _images(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [e.name for e in entries if e.name.lower().endswith(IMAGE_SUFFIXES) and not e.name.startswith(".")]
    except OSError:
        return []


def _natural(name: str) -> list[tuple[int, int | str]]:
    # TrackingNet's names are not padded (10.jpg comes after 9.jpg).
    return [(0, int(part)) if part[0] in _DIGITS else (1, part) for part in _NUMBERS.split(name) if part]


def _number(name: str) -> int:
    numbers = _NUMBERS.findall(Path(name).stem)
    return int(numbers[-1]) if numbers else -1
