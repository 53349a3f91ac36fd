"""What the readers of tracking sets share: truth files, flags, and whether images and rows belong together."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from elysium.boxes import FloatArray, xywh_to_xyxy
from elysium.errors import UsageError
from elysium.evaluation.tracking.facts import Frames
from elysium.evaluation.tracking.rows import read_boxes, read_bytes
from elysium.evaluation.tracking.sequences import (
    BoolArray,
    FrameFolder,
    TrackingSequence,
    count_images,
    finite_rows,
)

_BETWEEN = b",; \t\r\n"
_FLAGS = re.compile(rb"\s*[01](?:[,;\s]+[01])*[,;\s]*")


@dataclass(frozen=True)
class Request:
    """What a reader is asked for.

    Attributes:
        root: Where the set's layout begins.
        split: Of the set.
        images: Whether images are needed and counted; without, the truth alone does.
        attributes: Folder of attribute files, where they lie apart from the set.
    """

    root: Path
    split: str
    images: bool = True
    attributes: Path | None = None

    def attribute_file(self, folders: Iterable[Path], *names: str) -> Path | None:
        """Returns a sequence's attribute file: from the folder that was named, else from where the set may have it.

        Raises:
            UsageError: If a folder was named and does not hold it.
        """
        places = [self.attributes] if self.attributes else list(folders)
        for place in places:
            for name in names:
                if (place / name).is_file():
                    return place / name
        if self.attributes:
            raise UsageError(f"{self.attributes} holds no attributes {' or '.join(names)}")
        return None


@dataclass(frozen=True)
class Contents:
    """What lies in a set's folder.

    Attributes:
        present: Sequence name to what reads it.
        published: Names of all sequences of the set, where they are known.
        num_published: How many there are, where only that is known.
        names_in: What to look up the names of missing sequences in, where they are not known.
    """

    present: Mapping[str, Callable[[], TrackingSequence]]
    published: Collection[str] = ()
    num_published: int | None = None
    names_in: str = field(default="")


def read_truth(path: Path, one_based: bool) -> FloatArray:
    """Returns a truth file of `x,y,w,h` rows as boxes, shape `(T, 4)`, `(x1, y1, x2, y2)` in pixels counted from 0.

    Rows that are no box, because they are not finite or have no size, are NaN.

    Raises:
        UsageError: If the file is missing, empty or malformed.
    """
    return to_boxes(_rows(path), one_based)


def to_boxes(rows: FloatArray, one_based: bool) -> FloatArray:
    """Returns `x,y,w,h` rows as boxes like `read_truth`.

    Example:
        >>> to_boxes(np.array([[1.0, 1, 10, 10], [0, 0, 0, 0]]), one_based=True).tolist()
        [[0.0, 0.0, 10.0, 10.0], [nan, nan, nan, nan]]
    """
    rows = np.asarray(rows, dtype=np.float64)
    boxes = xywh_to_xyxy(rows) - float(one_based)
    with np.errstate(invalid="ignore"):
        boxes[~(finite_rows(rows) & (rows[:, 2] > 0) & (rows[:, 3] > 0))] = np.nan
    return boxes


def read_values(path: Path) -> FloatArray:
    """Returns all numbers of a file of flags, shape `(n,)`.

    Raises:
        UsageError: If the file is missing or holds something else.
    """
    data = read_bytes(path).replace(b",", b" ").replace(b";", b" ").split()
    try:
        return np.array(data, dtype=np.float64)
    except ValueError:
        raise UsageError(f"{path} holds something that is no number") from None


def read_flags(path: Path, length: int) -> BoolArray:
    """Returns a file of one flag a frame, 0 or 1, shape `(length,)`.

    Raises:
        UsageError: If there are more or fewer flags, or others.
    """
    data = read_bytes(path)
    if _FLAGS.fullmatch(data):  # as they all are, and several times as fast as reading numbers
        values = np.frombuffer(data.translate(None, _BETWEEN), dtype=np.uint8) - float(ord("0"))
    else:
        values = read_values(path)
    if len(values) != length or not np.isin(values, (0, 1)).all():
        raise UsageError(f"{path}: one flag, 0 or 1, for each of {length} frames is needed, got {len(values)} values")
    return values > 0


def read_attributes(path: Path | None, names: Sequence[str]) -> tuple[str, ...] | None:
    """Returns which attributes a file of one number for each of `names` sets; None without a file.

    Raises:
        UsageError: If it holds more or fewer numbers.
    """
    if path is None:
        return None
    values = read_values(path)
    if len(values) != len(names):
        raise UsageError(f"{path}: one flag for each of {', '.join(names)} is needed, got {len(values)} values")
    return tuple(name for name, value in zip(names, values, strict=True) if value > 0)


def read_text(path: Path) -> str | None:
    """Returns a file's text in one line, without the full stop at its end; None if it is missing or empty."""
    if not path.is_file():
        return None
    text = " ".join(read_bytes(path).decode("utf-8-sig", errors="replace").split())
    return text.rstrip(".").strip() or None


def frames_of(
    folder: Path, rows: int, images: bool, numbers: Frames | None = None, known: int | None = None
) -> FrameFolder:
    """Returns the frames of a sequence, after their number was compared with the rows of its truth.

    Args:
        folder: With the images.
        rows: Of the truth.
        images: Whether images are needed and counted.
        numbers: Which of the folder's images are meant, by the numbers in their names; None for all.
        known: Number of frames as published, where it is known: then images that the truth does not reach are left
            out in peace, as some downloads have one too many, and a truth that was cut short is seen.

    Raises:
        UsageError: If the numbers do not fit; the message holds both.
    """
    expected = numbers.length if numbers else known
    if expected is not None and rows != expected:
        raise UsageError(f"its truth has {rows} rows, and {expected} frames are published")
    found = count_images(folder, *numbers) if numbers else count_images(folder)
    if images and (found < rows or (found > rows and expected is None)):
        where = f" numbered {numbers.first} to {numbers.last}" if numbers else ""
        raise UsageError(f"{folder} holds {found} images{where}, and its truth has {rows} rows")
    return FrameFolder(folder, rows, numbers.first if numbers else None)


def _rows(path: Path) -> FloatArray:
    rows = read_boxes(path)
    if len(rows) == 0:
        raise UsageError(f"{path} is empty")
    return rows
