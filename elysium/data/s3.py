"""Objects on S3, and what its errors mean: for one object, for the whole run, or for a moment only."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from elysium.data.storage import Entry, split_s3
from elysium.data.transfer import CHUNK, Arrival, FetchError, Patience, check_whole, receive, seconds_asked
from elysium.errors import UsageError

# Codes of the S3 API reference, "Error responses", and of AWS's common throttling errors as botocore lists them.
_CREDENTIALS = frozenset(
    [
        "AccountProblem",
        "AllAccessDisabled",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncorrectSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "InvalidToken",
        "MissingSecurityHeader",
        "NotSignedUp",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    ]
)
_THROTTLED = frozenset(
    [
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "TooManyRequestsException",
        "TransactionInProgressException",
        "429",
    ]
)
_PASSING = frozenset(
    ["InternalError", "OperationAborted", "RequestTimeout", "RequestTimeoutException", "ServiceUnavailable"]
)
_NO_BUCKET = frozenset(["NoSuchBucket", "PermanentRedirect"])
_MISSING = frozenset(["NoSuchKey", "NoSuchVersion", "NotFound", "404", "InvalidBucketName", "KeyTooLongError"])
_DENIED = frozenset(["AccessDenied", "Forbidden", "InvalidObjectState", "403", "401"])
_CHANGED = frozenset(["InvalidRange", "PreconditionFailed", "412", "416"])
_AGAIN = "run the same command again; nothing that is finished is lost"
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
        except (*_errors(), Boto3Error) as error:
            raise FetchError(f"{uri} cannot be written: {error}") from error

    def remove(self, uri: str) -> None:
        """Removes one object."""
        bucket, key = split_s3(uri)
        try:
            self._connect(attempts=3).delete_object(Bucket=bucket, Key=key)
        except _errors() as error:
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
            except _errors() as error:
                if _code(error) in _CHANGED:
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
        except _errors() as error:
            raise self._meaning(error, bucket) from error

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

    def _meaning(self, error: Exception, bucket: str) -> FetchError:
        """Returns what an error of botocore's means."""
        from botocore import exceptions as of
        from urllib3.exceptions import HTTPError

        where = self._endpoint or "AWS"
        if isinstance(error, of.ClientError):
            return self._answer_meaning(error, bucket, where)
        unreachable = (of.EndpointConnectionError, of.ConnectTimeoutError, of.ProxyConnectionError, of.SSLError)
        if isinstance(error, unreachable):
            message = f"the S3 server cannot be reached: {error}; see ingest.s3_endpoint and the network, then {_AGAIN}"
            return FetchError(message, kind="unreachable", scope="run", passing=True)
        if isinstance(error, of.HTTPClientError | of.IncompleteReadError | HTTPError):
            return FetchError(f"the transfer broke off: {error}", passing=True)
        if isinstance(error, of.FlexibleChecksumError):
            return FetchError(
                f"the bytes that came are not those that S3 holds: {error}", kind="checksum", passing=True
            )
        if isinstance(error, of.ParamValidationError):
            return FetchError(f"no object can have that name: {error}", kind="missing")
        name = type(error).__name__
        if any(word in name for word in ("Credential", "Token", "Login", "SSO", "Metadata", "Profile", "Assume")):
            message = f"there are no credentials for S3 ({error}): {_renew()}"
            return FetchError(message, kind="credentials", scope="run")
        return FetchError(f"{name}: {error}")

    def _answer_meaning(self, error: Any, bucket: str, where: str) -> FetchError:
        code, status = _code(error), int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        said = f"{code}: {error.response.get('Error', {}).get('Message', '')}".rstrip(": ")
        if code in _CREDENTIALS:
            message = f"S3 refuses the credentials ({said}): {_renew()}"
            return FetchError(message, kind="credentials", scope="run")
        if code in _NO_BUCKET:
            message = (
                f"the bucket {bucket!r} does not exist on {where} ({said}): mend the address or ingest.s3_endpoint, "
                f"then {_AGAIN}"
            )
            return FetchError(message, kind="missing", scope="run")
        if code in _MISSING:
            return FetchError(f"the object does not exist ({said})", kind="missing")
        if code in _THROTTLED or (status == 503 and code not in _PASSING) or status == 429:
            headers = error.response["ResponseMetadata"].get("HTTPHeaders", {})
            wait = seconds_asked(headers.get("retry-after"))
            return FetchError(f"S3 asks for patience ({said})", kind="throttled", passing=True, retry_after=wait)
        if code in _DENIED:
            return FetchError(f"the object may not be read ({said})", kind="denied")
        passing = status >= 500 or code in _PASSING or code in _CHANGED
        return FetchError(f"the server answered {status} ({said})", passing=passing)


def _renew() -> str:
    return (
        f"renew them (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, a profile or a role) and {_AGAIN}"
    )


def _code(error: Exception) -> str:
    answer = getattr(error, "response", None) or {}  # a connection that was closed has one that is None
    return str(answer.get("Error", {}).get("Code", ""))


def _errors() -> tuple[type[Exception], ...]:
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
    from urllib3.exceptions import HTTPError

    return BotoCoreError, ClientError, HTTPClientError, HTTPError
