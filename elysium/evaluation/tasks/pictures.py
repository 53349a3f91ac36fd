"""Frames of an evaluation item, read when they are looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from elysium.data.stored_frames import read_stored
from elysium.errors import ElysiumError

Image = npt.NDArray[np.uint8]

# Clips up to this long stay in memory until they are forgotten, for several systems look at them.
_KEPT = 32


class Pictures(Sequence[Image]):
    """Pictures as a list of images, each `(height, width, 3)`, uint8, RGB.

    Args:
        paths: The files, or frames of clips as track records name them.
        what: Of what they are, for messages, e.g. `record clip-0`.
    """

    def __init__(self, paths: Sequence[Path], what: str) -> None:
        self._paths, self._what = paths, what
        self._read: dict[int, Image] = {}

    @property
    def paths(self) -> Sequence[Path]:
        """The files."""
        return self._paths

    def forget(self) -> None:
        """Lets go of the images that are in memory; they are read again when they are looked at."""
        self._read.clear()

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> Pictures: ...
    def __getitem__(self, index: int | slice) -> Image | Pictures:
        if isinstance(index, slice):
            return Pictures(self._paths[index], self._what)
        number = range(len(self._paths))[index]
        image = self._read.get(number)
        if image is None:
            path = self._paths[number]
            try:
                image = read_stored(path)
            except ValueError as error:
                raise ElysiumError(f"the frame {path} of {self._what} cannot be read: {error}") from error
            if len(self._paths) <= _KEPT:
                self._read[number] = image
        return image

    def __iter__(self) -> Iterator[Image]:
        return (self[number] for number in range(len(self._paths)))
