"""Storage: fetching one file, and listing many, from a folder, from S3 or over http(s), behind one protocol."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from elysium.data.transfer import CHUNK, Arrival, FetchError, Patience, check_size, receive, whole_file
from elysium.errors import UsageError

_MOUNT_LOST = frozenset({errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.ENODEV})


@dataclass(frozen=True)
class Entry:
    """One listed file.

    Attributes:
        uri: Where `fetch` finds it.
        name: Path below what was listed, with `/`.
        size: Bytes.
    """

    uri: str
    name: str
    size: int


class Storage(Protocol):
    """Where files come from: the seam between ingest and folders, object stores and web servers."""

    def iterate_files(self, uri: str) -> Iterator[Entry]:
        """Yields all files below a folder or prefix, in any order, few at a time in memory.

        Raises:
            UsageError: If `uri` does not exist or cannot be listed.
            FetchError: If the server fails.
        """

    def list_files(self, uri: str) -> list[Entry]:
        """Returns what `iterate_files` yields, sorted by name."""

    def fetch(self, uri: str, target: Path, max_bytes: int) -> str:
        """Copies one file to `target`, which appears only when it is whole, and returns its SHA-256 in hex.

        Raises:
            FetchError: If the file is missing, empty, larger than `max_bytes`, not allowed, or the transfer failed.
        """

    def version(self, uri: str) -> str | None:
        """Returns what changes when the file does; None if nothing tells.

        Raises:
            FetchError: If there is no such file.
        """


class WritableStorage(Storage, Protocol):
    """Where files can be put, too."""

    def store(self, path: Path, uri: str) -> None:
        """Copies a file to a URI, where it appears only when it is whole.

        Raises:
            FetchError: If it cannot be written.
        """

    def remove(self, uri: str) -> None:
        """Removes one file; one that is not there is no error.

        Raises:
            FetchError: If it cannot be removed.
        """


class LocalStorage:
    """Files of this machine, named by path or `file://` URI."""

    def iterate_files(self, uri: str) -> Iterator[Entry]:
        """Yields all files below a folder; hidden ones are left out."""
        root = local_path(uri)
        if not root.is_dir():
            raise UsageError(f"{uri} is not a folder")
        for folder, subfolders, files in os.walk(root):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            for name in files:
                path = Path(folder, name)
                if not name.startswith(".") and path.is_file():
                    yield Entry(str(path), path.relative_to(root).as_posix(), path.stat().st_size)

    def list_files(self, uri: str) -> list[Entry]:
        """Returns all files below a folder, sorted; hidden ones are left out."""
        return sorted(self.iterate_files(uri), key=lambda entry: entry.name)

    def fetch(self, uri: str, target: Path, max_bytes: int) -> str:
        """Copies one file."""

        def once(arrival: Arrival) -> None:
            for chunk in _chunks(uri, max_bytes):
                arrival.write(chunk)

        return receive(uri, target, max_bytes, Patience(retries=0), once)

    def version(self, uri: str) -> str | None:
        """Returns size and time of the last change."""
        try:
            found = local_path(uri).stat()
        except OSError as error:
            raise _unreadable(error) from error
        return f"{found.st_size}-{found.st_mtime_ns}"

    def store(self, path: Path, uri: str) -> None:
        """Copies one file."""
        try:
            with whole_file(local_path(uri)) as file, path.open("rb") as source:
                shutil.copyfileobj(source, file, CHUNK)
        except OSError as error:
            raise FetchError(f"{uri} cannot be written: {error.strerror or error}") from error

    def remove(self, uri: str) -> None:
        """Removes one file."""
        try:
            local_path(uri).unlink(missing_ok=True)
        except OSError as error:
            raise FetchError(f"{uri} cannot be removed: {error.strerror or error}") from error


def sha256_in_place(uri: str, max_bytes: int) -> str:
    """Returns the SHA-256 of a local file; errors as of `Storage.fetch`."""
    digest = hashlib.sha256()
    for chunk in _chunks(uri, max_bytes):
        digest.update(chunk)
    return digest.hexdigest()


def storage_for(
    uri: str,
    *,
    s3_endpoint: str | None = None,
    allow_private_hosts: bool = False,
    patience: Patience | None = None,
) -> Storage:
    """Returns the storage that a URI's scheme names.

    Args:
        uri: A path, or a URI with `file`, `http`, `https` or `s3`.
        s3_endpoint: URL of the S3 server; None is AWS.
        allow_private_hosts: Lets web addresses lead to private, loopback and link-local addresses.
        patience: How often and how long a transfer is tried again; None takes the storage's own.

    Raises:
        UsageError: If the scheme is another one.
    """
    scheme = scheme_of(uri)
    if scheme in ("", "file"):
        return LocalStorage()
    if scheme == "s3":
        from elysium.data.s3 import S3Storage

        return S3Storage(s3_endpoint, patience)
    if scheme in ("http", "https"):
        from elysium.data.web import WebStorage

        return WebStorage(allow_private_hosts=allow_private_hosts, patience=patience)
    raise UsageError(f"{uri} has the scheme {scheme!r}; a path, file://, http://, https:// or s3:// is needed")


def writable_storage(uri: str, *, s3_endpoint: str | None = None) -> WritableStorage:
    """Returns the storage that files can be put to; a folder is made.

    Raises:
        UsageError: If the URI is neither a path nor `s3://bucket/prefix`, or the folder cannot be made.
    """
    if scheme_of(uri) in ("", "file"):
        try:
            local_path(uri).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{uri} cannot be made: {error.strerror or error}; name another folder") from error
        return LocalStorage()
    if scheme_of(uri) == "s3":
        from elysium.data.s3 import S3Storage

        split_s3(uri)
        return S3Storage(s3_endpoint)
    raise UsageError(f"{uri} is nowhere to write to; a folder or s3://bucket/prefix is needed")


def scheme_of(uri: str) -> str:
    """Returns the scheme in lower case; empty for a path.

    Example:
        >>> scheme_of("s3://bucket/key"), scheme_of("clips/a.mp4")
        ('s3', '')
    """
    scheme, sign, _ = uri.partition("://")
    return scheme.lower() if sign else ""


def local_path(uri: str) -> Path:
    """Returns the path of a path or `file://` URI."""
    return Path(uri.removeprefix("file://")).expanduser()


def split_s3(uri: str) -> tuple[str, str]:
    """Returns bucket and key.

    Raises:
        UsageError: If the bucket is missing.

    Example:
        >>> split_s3("s3://bucket/a/b.mp4")
        ('bucket', 'a/b.mp4')
    """
    bucket, _, key = uri.partition("://")[2].partition("/")
    if not bucket:
        raise UsageError(f"{uri} names no bucket; s3://bucket/prefix is needed")
    return bucket, key


def name_of(uri: str) -> str:
    """Returns the last part of a path or URI, without query.

    Example:
        >>> name_of("https://host/a/b.mp4?sig=1")
        'b.mp4'
    """
    if scheme_of(uri) in ("http", "https"):
        uri = re.split(r"[?#]", uri.partition("://")[2])[0].partition("/")[2]
    return PurePosixPath(uri).name


def _chunks(uri: str, max_bytes: int) -> Iterator[bytes]:
    """Yields the bytes of a local file.

    Raises:
        FetchError: If it cannot be read, is empty or too large.
    """
    path = local_path(uri)
    try:
        if path.exists() and not path.is_file():
            raise FetchError("it is no file", kind="missing")
        with path.open("rb") as file:
            check_size(os.fstat(file.fileno()).st_size, max_bytes)
            while chunk := file.read(CHUNK):
                yield chunk
    except OSError as error:
        raise _unreadable(error) from error
    except ValueError as error:  # a NUL in the name
        raise FetchError("the file does not exist: its name is none", kind="missing") from error


def _unreadable(error: OSError) -> FetchError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return FetchError("the file does not exist", kind="missing")
    reason = error.strerror or str(error)
    if isinstance(error, PermissionError):
        return FetchError(f"the file may not be read: {reason}", kind="denied")
    if error.errno in _MOUNT_LOST:
        message = f"the file system is gone: {reason}; mount it and run the same command again"
        return FetchError(message, kind="unreachable", scope="run")
    return FetchError(f"the file cannot be read: {reason}")
