"""What a source holds: a folder, a list of captions, an S3 prefix or the built-in clips, one reference after another.

Ingest and curation both list here. Memory does not grow with the source but for 16 bytes a clip (`naming`): rows of
lists are read one by one, and the files of folders are sorted and matched with their captions on disk.
"""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TypeVar, cast

from elysium.config import IngestSettings
from elysium.data.lists import Row, list_suffix, read_list
from elysium.data.naming import Names
from elysium.data.records import Split
from elysium.data.storage import Storage, local_path, name_of, scheme_of, storage_for
from elysium.data.transfer import FetchError, Patience
from elysium.errors import ElysiumError, UsageError

BUILTIN = "builtin"
SIMULATOR = "simulator:"  # followed by a seed
VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".gif"})
SIDECARS = ("captions.csv", "captions.jsonl", "captions.csv.gz", "captions.jsonl.gz")
_MANIFEST = "manifest.jsonl"  # of a raw artifact
_SIMULATED_LICENCE = "Apache-2.0"
_MAX_LIST_BYTES = 256 << 30
_MAX_CAPTION_BYTES = 1 << 20
_BATCH = 16384  # clips that are named at once
_THREADS = 16  # transfers of captions wait for the network, not for cores

Item = TypeVar("Item")


@dataclass(frozen=True)
class ClipReference:
    """A clip that could be taken in.

    Attributes:
        id: Unique in the source; letters, digits, `_` and `-`.
        uri: Where to fetch it: a path, `file://`, `http(s)://`, `s3://`, or `simulator:SEED`.
        caption: What it shows; may be empty.
        source: How records name its origin; never a folder of this machine.
        licence: SPDX identifier or words; may be empty.
        sha256: What the file's checksum must be, if the source says.
        split: Set where the source decides it.
        annotations: Path or URI of exact boxes, where there are some; that of the clip itself if it is simulated.
        problem: Why it cannot be taken in, known before fetching.
    """

    id: str
    uri: str
    caption: str
    source: str
    licence: str = ""
    sha256: str | None = None
    split: Split | None = None
    annotations: str | None = None
    problem: str | None = None


def list_clips(settings: IngestSettings, scratch: Path | None = None) -> Iterator[ClipReference]:
    """Yields the clips that `settings.source` names, in a stable order; ids are safe and unique.

    Lists keep their order, folders are sorted by name. A clip that is listed again has a problem.

    Args:
        settings: Names the source.
        scratch: An existing folder for temporary files; by default the system's.

    Raises:
        UsageError: If the source does not exist, holds no clip, or is a list that cannot be read.
        FetchError: If the server fails.
    """
    names = Names()
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        number = 0
        for batch in batched(_list(settings, Path(folder)), _BATCH):
            given = names.give([(reference.id, reference.uri) for reference in batch])
            number += len(batch)
            for reference, name in zip(batch, given, strict=True):
                problem = reference.problem
                if name.repeated and problem is None:
                    problem = "listed before under the same id and address"
                if name.id == reference.id and problem is reference.problem:
                    yield reference
                else:
                    yield replace(reference, id=name.id, problem=problem)
    if number == 0:
        raise UsageError(f"ingest.source {settings.source!r} holds no clip ({', '.join(sorted(VIDEO_SUFFIXES))})")


def storage_of(uri: str, settings: IngestSettings) -> Storage:
    """Returns the storage of an address, as patient as the settings say.

    Raises:
        UsageError: If the scheme is none of ours.
    """
    patience = Patience(
        retries=settings.retries, seconds=settings.retry_seconds, deadline=settings.transfer_seconds or None
    )
    return storage_for(
        uri,
        s3_endpoint=settings.s3_endpoint,
        allow_private_hosts=settings.allow_private_hosts,
        patience=patience,
    )


def source_list(settings: IngestSettings) -> str | None:
    """Returns the path or URI of the list that the source is; None if it is a folder, a prefix or `builtin`.

    The folder of a raw artifact is its manifest.

    Raises:
        UsageError: If the source is not there, or nothing that can be listed.
    """
    source = settings.source
    hint = "give `builtin`, a folder, a CSV/JSONL, or s3://bucket/prefix"
    if not source.strip():
        raise UsageError(f"ingest.source is empty; {hint}")
    if source == BUILTIN:
        return None
    if scheme_of(source) in ("", "file"):
        # Workers need not stand where this process does.
        path = local_path(source).absolute()
        if not path.exists():
            raise UsageError(f"ingest.source {source!r} does not exist; {hint}")
        if (path / _MANIFEST).is_file():
            return str(path / _MANIFEST)
        if list_suffix(path.name):
            return str(path)
        if not path.is_dir():
            raise UsageError(f"ingest.source {source!r} is neither a folder nor a list; {hint}")
        return None
    storage_of(source, settings)  # says so if the scheme is none of ours
    if list_suffix(name_of(source)):
        return source
    if scheme_of(source) in ("http", "https"):
        raise UsageError(f"{source} is a web address but no list; name a .csv or .jsonl of addresses and captions")
    return None


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yields the items in lists of `size`; the last may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _list(settings: IngestSettings, scratch: Path) -> Iterator[ClipReference]:
    if settings.source == BUILTIN:
        return _built_in(settings)
    found = source_list(settings)
    if found is None:
        source = settings.source
        root = str(local_path(source).absolute()) if scheme_of(source) in ("", "file") else source
        return _from_files(storage_of(root, settings), root, scratch)
    base = re.split(r"[?#]", found)[0] if scheme_of(found) in ("http", "https") else found
    parent = base[: len(base) - len(base.rsplit("/", 1)[-1])]
    return _from_rows(read_list(_bring_list(storage_of(found, settings), found, scratch), name_of(found)), parent)


def _bring_list(storage: Storage, uri: str, scratch: Path) -> Path:
    """Returns a local file with the content of a list; a local one is read where it is."""
    try:
        if scheme_of(uri) in ("", "file"):
            path = local_path(uri)
            if path.stat().st_size == 0:
                raise FetchError("the file is empty (0 bytes)")
            return path
        storage.fetch(uri, scratch / "list", _MAX_LIST_BYTES)
    except (FetchError, OSError) as error:
        if isinstance(error, FetchError) and error.passing:
            raise _again_later(name_of(uri), error) from error
        raise UsageError(f"{name_of(uri)} cannot be read: {error}") from error
    return scratch / "list"


def _from_rows(rows: Iterable[Row], parent: str) -> Iterator[ClipReference]:
    """Yields a list's clips; relative paths are relative to the list."""
    for row in rows:
        location, annotations = row.get("location", ""), row.get("annotations")
        shown = name_of(location) if scheme_of(location) == "file" or location.startswith(("/", "~")) else location
        yield ClipReference(
            id=row.get("id") or PurePosixPath(name_of(location)).stem,
            uri=_resolve(location, parent) if location else "",
            caption=row.get("caption", ""),
            source=row.get("source") or shown,
            licence=row.get("licence", ""),
            sha256=row.get("sha256"),
            split=cast("Split | None", row.get("split")),  # the list's reader has checked it
            annotations=_resolve(annotations, parent) if annotations else None,
            problem=_problem(location),
        )


def _resolve(location: str, parent: str) -> str:
    """Returns the address that a list means.

    Raises:
        UsageError: If a list from elsewhere names a file of this machine.
    """
    scheme = scheme_of(location)
    if scheme not in ("", "file"):
        return location
    if scheme == "file" or location.startswith(("/", "~")):
        if scheme_of(parent) not in ("", "file"):
            raise UsageError(f"the list in {parent} names the local file {location!r}; a remote list may not do that")
        return location
    return parent + location


def _problem(location: str) -> str | None:
    """Returns why an address cannot be fetched from, as far as it shows itself."""
    if not location:
        return "the list names no path or URL"
    scheme, _, rest = location.partition("://")
    if rest and scheme.lower() not in ("file", "http", "https", "s3"):
        return f"the scheme {scheme!r} is unknown; a path, file://, http://, https:// or s3:// is needed"
    if rest and scheme.lower() == "s3" and not all(rest.partition("/")[::2]):
        return f"{location} names no object; s3://bucket/key is needed"
    return None


def _from_files(storage: Storage, source: str, scratch: Path) -> Iterator[ClipReference]:
    """Yields a folder's videos; captions come from one list beside them, or from a text file of the same name."""
    with closing(sqlite3.connect(scratch / "files.sqlite", isolation_level=None, check_same_thread=False)) as files:
        files.execute("PRAGMA journal_mode=OFF")
        files.execute("PRAGMA synchronous=OFF")
        files.execute("CREATE TABLE file (name TEXT PRIMARY KEY, uri TEXT, size INT, text TEXT) WITHOUT ROWID")
        files.execute("CREATE TABLE row (name TEXT PRIMARY KEY, id, caption, source, licence, sha256) WITHOUT ROWID")
        for entries in batched(storage.iterate_files(source), _BATCH):
            found: list[tuple[object, ...]] = []
            for entry in entries:
                path = PurePosixPath(entry.name)
                if path.suffix.lower() in VIDEO_SUFFIXES:
                    found.append(
                        (_text(entry.name), _text(entry.uri), entry.size, _text(str(path.with_suffix(".txt"))))
                    )
                elif path.suffix == ".txt" or entry.name in SIDECARS:
                    found.append((_text(entry.name), _text(entry.uri), entry.size, None))
            _fill(files, "file", 4, found)
        for name in SIDECARS:
            sidecar = files.execute("SELECT uri FROM file WHERE name = ?", (name,)).fetchone()
            if sidecar is not None:
                columns = ("location", "id", "caption", "source", "licence", "sha256")
                for rows in batched(read_list(_bring_list(storage, sidecar[0], scratch), name), _BATCH):
                    _fill(files, "row", 6, [tuple(row.get(column, "") for column in columns) for row in rows])
                break
        with ThreadPoolExecutor(_THREADS) as pool:
            videos = files.execute(
                "SELECT file.name, file.uri, row.id, row.caption, row.source, row.licence, row.sha256, beside.uri "
                "FROM file LEFT JOIN row USING (name) LEFT JOIN file AS beside ON beside.name = file.text "
                "AND beside.size > 0 WHERE file.text IS NOT NULL ORDER BY file.name"
            )
            for batch in batched(videos, _BATCH):
                yield from pool.map(lambda video: _from_file(storage, scratch, *video), batch)


def _from_file(
    storage: Storage,
    scratch: Path,
    name: str,
    uri: str,
    known_id: str | None,
    caption: str | None,
    source: str | None,
    licence: str | None,
    sha256: str | None,
    beside: str | None,
) -> ClipReference:
    problem = "its name is no UTF-8" if "\ufffd" in name else None
    if not caption and beside:
        target = scratch / Names.safe(name)
        try:
            storage.fetch(beside, target, _MAX_CAPTION_BYTES)
            caption = " ".join(target.read_text(encoding="utf-8-sig").split())
        except UnicodeDecodeError:
            problem = f"{name_of(beside)} is not UTF-8 text"
        except FetchError as error:
            if error.scope == "run" or error.passing:  # a listing is for good: nothing that passes goes into it
                raise _again_later(beside, error) from error
            problem = f"{name_of(beside)} cannot be read: {error}"
        target.unlink(missing_ok=True)
    return ClipReference(
        id=known_id or str(PurePosixPath(name).with_suffix("")),
        uri=uri,
        caption=caption or "",
        source=source or (uri if scheme_of(uri) else name),
        licence=licence or "",
        sha256=sha256 or None,
        problem=problem,
    )


def _again_later(what: str, error: FetchError) -> FetchError:
    message = f"{what} cannot be read: {error}; run the same command again later"
    return FetchError(message, kind=error.kind, scope="run", passing=error.passing)


def _fill(files: sqlite3.Connection, table: str, width: int, rows: list[tuple[object, ...]]) -> None:
    files.execute("BEGIN")
    files.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * width)})", rows)  # noqa: S608 (ours)
    files.execute("COMMIT")


def _text(name: str) -> str:
    """Returns a file's name as text that can be stored; what is no UTF-8 in it is replaced."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _built_in(settings: IngestSettings) -> Iterator[ClipReference]:
    """Yields the sample clips, and the simulated ones: training ones first, from seeds that evaluation never uses."""
    from elysium.data.samples import sample_clips, seeds
    from elysium.data.simulator import SIMULATOR_VERSION, simulated_caption

    for sample in sample_clips():
        yield ClipReference(sample.id, str(sample.path), sample.caption, sample.source, sample.licence, sample.sha256)
    known = seeds()
    if known.simulator_version != SIMULATOR_VERSION:
        raise ElysiumError(
            f"the seeds file is of simulator version {known.simulator_version}, the simulator of {SIMULATOR_VERSION}"
        )
    plan: list[tuple[Split, range]] = [
        ("train", known.train_seeds.take(settings.num_simulated_train)),
        ("evaluation", known.evaluation_seeds.take(settings.num_simulated_evaluation)),
    ]
    for split, numbers in plan:
        for seed in numbers:
            yield ClipReference(
                id=f"simulated-{seed:07d}",
                uri=f"{SIMULATOR}{seed}",
                caption=simulated_caption(seed, settings.simulated_frames),
                source=f"simulator {SIMULATOR_VERSION} seed {seed}",
                licence=_SIMULATED_LICENCE,
                split=split,
                annotations=f"{SIMULATOR}{seed}",
            )
