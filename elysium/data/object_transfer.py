"""Whole folders to and from S3: in parallel, large files in parts, checked, and gone on with after a kill.

What is there already is not moved again: on S3 it is known by its ETag, which for both ways of uploading follows from
the file's bytes; here by its SHA-256. Of a large upload that was cut short, the parts that arrived are kept.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from elysium.data.objects import Missing, ObjectStore, StoredObject
from elysium.errors import ElysiumError

logger = logging.getLogger(__name__)

PART = 16 << 20  # bytes; what is larger goes in parts
_MOST_PARTS = 9000  # S3 takes 10 000
_CHUNK = 1 << 20

Item = TypeVar("Item")


class Entry(Protocol):
    """Size in bytes and SHA-256 of a file."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def sha256(self) -> str:
        """In hex."""


@dataclass(frozen=True)
class Moved:
    """What a transfer came to.

    Attributes:
        files: That were moved.
        bytes: In them.
        kept: Files that were there already.
    """

    files: int
    bytes: int
    kept: int


def upload(
    store: ObjectStore,
    files: Mapping[str, tuple[Path, Entry]],
    there: Mapping[str, StoredObject],
) -> Moved:
    """Puts files where they are not yet.

    Args:
        store: Where to.
        files: By name of the object: the file, and what it must hold.
        there: Objects that are there now, of a listing.

    Raises:
        ElysiumError: If a file is not what it should be, or S3 does not take it.
    """

    def is_there(item: tuple[str, tuple[Path, Entry]]) -> bool:
        name, (path, entry) = item
        stored = there.get(name)
        return stored is not None and stored.size == entry.size and stored.etag == etag(path, entry.size)

    known = _select(is_there, [item for item in files.items() if item[0] in there], store.threads)
    left = {name: item for name, item in files.items() if name not in known}
    small = [(name, item) for name, item in left.items() if item[1].size <= PART]
    in_parallel(lambda item: _put(store, item[0], *item[1]), small, store.threads)
    parted = [_Parted(store, name, *item) for name, item in left.items() if item[1].size > PART]
    in_parallel(_Parted.begin, parted, store.threads)
    pieces = [(one, number) for one in parted for number in range(one.num_parts)]
    in_parallel(lambda piece: piece[0].put(piece[1]), pieces, store.threads)
    return Moved(len(left), sum(entry.size for _, entry in left.values()), len(known))


def download(store: ObjectStore, files: Mapping[str, tuple[Path, Entry]]) -> Moved:
    """Brings files to where they are not yet; each appears when it is whole and checked.

    Args:
        store: Where from.
        files: By name of the object: the file, and what it must hold.

    Raises:
        Missing: If an object does not exist.
        Damaged: If one holds something else.
        ElysiumError: If S3 does not give it.
    """

    def is_here(item: tuple[str, tuple[Path, Entry]]) -> bool:
        _, (path, entry) = item
        return path.is_file() and path.stat().st_size == entry.size and _sha256(path) == entry.sha256

    known = _select(is_here, [item for item in files.items() if item[1][0].exists()], store.threads)
    left = {name: item for name, item in files.items() if name not in known}
    for folder in {path.parent for path, _ in left.values()}:
        folder.mkdir(parents=True, exist_ok=True)
    small = [(name, item) for name, item in left.items() if item[1].size <= PART]
    in_parallel(lambda item: _get(store, item[0], *item[1]), small, store.threads)
    for name, (path, entry) in left.items():
        if entry.size > PART:
            _get_in_parts(store, name, path, entry)
    return Moved(len(left), sum(entry.size for _, entry in left.values()), len(known))


def etag(path: Path, size: int) -> str:
    """Returns the ETag that a file of that size gets when `upload` puts it."""
    with path.open("rb") as file:
        if size <= PART:
            return _md5(file.read(size)).hexdigest()
        step = part_size(size)
        digests = [_md5(file.read(step)).digest() for _ in range(-(-size // step))]
    return f"{_md5(b''.join(digests)).hexdigest()}-{len(digests)}"


def inside(folder: Path, name: str) -> Path:
    """Returns the path of a file below a folder.

    Raises:
        ElysiumError: If the name, which came from elsewhere, leads out of it.
    """
    if name.startswith("/") or ".." in name.split("/") or "\0" in name:
        raise ElysiumError(f"{name!r} is no name of a file below {folder}: what names it was changed by somebody")
    return folder / name


def part_size(size: int) -> int:
    """Returns the bytes of each part of a large file.

    Example:
        >>> part_size(1 << 30) >> 20, part_size(1 << 40) >> 20
        (16, 117)
    """
    return max(PART, -(-size // _MOST_PARTS // _CHUNK) * _CHUNK)


def in_parallel(work: Callable[[Item], object], items: Iterable[Item], threads: int) -> None:
    """Does all items, several at a time; after the first failure no more are begun, and it is raised."""
    with ThreadPoolExecutor(threads, thread_name_prefix="elysium-s3") as pool:
        waiting = [pool.submit(work, item) for item in items]
        try:
            for done in as_completed(waiting):
                done.result()
        except BaseException:
            for future in waiting:
                future.cancel()
            raise


def _select(
    holds: Callable[[tuple[str, Any]], bool], items: list[tuple[str, tuple[Path, Entry]]], threads: int
) -> set[str]:
    found: set[str] = set()

    def look(item: tuple[str, Any]) -> None:
        if holds(item):
            found.add(item[0])

    in_parallel(look, items, min(threads, os.cpu_count() or 1))
    return found


def _put(store: ObjectStore, name: str, path: Path, entry: Entry) -> None:
    with path.open("rb") as file:
        content = file.read(entry.size)
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise ElysiumError(f"{path} changed while it was copied to {store.uri}; run the same command again")
    store.write(name, content)


def _get(store: ObjectStore, name: str, path: Path, entry: Entry) -> None:
    content = store.read(name)
    if content is None:
        raise Missing(f"{store.uri}/{name} does not exist")
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise _damaged(store, name, entry, len(content))
    with _replacing(path) as temporary:
        temporary.write_bytes(content)


def _get_in_parts(store: ObjectStore, name: str, path: Path, entry: Entry) -> None:
    with _replacing(path) as temporary, temporary.open("wb+", buffering=0) as file:
        file.truncate(entry.size)
        hashed = _InOrder(file.fileno())

        def bring(first: int) -> None:
            last = min(first + PART, entry.size) - 1

            def once(client: Any) -> bytes:
                wanted = f"bytes={first}-{last}"
                answer = client.get_object(Bucket=store.bucket, Key=store.key(name), Range=wanted)
                with closing(answer["Body"]) as body:
                    content: bytes = body.read()
                    return content

            content = store.ask(name, once)
            if len(content) != last + 1 - first:
                raise _damaged(store, name, entry, first + len(content))
            os.pwrite(file.fileno(), content, first)
            hashed.add(first, len(content))

        in_parallel(bring, range(0, entry.size, PART), store.threads)
        if hashed.hexdigest() != entry.sha256:
            raise _damaged(store, name, entry, entry.size)


class Damaged(ElysiumError):
    """An object that does not hold what it should."""


def _damaged(store: ObjectStore, name: str, entry: Entry, size: int) -> Damaged:
    what = f"{size} bytes instead of {entry.size}" if size != entry.size else "another checksum"
    return Damaged(f"{store.uri}/{name} is damaged: it has {what}")


class _InOrder:
    """Hashes a file whose parts arrive in any order, each as soon as all before it are there."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._hash, self._next = hashlib.sha256(), 0
        self._waiting: dict[int, int] = {}
        self._lock, self._hashing = threading.Lock(), False

    def add(self, first: int, size: int) -> None:
        """Takes note of a part that was written; one thread hashes, the others go on."""
        with self._lock:
            self._waiting[first] = size
            if self._hashing:
                return
            self._hashing = True
        while True:
            with self._lock:
                size = self._waiting.pop(self._next, 0)
                if not size:
                    self._hashing = False
                    return
            self._hash.update(os.pread(self._descriptor, size, self._next))
            self._next += size

    def hexdigest(self) -> str:
        """Returns the SHA-256 of all."""
        return self._hash.hexdigest()


class _replacing:  # noqa: N801 -- used as a function
    """Yields a temporary path that takes a file's place when the block ends well, and else goes away."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")

    def __enter__(self) -> Path:
        return self._temporary

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._temporary.replace(self._path)
        else:
            self._temporary.unlink(missing_ok=True)


@dataclass
class _Parted:
    """A large file on its way in parts."""

    store: ObjectStore
    name: str
    path: Path
    entry: Entry
    _id: str = ""
    _etags: dict[int, str] = field(default_factory=dict)
    _old: dict[int, tuple[int, str]] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.Lock)

    @property
    def num_parts(self) -> int:
        """Parts in all."""
        return -(-self.entry.size // part_size(self.entry.size))

    def begin(self) -> None:
        """Goes on with the newest upload that was cut short, else begins one; older ones are given up."""
        place = {"Bucket": self.store.bucket, "Key": self.store.key(self.name)}
        ask = self.store.ask
        found = ask(
            self.name,
            lambda client: client.list_multipart_uploads(Bucket=place["Bucket"], Prefix=place["Key"]),
        )
        begun = [one for one in found.get("Uploads", []) if one["Key"] == place["Key"]]
        begun.sort(key=lambda one: one["Initiated"])
        for one in begun[:-1]:
            self._ask("abort_multipart_upload", {"UploadId": one["UploadId"]})
        if not begun:
            self._id = self._ask("create_multipart_upload", {})["UploadId"]
            return
        self._id = begun[-1]["UploadId"]
        pages = ask(
            self.name,
            lambda client: list(client.get_paginator("list_parts").paginate(**place, UploadId=self._id)),
        )
        for page in pages:
            for part in page.get("Parts", []):
                self._old[part["PartNumber"]] = (int(part["Size"]), part["ETag"])

    def put(self, index: int) -> None:
        """Puts a part, unless it is there; who puts the last one completes the object."""
        number, step = index + 1, part_size(self.entry.size)
        with self.path.open("rb") as file:
            file.seek(index * step)
            content = file.read(min(step, self.entry.size - index * step))
        size, mark = self._old.get(number, (-1, ""))
        if size != len(content) or mark.strip('"') != _md5(content).hexdigest():
            request = {"PartNumber": number, "UploadId": self._id, "Body": content}
            mark = self._ask("upload_part", request)["ETag"]
        with self._lock:
            self._etags[number] = mark
            last = len(self._etags) == self.num_parts
        if last:
            parts = [{"PartNumber": number, "ETag": self._etags[number]} for number in sorted(self._etags)]
            self._ask("complete_multipart_upload", {"UploadId": self._id, "MultipartUpload": {"Parts": parts}})

    def _ask(self, operation: str, request: dict[str, Any]) -> Any:
        place = {"Bucket": self.store.bucket, "Key": self.store.key(self.name)}
        return self.store.ask(self.name, lambda client: getattr(client, operation)(**place, **request))


def _md5(content: bytes) -> hashlib._Hash:
    return hashlib.md5(content, usedforsecurity=False)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
