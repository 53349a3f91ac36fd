"""When the next request may start: so many a minute, and none while the server asks for a pause."""

from __future__ import annotations

import threading
from collections.abc import Callable


def pause(seconds: float, stop: threading.Event) -> None:
    """Waits, at most until `stop` is set."""
    if seconds > 0:
        stop.wait(seconds)


class Pace:
    """Spaces the requests of several threads evenly.

    Args:
        per_minute: Most requests a minute; None sets no limit.
        clock: Seconds that only go forwards.
        pausing: Waits so many seconds, or until the event is set.
    """

    def __init__(
        self,
        per_minute: float | None,
        clock: Callable[[], float],
        pausing: Callable[[float, threading.Event], None] = pause,
    ) -> None:
        self._interval = 60.0 / per_minute if per_minute else 0.0
        self._clock, self._pausing = clock, pausing
        self._lock = threading.Lock()
        self._next = clock()

    def wait(self, stop: threading.Event) -> None:
        """Takes the next place in the row, and waits for it."""
        with self._lock:
            now = self._clock()
            start = max(now, self._next)
            self._next = start + self._interval
        self._pausing(start - now, stop)

    def hold(self, seconds: float) -> None:
        """Lets no further request start for so many seconds."""
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)
