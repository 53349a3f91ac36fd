"""Lists of clips: CSV, TSV or JSON lines of path-or-URL and caption, also gzipped, read a row at a time."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

from elysium.errors import UsageError

_JSON = frozenset({".jsonl", ".ndjson"})
SUFFIXES = frozenset({".csv", ".tsv"}) | _JSON
_PACKED = ".gz"
_MAX_LINE = 1 << 20  # characters of a line of JSON; csv has a limit of its own

# Names of columns and keys, compared without case, `_` and `-`; the first one present counts. WebVid's are among them.
_COLUMNS: dict[str, tuple[str, ...]] = {
    "id": ("videoid", "id", "clipid"),
    "location": ("path", "url", "contenturl", "video", "videopath", "videourl", "file", "filename"),
    "caption": ("caption", "name", "text", "description", "title"),
    "source": ("source",),
    "licence": ("licence", "license"),
    "sha256": ("sha256",),
    "split": ("split",),
    "annotations": ("annotations",),
}
_SPLITS = frozenset({"train", "evaluation"})

Row = dict[str, str]
# Which of a row's values are ours, in the order in which they are asked.
_Plan = list[tuple[str, Sequence[Any]]]


def list_suffix(name: str) -> str:
    """Returns what kind of list a name says it is, without `.gz`; empty if none.

    Example:
        >>> list_suffix("clips.CSV.gz"), list_suffix("clips.mp4"), list_suffix("manifest.jsonl")
        ('.csv', '', '.jsonl')
    """
    path = PurePosixPath(name.lower())
    suffix = PurePosixPath(path.stem).suffix if path.suffix == _PACKED else path.suffix
    return suffix if suffix in SUFFIXES else ""


def read_list(path: Path, name: str) -> Iterator[Row]:
    """Yields a list's rows with our names for the columns, empty values left out; memory does not grow with it.

    Args:
        path: The file.
        name: What the source calls it: says its form, and names it in messages.

    Raises:
        UsageError: If the list is empty, not text, or not of the form its name says; the message names the line.
    """
    suffix, number = list_suffix(name), 0
    try:
        with _open(path, name) as file:
            rows = _json_rows(file, name) if suffix in _JSON else _csv_rows(file, name, suffix == ".tsv")
            for number, row in enumerate(rows, start=1):  # noqa: B007 (counted for the messages)
                yield row
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8 text after row {number}: {error}") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UsageError(f"{name} is cut short or damaged after row {number}: {error}") from error
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror or error}") from error
    if number == 0:
        raise UsageError(f"{name} has no rows; one clip a row is needed, with its path or URL and its caption")


def _open(path: Path, name: str) -> IO[str]:
    # Only \n ends a line of JSONL, and csv finds its lines itself: other separators may stand inside strings.
    newline = "\n" if list_suffix(name) in _JSON else ""
    if name.lower().endswith(_PACKED):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline=newline)
    return path.open(encoding="utf-8-sig", newline=newline)


def _csv_rows(file: IO[str], name: str, tabs: bool) -> Iterator[Row]:
    reader = csv.reader(file, delimiter="\t" if tabs else ",", strict=True)
    try:
        header = next(reader, [])
        if not header:
            return
        plan, width = _plan(header, range(len(header)), name), len(header)
        for values in reader:
            if not values:
                continue
            if len(values) > width:
                raise UsageError(
                    f"{name}, line {reader.line_num}: more values than columns; quote values that hold a comma"
                )
            row = {}
            for ours, places in plan:
                for place in places:
                    value = values[place].strip() if place < len(values) else ""
                    if value:
                        row[ours] = value
                        break
            yield _checked(row, name, reader.line_num)
    except csv.Error as error:
        raise UsageError(f"{name}, line {reader.line_num}: not valid CSV: {error}") from error


def _json_rows(file: IO[str], name: str) -> Iterator[Row]:
    plans: dict[tuple[str, ...], _Plan] = {}
    number = 0
    while line := file.readline(_MAX_LINE):
        number += 1
        if len(line) == _MAX_LINE and not line.endswith("\n"):
            raise UsageError(f"{name}, line {number}: longer than {_MAX_LINE} characters")
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except json.JSONDecodeError as error:
            raise UsageError(f"{name}, line {number}: not valid JSON: {error.msg}") from error
        if not isinstance(found, dict):
            raise UsageError(f"{name}, line {number}: an object is needed, got {type(found).__name__}")
        keys = tuple(found)
        if keys not in plans:
            if len(plans) > 1000:
                plans.clear()  # no two lines alike
            plans[keys] = _plan(keys, keys, name, check=number == 1)
        row, escapes = {}, "\\u" in line
        for ours, theirs in plans[keys]:
            for key in theirs:
                value = found[key]
                text = "" if value is None else str(value).strip()
                if escapes:  # half a pair of UTF-16 can be written in JSON, but is no text
                    text = text.encode("utf-8", "replace").decode()
                if text:
                    row[ours] = text
                    break
        yield _checked(row, name, number)


def _plan(names: Sequence[str], places: Sequence[Any], name: str, *, check: bool = True) -> _Plan:
    """Returns where our values are in rows of these columns.

    Raises:
        UsageError: If there is no column for location or caption.
    """
    known = {_plain(column): place for column, place in zip(names, places, strict=True)}
    plan = [(ours, [known[one] for one in theirs if one in known]) for ours, theirs in _COLUMNS.items()]
    for ours, found in plan if check else []:
        if ours in ("location", "caption") and not found:
            raise UsageError(
                f"{name} has no column for the {ours}: one of {', '.join(_COLUMNS[ours])} is needed, "
                f"got {', '.join(map(str, names)) or 'none'}"
            )
    return [(ours, found) for ours, found in plan if found]


def _checked(row: Row, name: str, line: int) -> Row:
    if row.get("split", "train") not in _SPLITS:
        raise UsageError(
            f"{name}, line {line}: the split is train or evaluation, got {row['split']!r}; rename it, or the column "
            "if it means something else"
        )
    return row


def _plain(key: object) -> str:
    return str(key).strip().lower().replace("_", "").replace("-", "")
