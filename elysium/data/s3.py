"""Objects on S3 as a storage: listed, fetched, stored."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from elysium.data.s3_errors import CHANGED, code_of, errors, meaning
from elysium.data.storage import Entry, split_s3
from elysium.data.transfer import CHUNK, Arrival, FetchError, Patience, check_whole, receive
from elysium.errors import UsageError

_CONNECTIONS = 64  # kept open for as many threads

Value = TypeVar("Value")


class S3Storage:
    """Objects named `s3://bucket/key`; credentials come from the environment, as boto3 finds them.

    One serves all threads of a process: its connections are kept and shared.
    """

    def __init__(self, endpoint: str | None = None, patience: Patience | None = None) -> None:
        """Connects lazily.

        Args:
            endpoint: URL of the server; None is AWS.
            patience: How often and how long a transfer is tried again.
        """
        self._endpoint = endpoint
        self._patience = patience or Patience()
        self._clients: dict[int, Any] = {}
        self._lock = threading.Lock()

    def iterate_files(self, uri: str) -> Iterator[Entry]:
        """Yields all objects whose key begins with the prefix and a slash, as the server lists them: sorted."""
        bucket, prefix = split_s3(uri)
        prefix = f"{prefix.rstrip('/')}/" if prefix else ""
        further: dict[str, str] = {}
        while True:
            page = self._listed(uri, {"Bucket": bucket, "Prefix": prefix, **further})
            for item in page.get("Contents", []):
                if not item["Key"].endswith("/"):
                    name = item["Key"].removeprefix(prefix)
                    yield Entry(f"s3://{bucket}/{item['Key']}", name, int(item["Size"]))
            if not page.get("IsTruncated"):
                return
            further = {"ContinuationToken": page["NextContinuationToken"]}

    def list_files(self, uri: str) -> list[Entry]:
        """Returns all objects whose key begins with the prefix and a slash, sorted."""
        return sorted(self.iterate_files(uri), key=lambda entry: entry.name)

    def fetch(self, uri: str, target: Path, max_bytes: int) -> str:
        """Downloads one object; one that broke off is gone on with where it ended."""
        return receive(uri, target, max_bytes, self._patience, lambda arrival: self._fetch_once(uri, arrival))

    def version(self, uri: str) -> str | None:
        """Returns the object's ETag."""
        bucket, key = split_s3(uri)

        def ask(client: Any) -> str | None:
            # Not HEAD: its errors have no body that says what is wrong.
            answer = client.get_object(Bucket=bucket, Key=key)
            answer["Body"].close()
            return str(answer["ETag"]) if "ETag" in answer else None

        return self._patience.persist(uri, lambda: self._ask(bucket, ask))

    def store(self, path: Path, uri: str) -> None:
        """Uploads one file, a large one in parts side by side."""
        from boto3.exceptions import Boto3Error

        bucket, key = split_s3(uri)
        try:
            self._connect(attempts=3).upload_file(str(path), bucket, key)
        except (*errors(), Boto3Error) as error:
            raise FetchError(f"{uri} cannot be written: {error}") from error

    def remove(self, uri: str) -> None:
        """Removes one object."""
        bucket, key = split_s3(uri)
        try:
            self._connect(attempts=3).delete_object(Bucket=bucket, Key=key)
        except errors() as error:
            raise FetchError(f"{uri} cannot be removed: {error}") from error

    def _listed(self, uri: str, request: dict[str, str]) -> dict[str, Any]:
        def once() -> dict[str, Any]:
            found: dict[str, Any] = self._ask(request["Bucket"], lambda client: client.list_objects_v2(**request))
            return found

        try:
            return self._patience.persist(uri, once)
        except FetchError as error:
            if error.passing:
                raise FetchError(
                    f"{uri} cannot be listed: {error}", kind=error.kind, scope="run", passing=True
                ) from error
            raise UsageError(f"{uri} cannot be listed: {error}") from error

    def _fetch_once(self, uri: str, arrival: Arrival) -> None:
        from botocore.exceptions import FlexibleChecksumError

        bucket, key = split_s3(uri)
        on = {"Range": f"bytes={arrival.size}-", "IfMatch": arrival.mark} if arrival.size and arrival.mark else {}

        def ask(client: Any) -> None:
            try:
                answer = client.get_object(Bucket=bucket, Key=key, **on)
            except errors() as error:
                if code_of(error) in CHANGED:
                    arrival.restart()
                raise
            with closing(answer["Body"]) as body:  # also what is too large has to be closed
                if not str(answer.get("ContentRange", "")).startswith(f"bytes {arrival.size}-"):
                    arrival.restart()
                arrival.mark = answer.get("ETag")
                expected = arrival.size + int(answer["ContentLength"])
                arrival.expect(expected)
                try:
                    while chunk := body.read(CHUNK):
                        arrival.write(chunk)
                except FlexibleChecksumError:
                    arrival.restart()
                    raise
            check_whole(arrival, expected)

        self._ask(bucket, ask)

    def _ask(self, bucket: str, question: Callable[[Any], Value]) -> Value:
        """Returns what a client answers.

        Raises:
            FetchError: For whatever botocore raises.
        """
        try:
            return question(self._connect())
        except errors() as error:
            raise meaning(error, bucket, self._endpoint) from error

    def _connect(self, attempts: int = 1) -> Any:
        with self._lock:
            if attempts not in self._clients:
                import boto3
                from botocore.config import Config

                config = Config(
                    connect_timeout=10,
                    read_timeout=30,
                    max_pool_connections=_CONNECTIONS,
                    retries={"total_max_attempts": attempts, "mode": "standard"},
                )
                # A session of its own: boto3's shared one keeps the credentials it saw first.
                try:
                    self._clients[attempts] = boto3.Session().client("s3", endpoint_url=self._endpoint, config=config)
                except ValueError as error:
                    raise UsageError(f"ingest.s3_endpoint is the URL of a server, got {self._endpoint!r}") from error
            return self._clients[attempts]
