"""How a file arrives: counted and hashed as it comes, gone on with after a break, tried again with patience.

One loop serves S3 and the web, instead of botocore's own retries beside one for http: botocore ends its retries when
the answer's head is there, and a download breaks later than that; it does not go on where a file broke off; and it
cannot be told how long one file may take in all.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Literal, TypeVar

from elysium.errors import ElysiumError

CHUNK = 1 << 20
# What is wrong with where files are put, not with the file.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})

Value = TypeVar("Value")
Kind = Literal[
    "missing",  # it does not exist
    "denied",  # it may not be read
    "not_allowed",  # a setting of ours forbids the address
    "too_large",
    "empty",
    "checksum",  # other bytes than the source announced
    "transfer",  # broken off, timed out, or a server's failure
    "throttled",  # the server asks for patience
    "unreachable",  # no server answers
    "credentials",  # missing, wrong or expired
    "disk",  # nowhere to put it
]


class FetchError(ElysiumError):
    """A file that could not be brought here; the message says why, without naming local folders.

    Args:
        message: What is wrong, and what to do about it if the run has to stop.
        kind: What is wrong, in one word.
        scope: `video` if another file may well arrive; `run` if none will until a person has mended something.
        passing: Whether the same may end well a moment later.
        retry_after: Seconds that the server asks to wait for.

    Attributes:
        kind: As given.
        scope: As given.
        passing: As given.
        retry_after: As given.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: Kind = "transfer",
        scope: Literal["video", "run"] = "video",
        passing: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.scope: Literal["video", "run"] = scope
        self.passing = passing
        self.retry_after = retry_after


class TooLargeError(FetchError):
    """A file over the limit of bytes."""


class PrivateAddressError(FetchError):
    """A web address that leads into a private network."""


@dataclass(frozen=True)
class Patience:
    """How often and how long a transfer is tried again.

    Pauses double from `pause` to `longest`, and of each a share between half and all is waited: which share follows
    from the address, so that many files that fail at once do not come back at once, and no random number is needed.

    Attributes:
        retries: Further attempts after the first.
        seconds: After the first failure, within which an attempt may still begin.
        deadline: Seconds that one file may take in all; None for as long as it likes.
        pause: Seconds before the second attempt.
        longest: Seconds of one pause at most. A server that asks for more is believed, up to `seconds`.
        sleep: Waits.
        clock: Tells seconds.
    """

    retries: int = 2
    seconds: float = 60
    deadline: float | None = None
    pause: float = 0.5
    longest: float = 20
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def persist(self, what: str, once: Callable[[], Value]) -> Value:
        """Returns what `once` returns in the end.

        Args:
            what: The address.
            once: One attempt.

        Raises:
            FetchError: The first that does not pass by itself, or the last; its message then counts the attempts.
        """
        failed: float | None = None
        for attempt in itertools.count(1):
            try:
                return once()
            except FetchError as error:
                if not error.passing:
                    raise
                now = self.clock()
                failed = now if failed is None else failed
                wait = max(self.wait(what, attempt), error.retry_after or 0)
                if attempt > self.retries or now + wait - failed > self.seconds:
                    if attempt > 1:
                        error.args = (f"{error} (after {attempt} attempts)",)
                    raise
                self.sleep(wait)
        raise AssertionError("unreachable")

    def wait(self, what: str, attempt: int) -> float:
        """Returns the seconds to wait after a failed attempt, numbered from 1, if the server asks for nothing."""
        full = min(self.longest, self.pause * 2.0 ** min(attempt - 1, 30))
        digest = hashlib.sha256(f"{what}#{attempt}".encode(errors="replace")).digest()
        return full * (0.5 + int.from_bytes(digest[:4], "big") / 2**33)


class Arrival:
    """A file on its way.

    Attributes:
        size: Bytes so far.
        mark: What tells this version of the file from another one (an ETag or a date), if the server can go on in
            the middle; None if it cannot.
    """

    def __init__(self, file: IO[bytes], max_bytes: int, patience: Patience) -> None:
        self.size = 0
        self.mark: str | None = None
        self._file, self._max_bytes, self._patience = file, max_bytes, patience
        self._hash = hashlib.sha256()
        self._stop = None if patience.deadline is None else patience.clock() + patience.deadline

    @property
    def sha256(self) -> str:
        """Of the bytes so far, in hex."""
        return self._hash.hexdigest()

    def expect(self, size: int) -> None:
        """Raises FetchError if a file of that size is not taken."""
        check_size(size, self._max_bytes)

    def write(self, chunk: bytes) -> None:
        """Adds bytes.

        Raises:
            FetchError: If there are too many, no room for them, or they came too late.
        """
        self.size += len(chunk)
        check_size(self.size, self._max_bytes)
        if self._stop is not None and self._patience.clock() > self._stop:
            raise FetchError(f"not finished after {self._patience.deadline:g} s (ingest.transfer_seconds)")
        try:
            self._file.write(chunk)
        except OSError as error:
            raise disk_error(error) from error
        self._hash.update(chunk)

    def restart(self) -> None:
        """Forgets what came."""
        self._file.seek(0)
        self._file.truncate()
        self.size, self.mark, self._hash = 0, None, hashlib.sha256()


def receive(uri: str, target: Path, max_bytes: int, patience: Patience, once: Callable[[Arrival], None]) -> str:
    """Brings one file to `target`, where it appears only when it is whole, and returns its SHA-256.

    Args:
        uri: Its address.
        target: Where it shall be; its folder is made.
        max_bytes: More are refused.
        patience: How often and how long.
        once: One attempt. It goes on from `arrival.size` if the server can, else it calls `arrival.restart` first.

    Raises:
        FetchError: If it did not come; nothing is left then.
    """
    try:
        with whole_file(target) as file:
            arrival = Arrival(file, max_bytes, patience)
            patience.persist(uri, lambda: once(arrival))
            check_size(arrival.size, max_bytes)
            return arrival.sha256
    except OSError as error:
        raise disk_error(error) from error


def disk_error(error: OSError) -> FetchError:
    """Returns what to raise when a file cannot be put where it should be."""
    reason = error.strerror or str(error)
    if error.errno in _NO_ROOM:
        reason = f"{reason}; make room there and run the same command again"
    return FetchError(f"the file cannot be written: {reason}", kind="disk", scope="run")


def check_size(size: int, max_bytes: int) -> None:
    """Raises FetchError if a file is empty or too large."""
    if size == 0:
        raise FetchError("the file is empty (0 bytes)", kind="empty")
    if size > max_bytes:
        message = f"{size / 2**20:.1f} MiB exceed the limit of {max_bytes / 2**20:g} MiB (ingest.max_clip_mib)"
        raise TooLargeError(message, kind="too_large")


def check_whole(arrival: Arrival, expected: int) -> None:
    """Raises FetchError if a transfer ended early."""
    if arrival.size != expected:
        raise FetchError(f"the transfer ended after {arrival.size} of {expected} bytes", passing=True)


def seconds_asked(header: str | None) -> float | None:
    """Returns the seconds that a `Retry-After` header asks for (RFC 9110 §10.2.3): a number, or until a date.

    Example:
        >>> seconds_asked("120"), seconds_asked("Fri, 31 Dec 1999 23:59:59 GMT"), seconds_asked("soon")
        (120.0, 0.0, None)
    """
    text = (header or "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


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
