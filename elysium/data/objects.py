"""The objects below one prefix of a bucket: listed, small ones read and written whole, many removed.

Integrity is S3's own: every request is signed together with the SHA-256 of its body, which AWS, Swift and MinIO compare
with what arrived.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from elysium.data.s3_errors import code_of, errors, meaning
from elysium.data.storage import split_s3
from elysium.data.transfer import FetchError, Patience
from elysium.errors import ElysiumError, UsageError

THREADS = 16
_SETTING = "AWS_ENDPOINT_URL"
_RIGHTS = (
    "s3:ListBucket and s3:ListBucketMultipartUploads on the bucket, s3:GetObject, s3:PutObject, s3:DeleteObject, "
    "s3:AbortMultipartUpload and s3:ListMultipartUploadParts on its objects"
)
_REMOVED_AT_ONCE = 1000  # DeleteObjects takes no more
# Conditions that a server does not know, or that do not hold.
_UNKNOWN = frozenset({"NotImplemented", "501", "InvalidArgument", "InvalidRequest"})
_NOT_MET = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})

Value = TypeVar("Value")


@dataclass(frozen=True)
class StoredObject:
    """What a listing says of an object.

    Attributes:
        size: Bytes.
        etag: For what was put whole the MD5 of its bytes, for what was put in parts the MD5 of their MD5s and their
            number (but something else on servers that encrypt with keys of their own).
        modified: When it was written, by the server's clock.
    """

    size: int
    etag: str
    modified: datetime


class ObjectStore:
    """The objects below `s3://bucket/prefix/`, named relative to it; one serves all threads of a process.

    The server is AWS or what `AWS_ENDPOINT_URL` names; credentials come as boto3 finds them: environment, profile,
    `AWS_SHARED_CREDENTIALS_FILE`, web identity or the machine's role. They are never logged.
    """

    def __init__(self, uri: str, threads: int = THREADS, patience: Patience | None = None) -> None:
        """Connects lazily.

        Args:
            uri: `s3://bucket/prefix`, the prefix perhaps empty.
            threads: That are at work on one transfer.
            patience: How often and how long a request is tried again.

        Raises:
            UsageError: If the URI names no bucket.
        """
        self.uri = uri.rstrip("/")
        self.threads = threads
        self.bucket, prefix = split_s3(self.uri)
        self._prefix = f"{prefix}/" if prefix else ""
        self._patience = patience or Patience(retries=4)
        self._client: Any = None
        self._lock = threading.Lock()
        self._time: datetime | None = None

    @property
    def time(self) -> datetime:
        """The server's time when it last listed something; this machine's before that."""
        return self._time or datetime.now(UTC)

    def key(self, name: str) -> str:
        """Returns the key of an object."""
        return f"{self._prefix}{name}"

    def check(self) -> None:
        """Asks the server for one name: the moment to tell whatever is wrong with server, bucket and credentials.

        Raises:
            UsageError: If a person has to mend something first.
            ElysiumError: If the server does not answer.
        """
        request = {"Bucket": self.bucket, "Prefix": self._prefix, "MaxKeys": 1}
        self.ask("", lambda client: client.list_objects_v2(**request), patience=Patience(retries=1))

    def listed(self, prefix: str = "") -> dict[str, StoredObject]:
        """Returns all objects whose names begin with `prefix`, by name."""
        found: dict[str, StoredObject] = {}
        request: dict[str, Any] = {"Bucket": self.bucket, "Prefix": self.key(prefix)}
        while True:
            page = self.ask(prefix, lambda client: client.list_objects_v2(**request))
            with contextlib.suppress(KeyError, ValueError):
                self._time = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
            for item in page.get("Contents", []):
                name = item["Key"].removeprefix(self._prefix)
                found[name] = StoredObject(int(item["Size"]), item["ETag"].strip('"'), item["LastModified"])
            if not page.get("IsTruncated"):
                return found
            request["ContinuationToken"] = page["NextContinuationToken"]

    def read(self, name: str) -> bytes | None:
        """Returns a small object's bytes, None if there is no such object."""

        def once(client: Any) -> bytes:
            with closing(client.get_object(Bucket=self.bucket, Key=self.key(name))["Body"]) as body:
                content: bytes = body.read()
                return content

        try:
            return self.ask(name, once)
        except Missing:
            return None

    def exists(self, name: str) -> bool:
        """Tells whether there is an object of that name."""
        try:
            self.ask(name, lambda client: client.head_object(Bucket=self.bucket, Key=self.key(name)))
        except Missing:
            return False
        return True

    def write(self, name: str, content: bytes) -> None:
        """Writes an object whole."""
        request = {"Bucket": self.bucket, "Key": self.key(name), "Body": content}
        self.ask(name, lambda client: client.put_object(**request))

    def write_new(self, name: str, content: bytes) -> bool | None:
        """Writes an object if there is none of its name.

        Returns:
            Whether it was written; None where the server cannot tell: then nothing was.
        """
        request = {"Bucket": self.bucket, "Key": self.key(name), "Body": content, "IfNoneMatch": "*"}

        def once(client: Any) -> bool | None:
            try:
                client.put_object(**request)
            except errors() as error:
                if code_of(error) in _NOT_MET:
                    return False
                if code_of(error) in _UNKNOWN:
                    return None
                raise
            return True

        return self.ask(name, once)

    def remove(self, names: Iterable[str]) -> None:
        """Removes objects; one that is not there is no error."""
        keys = [{"Key": self.key(name)} for name in names]
        for first in range(0, len(keys), _REMOVED_AT_ONCE):
            request = {"Objects": keys[first : first + _REMOVED_AT_ONCE], "Quiet": True}
            self._remove_some(request)

    def ask(self, name: str, question: Callable[[Any], Value], patience: Patience | None = None) -> Value:
        """Returns what a client of boto3 answers; what passes by itself is asked again.

        Args:
            name: The object, for messages.
            question: Asks.
            patience: Other than the store's own.

        Raises:
            Missing: If the object does not exist.
            UsageError: If a person has to mend something: credentials, bucket or rights.
            ElysiumError: If the server does not answer, or answers with a failure.
        """
        client = self._connect()
        where = client.meta.endpoint_url

        def once() -> Value:
            try:
                return question(client)
            except errors() as error:
                raise meaning(error, self.bucket, where, _SETTING) from error

        what = f"{self.uri}/{name}".rstrip("/")
        try:
            return (patience or self._patience).persist(what, once)
        except FetchError as error:
            if error.kind == "missing" and error.scope == "video":
                raise Missing(f"{what} does not exist") from error
            if error.kind == "denied":
                said = str(error).partition("(")[2].rstrip(")")
                raise UsageError(f"access to {what} is denied ({said}): the credentials need {_RIGHTS}") from error
            kind = UsageError if error.kind in ("credentials", "missing") else ElysiumError
            raise kind(f"{what} cannot be used: {error}") from error

    def _remove_some(self, request: dict[str, Any]) -> None:
        answer = self.ask("", lambda client: client.delete_objects(Bucket=self.bucket, Delete=request))
        for failed in answer.get("Errors", []):
            if failed.get("Code") not in ("NoSuchKey", "404"):
                raise ElysiumError(
                    f"s3://{self.bucket}/{failed.get('Key')} cannot be removed: {failed.get('Code')}: "
                    f"{failed.get('Message')}; run the same command again"
                )

    def _connect(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = _client(self.threads)
            return self._client


class Missing(ElysiumError):
    """An object that does not exist."""


def _client(threads: int) -> Any:
    import boto3
    from botocore.config import Config

    for name in ("botocore", "boto3"):
        # At debug level botocore logs answers whole, also the one of STS that holds the secrets of a web identity.
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.level, logging.WARNING))
    config = Config(
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=2 * threads,
        retries={"total_max_attempts": 1},  # `Patience` tries again: also what breaks off after the answer's head
        # The signature covers each body's SHA-256; checksums in trailers, botocore's default, Swift does not know.
        s3={"payload_signing_enabled": True},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        client = boto3.Session().client("s3", config=config, region_name=_region())
    except ValueError as error:
        raise UsageError(f"{_SETTING} is the URL of a server, got {os.environ.get(_SETTING)!r}") from error
    except errors() as error:
        raise UsageError(f"there are no credentials for S3: {error}") from error
    client.meta.events.register("before-call.s3.DeleteObjects", _add_md5)
    return client


def _region() -> str | None:
    """Returns a region where none is named and the server is not AWS, which alone needs the right one."""
    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    elsewhere = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get(_SETTING)
    return named or ("us-east-1" if elsewhere else None)


def _add_md5(params: dict[str, Any], **_: Any) -> None:
    """Adds what older servers ask for with DeleteObjects, and boto3 no longer sends."""
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()
