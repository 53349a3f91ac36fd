"""What a reader is given and what it gives: annotation files and images in, samples out, broken ones with a reason."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from elysium.boxes import BoxCodec
from elysium.data.sets.schema import SetRecord
from elysium.data.stored_frames import is_stored

Value = TypeVar("Value")
_PATHS = 1 << 16  # of images looked at last; clips share frames, and images several samples


class BrokenSample(Exception):
    """A sample, or an object of one, that cannot be used; the message is the reason, without ids and values."""


@dataclass(frozen=True)
class Sample:
    """One sample of a set, not yet converted.

    Attributes:
        id: Unique in the set.
        make: Returns the record, or raises BrokenSample.
        split: The part of the set it belongs to; None where the set has no parts.
    """

    id: str
    make: Callable[[], SetRecord]
    split: str | None = None


class Images:
    """The folder with a set's images or videos.

    Args:
        root: The folder.
        check: Whether images that are not there break their sample; without, no image is looked for.
    """

    def __init__(self, root: Path, check: bool = True) -> None:
        self.root, self.check = root, check
        self._is_file = lru_cache(_PATHS)(self._look_for)
        self._sizes = lru_cache(_PATHS)(self._read_size)

    def find(self, *names: str) -> str:
        """Returns the first of several relative paths that is there, or just the first if nothing is checked.

        Raises:
            BrokenSample: If none is there, or one leads out of the folder.
        """
        for name in names:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name or "\0" in name:
                raise BrokenSample("the image's path leads out of the images' folder")
        if not self.check:
            return names[0]
        for name in names:
            if self._is_file(name):
                return name
        raise BrokenSample("the image is missing")

    def size(self, name: str) -> tuple[int, int]:
        """Returns `(width, height)` in pixels from the image's header.

        Raises:
            BrokenSample: If it cannot be read.
        """
        found = self._sizes(name)
        if found is None:
            raise BrokenSample("the image's size is needed and cannot be read")
        return found

    def _look_for(self, name: str) -> bool:
        return is_stored(self.root / name)

    def _read_size(self, name: str) -> tuple[int, int] | None:
        from PIL import Image

        try:
            with Image.open(self.root / name) as image:
                return image.size
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return None


@dataclass(frozen=True)
class Source:
    """What a reader reads.

    Attributes:
        name: Of the set, which its records carry.
        title: Of the set, for messages.
        paths: Annotation files and folders, as given.
        images: Where the images or videos are.
        split: The part that is wanted; None is all.
        codec: How boxes are written in text.
        dropped: How many objects and turns were left out of samples, by reason.
        passed_over: How many samples belong to another part, or another set in the same file, by its name.
    """

    name: str
    title: str
    paths: Sequence[Path]
    images: Images
    split: str | None = None
    codec: BoxCodec = field(default_factory=BoxCodec)
    dropped: Counter[str] = field(default_factory=Counter)
    passed_over: Counter[str] = field(default_factory=Counter)

    @contextlib.contextmanager
    def part(self) -> Iterator[None]:
        """Counts what breaks in the block as one object or turn that is left out; the sample goes on without it."""
        try:
            yield
        except BrokenSample as error:
            self.dropped[str(error)] += 1


def take(row: Any, name: str, kind: type[Value] | tuple[type[Value], ...]) -> Value:
    """Returns a field of a JSON object.

    Args:
        row: What should be an object.
        name: Of the field.
        kind: What the value must be; text must not be blank, and comes stripped.

    Raises:
        BrokenSample: If it is missing or of another kind.
    """
    if not isinstance(row, dict):
        raise BrokenSample("not a JSON object")
    value = row.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise BrokenSample(f"{name} is missing")
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise BrokenSample(f"{name} is of the wrong kind")
    return value.strip() if isinstance(value, str) else value  # type: ignore[return-value] # stripped text is text


def take_first(row: Any, names: Sequence[str], kind: type[Value] | tuple[type[Value], ...]) -> Value:
    """Returns the first of several fields that a JSON object has, as `take` does.

    Raises:
        BrokenSample: As `take`; if none is there, the first name is the one that is missing.
    """
    given = row if isinstance(row, dict) else {}
    return take(row, next((name for name in names if given.get(name) is not None), names[0]), kind)


def take_id(row: Any, name: str) -> str:
    """Returns a field that identifies something, a number or text, as text.

    Raises:
        BrokenSample: As `take`.
    """
    return str(take(row, name, (int, str)))


def id_or(row: Any, names: Sequence[str], otherwise: str) -> str:
    """Returns the first of several fields that identifies a row, or `otherwise`; also of a broken row."""
    for name in names:
        with contextlib.suppress(BrokenSample):
            return take_id(row, name)
    return otherwise


def take_size(row: Any, width: str = "width", height: str = "height") -> tuple[int, int] | None:
    """Returns an image's `(width, height)` in pixels from a row's fields, or None if it does not state both.

    Raises:
        BrokenSample: If they are no size.
    """
    if not isinstance(row, dict) or row.get(width) is None or row.get(height) is None:
        return None
    size = take(row, width, int), take(row, height, int)
    if min(size) < 1:
        raise BrokenSample("the image's stated size is not positive")
    return size
