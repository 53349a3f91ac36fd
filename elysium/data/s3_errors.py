"""What the errors of S3 mean: for one object, for the whole run, or for a moment only."""

from __future__ import annotations

from typing import Any

from elysium.data.transfer import FetchError, seconds_asked

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
CHANGED = frozenset(["InvalidRange", "PreconditionFailed", "412", "416"])
_AGAIN = "run the same command again; nothing that is finished is lost"


def meaning(error: Exception, bucket: str, endpoint: str | None, setting: str = "ingest.s3_endpoint") -> FetchError:
    """Returns what an error of botocore's means.

    Args:
        error: As raised.
        bucket: That was asked for.
        endpoint: URL of the server; None is AWS.
        setting: What names the server, for the person who has to mend it.
    """
    from botocore import exceptions as of
    from urllib3.exceptions import HTTPError

    if isinstance(error, of.ClientError):
        return _answer_meaning(error, bucket, endpoint or "AWS", setting)
    unreachable = (of.EndpointConnectionError, of.ConnectTimeoutError, of.ProxyConnectionError, of.SSLError)
    if isinstance(error, unreachable):
        message = f"the S3 server cannot be reached: {error}; see {setting} and the network, then {_AGAIN}"
        return FetchError(message, kind="unreachable", scope="run", passing=True)
    if isinstance(error, of.HTTPClientError | of.IncompleteReadError | HTTPError):
        return FetchError(f"the transfer broke off: {error}", passing=True)
    if isinstance(error, of.FlexibleChecksumError):
        return FetchError(f"the bytes that came are not those that S3 holds: {error}", kind="checksum", passing=True)
    if isinstance(error, of.ParamValidationError):
        return FetchError(f"no object can have that name: {error}", kind="missing")
    name = type(error).__name__
    if any(word in name for word in ("Credential", "Token", "Login", "SSO", "Metadata", "Profile", "Assume")):
        message = f"there are no credentials for S3 ({error}): {_renew()}"
        return FetchError(message, kind="credentials", scope="run")
    return FetchError(f"{name}: {error}")


def _answer_meaning(error: Any, bucket: str, where: str, setting: str) -> FetchError:
    code, status = code_of(error), int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    said = f"{code}: {error.response.get('Error', {}).get('Message', '')}".rstrip(": ")
    if code in _CREDENTIALS or error.operation_name.startswith("AssumeRole"):
        message = f"S3 refuses the credentials ({said}): {_renew()}"
        return FetchError(message, kind="credentials", scope="run")
    if code in _NO_BUCKET:
        message = (
            f"the bucket {bucket!r} does not exist on {where} ({said}): mend the address or {setting}, then {_AGAIN}"
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
    passing = status >= 500 or code in _PASSING or code in CHANGED
    return FetchError(f"the server answered {status} ({said})", passing=passing)


def _renew() -> str:
    return (
        f"renew them (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, a profile or a role) and {_AGAIN}"
    )


def code_of(error: Exception) -> str:
    """Returns the code that the server answered; empty where it did not."""
    answer = getattr(error, "response", None) or {}  # a connection that was closed has one that is None
    return str(answer.get("Error", {}).get("Code", ""))


def errors() -> tuple[type[Exception], ...]:
    """Returns what botocore raises when a request fails."""
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
    from urllib3.exceptions import HTTPError

    return BotoCoreError, ClientError, HTTPClientError, HTTPError
