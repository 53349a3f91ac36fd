"""Text files of boxes, one row a frame: read fast when they are sound, and told apart when they are not."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np

from elysium.boxes import FloatArray
from elysium.errors import UsageError

_SEPARATORS = bytes.maketrans(b",;\t\r", b"    ")
_BOM = b"\xef\xbb\xbf"


def read_boxes(path: Path) -> FloatArray:
    """Returns the rows of a result or ground-truth file, shape `(n, 4)`; commas, tabs, spaces or semicolons part them.

    Raises:
        UsageError: If a row does not hold four numbers, or the file is no text; the message names it.
    """
    return parse_boxes(read_bytes(path), str(path))


def read_bytes(path: Path) -> bytes:
    """Returns a file's content.

    Raises:
        UsageError: If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error


def parse_boxes(data: bytes, where: str) -> FloatArray:
    """Returns the rows of a file's content, shape `(n, 4)`; n is 0 for a file of white space.

    Args:
        data: UTF-8 or ASCII text.
        where: Name of the file, for messages.

    Raises:
        UsageError: As `read_boxes`.

    Example:
        >>> parse_boxes(b"1,2,3,4\\n5;6;7;8\\n", "x.txt").tolist()
        [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]
    """
    if b"\0" in data:
        raise UsageError(f"{where} is no text file of boxes: it holds bytes of zero, as binary files do")
    text = data.removeprefix(_BOM).translate(_SEPARATORS)
    if not text.strip():
        return np.empty((0, 4))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # Four times as fast as a loop over the lines; it takes nothing but one number of columns.
            rows = np.loadtxt(io.BytesIO(text), dtype=np.float64, ndmin=2, comments=None, encoding="ascii")
    except (ValueError, UnicodeError, Warning):
        rows = np.empty((0, 0))
    return rows if rows.shape[1] == 4 else _slowly(data, where)


def _slowly(data: bytes, where: str) -> FloatArray:
    """Reads line by line, to name the one that is wrong."""
    rows: list[list[float]] = []
    lines = data.removeprefix(_BOM).decode("utf-8", errors="replace").splitlines()
    last = max((number for number, line in enumerate(lines, start=1) if line.strip()), default=0)
    for number, line in enumerate(lines, start=1):
        words = line.replace(",", " ").replace(";", " ").split()
        if not words:
            continue
        try:
            values = [float(word) for word in words]
        except ValueError:
            values = []
        if len(values) != 4:
            cut = "; the file was cut short in its last line" if number == last and 0 < len(words) < 4 and rows else ""
            raise UsageError(
                f"{where}, line {number}: four numbers x,y,w,h are needed, got {_shown(line.strip())}{cut}"
            )
        rows.append(values)
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def _shown(text: str, limit: int = 60) -> str:
    return repr(text if len(text) <= limit else text[:limit] + "…")
