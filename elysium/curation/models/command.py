"""Any tracker that runs from the command line, MixFormer for one: frames as files in, one box a frame out."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from elysium.boxes import FloatArray, normalise, to_pixels, xywh_to_xyxy, xyxy_to_xywh
from elysium.curation.models.outputs import BOX_DIGITS
from elysium.curation.protocols import Frame, Track
from elysium.errors import ElysiumError, UsageError

_PLACEHOLDERS = ("{frames}", "{box}", "{output}")
_SEPARATORS = re.compile(r"\s*[,;\s]\s*")
_SHOWN = 5  # lines of what the command wrote that an error repeats
_NUMBERS = {4, 5}  # of a line of results: a box, or a box and a confidence


class CommandTracker:
    """Follows a box with a program of the user's: one run an object.

    Frames are PNG files, so that the program sees the very pixels that the grounder saw.
    """

    def __init__(self, command: str, timeout: float) -> None:
        """Checks the command.

        Args:
            command: Words as a shell would split them; `{frames}` stands for the folder of `00000001.png`,
                `00000002.png`, …, `{box}` for the first frame's `x,y,width,height` in pixels counted from 0, and
                `{output}` for the file that is to be written. No shell runs it.
            timeout: Seconds that one run may take.

        Raises:
            UsageError: If there is no command, it lacks a placeholder, or its program is not installed.
        """
        self._timeout = timeout
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"curate.tracker_command: {command!r} cannot be split into words: {error}") from error
        absent = [name for name in _PLACEHOLDERS if not any(name in word for word in self._words)]
        if absent:
            raise UsageError(
                f"curate.tracker_command: {command!r} does not say {', '.join(absent)}; write, for example, "
                "'python my_tracker.py --frames {frames} --box {box} --output {output}'"
            )
        if shutil.which(self._words[0]) is None:
            raise UsageError(f"curate.tracker_command: there is no program {self._words[0]!r} on this machine")

    def track(self, frames: Sequence[Frame], box: Sequence[float]) -> Track:
        """Returns the track that the command writes; see `track_objects`.

        Args:
            frames: In time order, all of one size.
            box: Normalised `(x1, y1, x2, y2)` in the first frame.

        Raises:
            ElysiumError: If the command fails, takes too long, or writes no such file.
        """
        return self.track_objects(frames, [box])[0]

    def track_objects(self, frames: Sequence[Frame], boxes: Sequence[Sequence[float]]) -> list[Track]:
        """Returns the track of each box; the frames are written once, and the command runs once a box.

        Where a line has no confidence, it is 1 wherever there is a box.

        Raises:
            ElysiumError: If the command fails, takes too long, or writes no such file.
        """
        if not boxes:
            return []
        with tempfile.TemporaryDirectory(prefix="elysium-tracker-") as name:
            scratch = Path(name)
            folder = scratch / "frames"
            self._write(frames, folder)
            height, width = frames[0].image.shape[:2]
            return [self._follow(folder, scratch, len(frames), box, (width, height)) for box in boxes]

    def _write(self, frames: Sequence[Frame], folder: Path) -> None:
        try:
            folder.mkdir()
            for number, frame in enumerate(frames, start=1):
                Image.fromarray(frame.image).save(folder / f"{number:08d}.png", compress_level=1)
        except OSError as error:
            raise ElysiumError(f"frames for {self} cannot be written to {folder}: {error}") from error

    def _follow(
        self, folder: Path, scratch: Path, num_frames: int, box: Sequence[float], size: tuple[int, int]
    ) -> Track:
        pixels = ",".join(f"{number:.2f}" for number in xyxy_to_xywh(to_pixels(box, size)))
        output = scratch / "boxes.txt"
        output.unlink(missing_ok=True)
        values = dict(zip(_PLACEHOLDERS, (str(folder), pixels, str(output)), strict=True))
        self._run([_filled(word, values) for word in self._words], scratch / "log.txt")
        try:
            lines = output.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise ElysiumError(f"{self} ended well but wrote no boxes to {{output}}: {error}") from error
        while lines and not lines[-1].strip():
            lines.pop()
        if len(lines) != num_frames:
            raise ElysiumError(f"{self} wrote {len(lines)} lines for {num_frames} frames; one a frame, the first too")
        numbers = np.array([self._read(number, line) for number, line in enumerate(lines, start=1)])
        return _track(numbers, size)

    def _run(self, words: list[str], log: Path) -> None:
        """Runs the command to its end; what it leaves running is ended too."""
        with log.open("wb") as written:
            try:
                process = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=written, stderr=written, start_new_session=True
                )
            except OSError as error:
                raise ElysiumError(f"{self} cannot be started: {error}") from error
            try:
                code: int | None = process.wait(self._timeout)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end(process)
        if code is None:
            raise ElysiumError(
                f"{self} was still running after {self._timeout:g} seconds (curate.tracker_timeout){_last_lines(log)}"
            )
        if code != 0:
            raise ElysiumError(f"{self} ended with exit code {code}{_last_lines(log)}")

    def _read(self, number: int, line: str) -> list[float]:
        """Returns x, y, width, height and confidence of one line."""
        parts = _SEPARATORS.split(line.strip())
        try:
            values = [float(part) for part in parts]
        except ValueError:
            values = []
        if len(values) not in _NUMBERS:
            raise ElysiumError(f"{self} wrote {line!r} in line {number}, not x,y,width,height[,confidence]")
        if len(values) == max(_NUMBERS) and (values[-1] < 0 or values[-1] > 1):
            raise ElysiumError(f"{self} wrote the confidence {values[-1]:g} in line {number}; it lies in [0, 1]")
        return [*values, 1.0][:5]

    def __str__(self) -> str:
        return f"the tracker `{shlex.join(self._words)}`"


def _filled(word: str, values: dict[str, str]) -> str:
    return re.sub("|".join(map(re.escape, values)), lambda match: values[match[0]], word)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends all that a command started, which is a process group of its own."""
    with suppress(ProcessLookupError, PermissionError):  # where nothing is left of it
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_lines(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return "; it wrote at last:\n" + "\n".join(lines[-_SHOWN:]) if lines else "; it wrote nothing"


def _track(numbers: FloatArray, size: tuple[int, int]) -> Track:
    """Returns the track of lines `(T, 5)`; a box that is none, or lies outside the frame, says that it was lost."""
    given = np.isfinite(numbers).all(axis=1, keepdims=True)
    boxes = normalise(xywh_to_xyxy(np.where(given, numbers[:, :4], 0.0)), size).round(BOX_DIGITS)
    there = np.array([x1 < x2 and y1 < y2 for x1, y1, x2, y2 in boxes])
    return Track(np.where(there[:, None], boxes, 0.0), np.where(there, numbers[:, 4], 0.0))
