"""Results as text: JSON lines, the result files of LaSOT and OTB, and MOTChallenge's.

Pixels of the last three count from 1, as in all published files: `x = x1 + 1`, where x1 counts from 0.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TextIO

from elysium.inference.results import FrameResult, PixelBox
from elysium.inference.writers.base import part_path, publish

# Zeros would do for the toolkits, which take any box without size for none; but the centre of a box of zeros lies in
# the image's corner, where it can be near enough to a true one to count as precise. NaN is never a hit, in the
# toolkits of LaSOT and OTB as in `elysium evaluate score`.
_NO_BOX = "NaN,NaN,NaN,NaN\n"


class JsonLinesWriter:
    """One line per object and frame, in the file as soon as the frame is there; `-` is standard output.

    Unlike the others this file grows in its place, to be read while it does.

    Args:
        path: Where to.
        resume: Keeps the lines that stand in the file as long as the results are the same, instead of emptying it
            first, so that a reader who follows the file loses nothing. From the first other line on it is written anew.
    """

    needs_images = False

    def __init__(self, path: Path, resume: bool = False) -> None:
        self._file = None if str(path) == "-" else path.open("r+b" if resume and path.is_file() else "w+b")
        self._kept = resume

    def write(self, result: FrameResult) -> None:
        """Adds a frame's lines and flushes them."""
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in result.as_lines())
        if self._file is None:
            sys.stdout.write(text)
            sys.stdout.flush()
            return
        data = text.encode()
        if self._kept:
            start = self._file.tell()
            if self._file.read(len(data)) == data:
                return
            self._kept = False
            self._file.seek(start)
            self._file.truncate()
        self._file.write(data)
        self._file.flush()

    def finish(self) -> None:
        """Closes the file; lines of an earlier run behind the last one are cut off."""
        if self._file is not None and not self._file.closed:
            self._file.truncate()
            self._file.close()

    def abort(self) -> None:
        """Closes the file; what was written stays, for it was read by others already."""
        if self._file is not None:
            self._file.close()


class BoxFileWriter:
    """LaSOT's and OTB's result files: `x,y,w,h` a line, one line for each frame that was tracked.

    One object is written to the path itself, several to `STEM_1.txt`, `STEM_2.txt`, … by their ids. A frame in which
    the object is absent is a line of NaN. The toolkits want a line for every frame of the video: lines are not
    numbered, so with a stride or a range they belong to the frames that were tracked.

    Args:
        path: Where to.
    """

    needs_images = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[int, TextIO] = {}
        self._parts: dict[int, Path] = {}
        self._rows = 0
        self._done = False

    def write(self, result: FrameResult) -> None:
        """Adds one line to each object's file."""
        rows = {found.id: _row(found.box) for found in result.objects}
        for number in rows.keys() - self._files.keys():
            self._open(number)
        for number, file in self._files.items():
            file.write(rows.get(number, _NO_BOX))
        self._rows += 1

    def finish(self) -> None:
        """Puts the files in their places; without any result, one empty file."""
        if self._done:
            return
        self._done = True
        if not self._files:
            self._open(1)
        for number, file in self._files.items():
            file.close()
            name = f"{self._path.stem}_{number}{self._path.suffix}" if len(self._files) > 1 else self._path.name
            publish(self._parts[number], self._path.with_name(name))

    def abort(self) -> None:
        """Removes the unfinished files."""
        self._done = True
        for number, file in self._files.items():
            file.close()
            self._parts[number].unlink(missing_ok=True)

    def _open(self, number: int) -> None:
        part = part_path(self._path.with_name(f"{self._path.name}.{number}"))
        self._parts[number] = part
        self._files[number] = part.open("w", encoding="ascii", newline="\n")
        for _ in range(self._rows):  # an object that joined later was absent before
            self._files[number].write(_NO_BOX)


class MotWriter:
    """MOTChallenge's result file: `frame,id,left,top,width,height,confidence,-1,-1,-1`, frames and pixels from 1.

    The frame is its number in the video itself. An absent object has no line.

    Args:
        path: Where to.
    """

    needs_images = False

    def __init__(self, path: Path) -> None:
        self._path, self._part = path, part_path(path)
        self._file = self._part.open("w", encoding="ascii", newline="\n")

    def write(self, result: FrameResult) -> None:
        """Adds a line for each object that is there."""
        for found in result.objects:
            if found.box is not None:
                row = _row(found.box).strip()
                self._file.write(f"{result.frame + 1},{found.id},{row},{found.confidence:.4f},-1,-1,-1\n")

    def finish(self) -> None:
        """Puts the file in its place."""
        if not self._file.closed:
            self._file.close()
            publish(self._part, self._path)

    def abort(self) -> None:
        """Removes the unfinished file."""
        self._file.close()
        self._part.unlink(missing_ok=True)


def _row(box: PixelBox | None) -> str:
    if box is None:
        return _NO_BOX
    x1, y1, x2, y2 = box
    return f"{x1 + 1:.2f},{y1 + 1:.2f},{x2 - x1:.2f},{y2 - y1:.2f}\n"
