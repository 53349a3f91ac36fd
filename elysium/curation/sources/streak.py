"""Failures of servers that come one after the other: then it is no longer the videos."""

from __future__ import annotations

import threading

from elysium.data.transfer import FetchError, Kind

# A list may well hold a stretch of videos that are gone, too large or wrong; these say that a server is in trouble.
SUSPICIOUS: frozenset[Kind] = frozenset({"throttled", "transfer", "unreachable", "denied"})


class FailureStreak:
    """Counts the videos in a row whose server failed. One serves all threads of a process.

    What was noted as failed before the error below may be the same trouble: blocks in which it was are given up with
    the run, also those of a shard that was published meanwhile (`curation.curate`).

    Args:
        most: So many in a row stop the run (`ingest.max_failures_in_a_row`).
    """

    def __init__(self, most: int) -> None:
        self._most, self._length = most, 0
        self._lock = threading.Lock()

    @property
    def length(self) -> int:
        """How many there are now."""
        return self._length

    def note(self, error: FetchError | None) -> None:
        """Takes down how fetching a video ended.

        Args:
            error: What was raised; None for a video that came.

        Raises:
            FetchError: With scope `run`, if `error` has that, or the row is as long as may be.
        """
        if error is not None and error.scope == "run":
            raise error
        with self._lock:
            if error is None:
                self._length = 0
                return
            # What is wrong with one video says nothing about its server.
            self._length += error.kind in SUSPICIOUS
            if error.kind not in SUSPICIOUS or self._length < self._most:
                return
        raise FetchError(
            f"{self._length} videos in a row could not be fetched, the last: {error}; see what is wrong with the "
            "server or the permissions, then run the same command again: nothing that is finished is lost "
            "(ingest.max_failures_in_a_row)",
            kind=error.kind,
            scope="run",
        ) from error
