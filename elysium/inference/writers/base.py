"""What every writer of results can do, and how a file comes to its place only when it is whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from elysium.inference.results import FrameResult


class Writer(Protocol):
    """Writes results as they come; memory does not grow with their number.

    Attributes:
        needs_images: Whether results must carry their images.
    """

    needs_images: bool

    def write(self, result: FrameResult) -> None:
        """Adds a frame; frames come in order.

        Raises:
            ValueError: If the image is needed and missing.
        """

    def finish(self) -> None:
        """Makes the file whole with what has come so far, and puts it in its place; may be called twice."""

    def abort(self) -> None:
        """Removes what was written beside the file; one that stood in its place before stays; may be called twice."""


def part_path(path: Path) -> Path:
    """Returns where a file grows before it is whole.

    The name is the same in every run, so that what a killed run left behind is written over by the next one.

    Example:
        >>> part_path(Path("out/clip.mp4")).as_posix()
        'out/.clip.mp4.part'
    """
    return path.with_name(f".{path.name}.part")


def publish(part: Path, path: Path) -> None:
    """Puts a whole file in its place; readers see either the old one or all of the new."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
