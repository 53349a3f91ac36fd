"""Storage: fetching one file, and listing many, from a folder, from S3 or over http(s), behind one protocol."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from elysium.errors import ElysiumError, UsageError

CHUNK = 1 << 20


class FetchError(ElysiumError):
    """A file that could not be brought here; the message says why, without naming local folders."""


class TooLargeError(FetchError):
    """A file over the limit of bytes."""


class PrivateAddressError(FetchError):
    """A web address that leads into a private network."""


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

    def list_files(self, uri: str) -> list[Entry]:
        """Returns all files below a folder or prefix, sorted by name.

        Raises:
            UsageError: If `uri` does not exist or cannot be listed.
        """

    def fetch(self, uri: str, target: Path, max_bytes: int) -> None:
        """Copies one file to `target`, which appears only when it is whole.

        Raises:
            FetchError: If the file is missing, empty, larger than `max_bytes`, not allowed, or the transfer failed.
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

    def list_files(self, uri: str) -> list[Entry]:
        """Returns all files below a folder; hidden ones are left out."""
        root = local_path(uri)
        if not root.is_dir():
            raise UsageError(f"{uri} is not a folder")
        entries = []
        for path in root.rglob("*"):
            name = path.relative_to(root)
            if path.is_file() and not any(part.startswith(".") for part in name.parts):
                entries.append(Entry(str(path), name.as_posix(), path.stat().st_size))
        return sorted(entries, key=lambda entry: entry.name)

    def fetch(self, uri: str, target: Path, max_bytes: int) -> None:
        """Copies one file."""
        path = local_path(uri)
        if not path.is_file():
            raise FetchError("the file does not exist")
        check_size(path.stat().st_size, max_bytes)
        with whole_file(target) as file, path.open("rb") as source:
            shutil.copyfileobj(source, file, CHUNK)

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


class S3Storage:
    """Objects named `s3://bucket/key`; credentials come from the environment, as boto3 finds them."""

    def __init__(self, endpoint: str | None = None) -> None:
        """Connects lazily.

        Args:
            endpoint: URL of the server; None is AWS.
        """
        self._endpoint = endpoint
        self._client: Any = None

    def list_files(self, uri: str) -> list[Entry]:
        """Returns all objects whose key begins with the prefix and a slash."""
        bucket, prefix = split_s3(uri)
        prefix = f"{prefix.rstrip('/')}/" if prefix else ""
        entries = []
        try:
            for page in self._connect().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for item in page.get("Contents", []):
                    if not item["Key"].endswith("/"):
                        name = item["Key"].removeprefix(prefix)
                        entries.append(Entry(f"s3://{bucket}/{item['Key']}", name, int(item["Size"])))
        except self._errors() as error:
            raise UsageError(f"{uri} cannot be listed: {error}") from error
        return sorted(entries, key=lambda entry: entry.name)

    def fetch(self, uri: str, target: Path, max_bytes: int) -> None:
        """Downloads one object."""
        bucket, key = split_s3(uri)
        try:
            answer = self._connect().get_object(Bucket=bucket, Key=key)
            with answer["Body"] as body:  # also what is too large has to be closed
                check_size(int(answer["ContentLength"]), max_bytes)
                with whole_file(target) as file:
                    copied = copy_limited(body.read, file, max_bytes)
            check_whole(copied, int(answer["ContentLength"]), target)
        except self._errors() as error:
            raise FetchError(str(error)) from error

    def store(self, path: Path, uri: str) -> None:
        """Uploads one file, a large one in parts side by side."""
        from boto3.exceptions import Boto3Error

        bucket, key = split_s3(uri)
        try:
            self._connect().upload_file(str(path), bucket, key)
        except (*self._errors(), Boto3Error) as error:
            raise FetchError(f"{uri} cannot be written: {error}") from error

    def remove(self, uri: str) -> None:
        """Removes one object."""
        bucket, key = split_s3(uri)
        try:
            self._connect().delete_object(Bucket=bucket, Key=key)
        except self._errors() as error:
            raise FetchError(f"{uri} cannot be removed: {error}") from error

    def _connect(self) -> Any:
        if self._client is None:
            import boto3
            from botocore.config import Config

            config = Config(connect_timeout=10, read_timeout=30, retries={"max_attempts": 3, "mode": "standard"})
            # A session of its own: boto3's shared one keeps the credentials it saw first.
            self._client = boto3.Session().client("s3", endpoint_url=self._endpoint, config=config)
        return self._client

    @staticmethod
    def _errors() -> tuple[type[Exception], ...]:
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        return BotoCoreError, ClientError, HTTPClientError


def storage_for(uri: str, *, s3_endpoint: str | None = None, allow_private_hosts: bool = False) -> Storage:
    """Returns the storage that a URI's scheme names.

    Args:
        uri: A path, or a URI with `file`, `http`, `https` or `s3`.
        s3_endpoint: URL of the S3 server; None is AWS.
        allow_private_hosts: Lets web addresses lead to private, loopback and link-local addresses.

    Raises:
        UsageError: If the scheme is another one.
    """
    scheme = scheme_of(uri)
    if scheme in ("", "file"):
        return LocalStorage()
    if scheme == "s3":
        return S3Storage(s3_endpoint)
    if scheme in ("http", "https"):
        from elysium.data.web import WebStorage

        return WebStorage(allow_private_hosts=allow_private_hosts)
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


def check_size(size: int, max_bytes: int) -> None:
    """Raises FetchError if a file is empty or too large."""
    if size == 0:
        raise FetchError("the file is empty (0 bytes)")
    if size > max_bytes:
        message = f"{size / 2**20:.1f} MiB exceed the limit of {max_bytes / 2**20:g} MiB (ingest.max_clip_mib)"
        raise TooLargeError(message)


def check_whole(copied: int, expected: int, target: Path) -> None:
    """Raises FetchError, and removes the file, if a transfer ended early."""
    if copied != expected:
        target.unlink(missing_ok=True)
        raise FetchError(f"the transfer ended after {copied} of {expected} bytes")


def copy_limited(read: Callable[[int], bytes], file: IO[bytes], max_bytes: int) -> int:
    """Copies until `read` returns nothing, and returns the number of bytes.

    Raises:
        FetchError: As soon as more than `max_bytes` came.
    """
    copied = 0
    while chunk := read(CHUNK):
        copied += len(chunk)
        check_size(copied, max_bytes)
        file.write(chunk)
    return copied


@contextmanager
def whole_file(target: Path) -> Iterator[IO[bytes]]:
    """Opens a temporary file for writing that becomes `target` when the block ends well, and else disappears."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
