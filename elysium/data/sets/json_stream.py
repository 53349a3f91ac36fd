"""JSON files larger than memory: the entries of one array or object, one at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from elysium.errors import UsageError

_CHUNK = 1 << 20
_MAX_ENTRY = 1 << 28
_SPACE = " \t\r\n"


def stream_array(path: Path, key: str | None = None) -> Iterator[Any]:
    """Yields the entries of the file's array, or of the array that its object holds under `key`.

    Memory holds one entry and a chunk of the file. An object without the key yields nothing.

    Raises:
        UsageError: If the file is not JSON, is cut short, holds no array there or something behind it; the message
            names the place.
    """
    with path.open(encoding="utf-8-sig") as file:
        scanner = _Scanner(file, path)
        if key is None:
            yield from scanner.entries()
            scanner.end()
            return
        for found in scanner.members():
            if found == key:
                yield from scanner.entries()
                return
            scanner.skip()


def stream_object(path: Path) -> Iterator[tuple[str, Any]]:
    """Yields the keys and values of the file's object.

    Raises:
        UsageError: If the file is not JSON, is cut short, or holds no object.
    """
    with path.open(encoding="utf-8-sig") as file:
        scanner = _Scanner(file, path)
        for key in scanner.members():
            yield key, scanner.value()
        scanner.end()


def small_values(path: Path) -> dict[str, Any]:
    """Returns the values of the file's object that are not arrays; arrays are passed over.

    Raises:
        UsageError: As `stream_object`.
    """
    found = {}
    with path.open(encoding="utf-8-sig") as file:
        scanner = _Scanner(file, path)
        for key in scanner.members():
            if scanner.peek() == "[":
                scanner.skip()
            else:
                found[key] = scanner.value()
    return found


def first_array(path: Path) -> str | None:
    """Returns the key of the first array in the file's object; None if the file is an array or holds none.

    Raises:
        UsageError: If the file is not JSON.
    """
    with path.open(encoding="utf-8-sig") as file:
        scanner = _Scanner(file, path)
        if scanner.peek() != "{":
            return None
        for key in scanner.members():
            if scanner.peek() == "[":
                return key
            scanner.skip()
    return None


class _Scanner:
    """Reads one JSON text piece by piece."""

    def __init__(self, file: IO[str], path: Path) -> None:
        self._file, self._path = file, path
        self._text, self._at, self._before = "", 0, 0
        self._ended = False
        self._decode = json.JSONDecoder().raw_decode

    def peek(self) -> str:
        """Returns the next character that is no white space, or nothing at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                return ""
            self._refill()

    def take(self, wanted: str) -> None:
        """Passes over one character, which must be `wanted`."""
        if self.peek() != wanted:
            raise self._error(f"{wanted!r} is needed, got {self._seen()}")
        self._at += 1

    def value(self) -> Any:
        """Returns the next value."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except (json.JSONDecodeError, RecursionError) as error:
                if self._ended or len(self._text) - self._at > _MAX_ENTRY:
                    message = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep"
                    raise self._error(message + self._cut()) from error
            else:
                # Near the end of what was read a number may go on: 1.5 in "1.5e-", which goes on with 7.
                if end + 2 < len(self._text) or self._ended:
                    self._at = end
                    return value
            self._refill()

    def entries(self) -> Iterator[Any]:
        """Yields the entries of the array that comes next."""
        self.take("[")
        while self.peek() != "]":
            yield self.value()
            if self.peek() != "]":
                self.take(",")
        self.take("]")

    def members(self) -> Iterator[str]:
        """Yields the keys of the object that comes next; the caller reads each value."""
        self.take("{")
        while self.peek() != "}":
            if self.peek() != '"':
                raise self._error(f"a key is needed, got {self._seen()}")
            key = self.value()
            self.take(":")
            yield key
            if self.peek() != "}":
                self.take(",")
        self.take("}")

    def end(self) -> None:
        """Makes sure that nothing comes any more: what does would be lost."""
        if self.peek():
            raise self._error(f"the end of the file is needed, got {self.peek()!r}; it holds more than one value")

    def skip(self) -> None:
        """Passes over the next value; an array entry by entry."""
        if self.peek() != "[":
            self.value()
            return
        for _ in self.entries():
            pass

    def _refill(self) -> None:
        # As much as there is already: a long entry is tried a few times and not once a chunk.
        size = max(_CHUNK, len(self._text) - self._at)
        try:
            chunk = self._file.read(size)
        except UnicodeDecodeError as error:
            raise UsageError(f"{self._path} is not UTF-8 text: {error}") from error
        self._before += self._at
        self._text, self._at = self._text[self._at :] + chunk, 0
        self._ended = not chunk

    def _error(self, message: str) -> UsageError:
        return UsageError(f"{self._path}, character {self._before + self._at}: not the JSON expected: {message}")

    def _seen(self) -> str:
        return repr(self.peek()) if self.peek() else "the end of the file" + self._cut()

    def _cut(self) -> str:
        """Returns the likely cause where a file ends within a value."""
        return "; the file is cut short" if self._ended and self._text.rstrip()[-1:] not in ("]", "}") else ""
