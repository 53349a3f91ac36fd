"""What a source holds: turns a folder, a list of captions or an S3 prefix into references to clips."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from elysium.config import IngestSettings
from elysium.data.storage import Entry, FetchError, Storage, local_path, name_of, scheme_of, storage_for
from elysium.errors import UsageError

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".gif"})
_LIST_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson"})
_SIDECARS = ("captions.csv", "captions.jsonl")
_MAX_LIST_BYTES = 4 << 30
_MAX_CAPTION_BYTES = 1 << 20
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")

# Names of columns and keys, compared without case, `_` and `-`; the first one present counts. WebVid's are among them.
_COLUMNS: dict[str, tuple[str, ...]] = {
    "id": ("videoid", "id", "clipid"),
    "location": ("path", "url", "contenturl", "video", "videopath", "videourl", "file", "filename"),
    "caption": ("caption", "name", "text", "description", "title"),
    "source": ("source",),
    "licence": ("licence", "license"),
    "sha256": ("sha256",),
}


@dataclass(frozen=True)
class ClipReference:
    """A clip that could be taken in.

    Attributes:
        id: Unique in the source; letters, digits, `_` and `-`.
        uri: Where to fetch it.
        caption: What it shows; may be empty.
        source: How the manifest names its origin; never a folder of this machine.
        licence: SPDX identifier or words; may be empty.
        sha256: What the file's checksum must be, if the source says.
        problem: Why it cannot be taken in, known before fetching.
    """

    id: str
    uri: str
    caption: str
    source: str
    licence: str = ""
    sha256: str | None = None
    problem: str | None = None


def list_clips(settings: IngestSettings) -> list[ClipReference]:
    """Returns the clips that `settings.source` names, in a stable order; ids are safe and unique.

    Raises:
        UsageError: If the source does not exist, holds no clip, or is a list that cannot be read.
    """
    source = settings.source
    if not source.strip():
        raise UsageError("ingest.source is empty; give `builtin`, a folder, a CSV/JSONL, or s3://bucket/prefix")
    storage = storage_for(source, s3_endpoint=settings.s3_endpoint, allow_private_hosts=settings.allow_private_hosts)
    if PurePosixPath(name_of(source)).suffix.lower() in _LIST_SUFFIXES:
        parent = source[: len(source) - len(source.rsplit("/", 1)[-1])]
        found = list(_from_rows(_read_list(storage, source), parent))
    elif scheme_of(source) in ("http", "https"):
        raise UsageError(f"{source} is a web address but no list; name a .csv or .jsonl of addresses and captions")
    elif scheme_of(source) != "s3" and not local_path(source).exists():
        raise UsageError(
            f"ingest.source {source!r} does not exist; give `builtin`, a folder, a CSV/JSONL, or s3://bucket/prefix"
        )
    else:
        found = list(_from_files(storage, source))
    if not found:
        raise UsageError(f"ingest.source {source!r} holds no clip ({', '.join(sorted(VIDEO_SUFFIXES))})")
    return list(_with_unique_ids(found))


def _from_files(storage: Storage, source: str) -> Iterator[ClipReference]:
    """Yields a folder's videos; captions come from one list beside them, or from a text file of the same name."""
    entries = storage.list_files(source)
    by_name = {entry.name: entry for entry in entries}
    captions: dict[str, dict[str, str]] = {}
    for sidecar in _SIDECARS:
        if sidecar in by_name:
            captions = {row.get("location", ""): row for row in _read_list(storage, by_name[sidecar].uri)}
            break
    for entry in entries:
        path = PurePosixPath(entry.name)
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            continue
        row = captions.get(entry.name, {})
        caption = row.get("caption") or _text_beside(storage, by_name, path)
        yield ClipReference(
            id=row.get("id") or str(path.with_suffix("")),
            uri=entry.uri,
            caption=caption,
            source=row.get("source") or (entry.uri if scheme_of(entry.uri) else entry.name),
            licence=row.get("licence", ""),
            sha256=row.get("sha256"),
        )


def _text_beside(storage: Storage, by_name: dict[str, Entry], video: PurePosixPath) -> str:
    entry = by_name.get(str(video.with_suffix(".txt")))
    if entry is None or entry.size == 0:
        return ""
    try:
        return " ".join(_fetch_bytes(storage, entry.uri, _MAX_CAPTION_BYTES).decode("utf-8-sig").split())
    except UnicodeDecodeError as error:
        raise UsageError(f"{entry.name} is not UTF-8 text: {error}") from error


def _from_rows(rows: Iterable[dict[str, str]], parent: str) -> Iterator[ClipReference]:
    """Yields a list's clips; relative paths are relative to the list."""
    for row in rows:
        location = row.get("location", "")
        relative = scheme_of(location) == "" and not location.startswith(("/", "~"))
        if location and not relative and scheme_of(location) in ("", "file") and scheme_of(parent) not in ("", "file"):
            raise UsageError(f"the list in {parent} names the local file {location!r}; a remote list may not do that")
        shown = name_of(location) if scheme_of(location) == "file" or location.startswith(("/", "~")) else location
        yield ClipReference(
            id=row.get("id") or PurePosixPath(name_of(location)).stem,
            uri=parent + location if relative and location else location,
            caption=row.get("caption", ""),
            source=row.get("source") or shown,
            licence=row.get("licence", ""),
            sha256=row.get("sha256"),
            problem=None if location else "the list names no path or URL",
        )


def _read_list(storage: Storage, uri: str) -> Iterator[dict[str, str]]:
    """Yields a list's rows with our names for the columns, empty values left out.

    Raises:
        UsageError: If the list is missing, empty, not text, or not of the form its name says.
    """
    name = name_of(uri)
    content = _fetch_bytes(storage, uri, _MAX_LIST_BYTES)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8 text: {error}") from error
    suffix = PurePosixPath(name).suffix.lower()
    rows = _json_rows(text, name) if suffix in (".jsonl", ".ndjson") else _csv_rows(text, name, suffix == ".tsv")
    number = 0
    for number, row in enumerate(rows, start=1):
        if number == 1:
            _check_columns(row, name)
        yield {ours: value for ours in _COLUMNS if (value := _pick(row, ours))}
    if number == 0:
        raise UsageError(f"{name} has no rows; one clip a row is needed, with its path or URL and its caption")


def _csv_rows(text: str, name: str, tabs: bool) -> Iterator[dict[str, Any]]:
    reader = csv.DictReader(text.splitlines(keepends=True), delimiter="\t" if tabs else ",", strict=True)
    try:
        for row in reader:
            if None in row:
                raise UsageError(
                    f"{name}, line {reader.line_num}: more values than columns; quote values that hold a comma"
                )
            yield row
    except csv.Error as error:
        raise UsageError(f"{name}, line {reader.line_num}: not valid CSV: {error}") from error


def _json_rows(text: str, name: str) -> Iterator[dict[str, Any]]:
    # Only \n ends a line of JSONL: other separators may stand inside strings.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UsageError(f"{name}, line {number}: not valid JSON: {error.msg}") from error
        if not isinstance(row, dict):
            raise UsageError(f"{name}, line {number}: an object is needed, got {type(row).__name__}")
        yield row


def _check_columns(row: dict[str, Any], name: str) -> None:
    names = {_plain(key) for key in row}
    for ours in ("location", "caption"):
        if names.isdisjoint(_COLUMNS[ours]):
            raise UsageError(
                f"{name} has no column for the {ours}: one of {', '.join(_COLUMNS[ours])} is needed, "
                f"got {', '.join(map(str, row)) or 'none'}"
            )


def _pick(row: dict[str, Any], ours: str) -> str:
    values = {_plain(key): value for key, value in row.items()}
    for theirs in _COLUMNS[ours]:
        value = values.get(theirs)
        if value is not None and str(value).strip():
            return str(value).strip()
    return ""


def _plain(key: object) -> str:
    return str(key).strip().lower().replace("_", "").replace("-", "")


def _fetch_bytes(storage: Storage, uri: str, max_bytes: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "file"
        try:
            storage.fetch(uri, target, max_bytes)
        except FetchError as error:
            raise UsageError(f"{name_of(uri)} cannot be read: {error}") from error
        return target.read_bytes()


def _with_unique_ids(references: Iterable[ClipReference]) -> Iterator[ClipReference]:
    """Makes ids safe; a second clip of the same id gets a suffix from its address, the same in every run."""
    taken: set[str] = set()
    seen: set[tuple[str, str]] = set()
    for reference in references:
        clip_id = _UNSAFE.sub("_", reference.id).strip("_") or "clip"
        if (reference.id, reference.uri) in seen:
            problem = reference.problem or "listed before under the same id and address"
            yield replace(reference, id=clip_id, problem=problem)
            continue
        seen.add((reference.id, reference.uri))
        number = 0
        unique = clip_id
        while unique in taken:
            unique = f"{clip_id}-{hashlib.sha256(f'{reference.uri}#{number}'.encode()).hexdigest()[:8]}"
            number += 1
        taken.add(unique)
        yield replace(reference, id=unique)
