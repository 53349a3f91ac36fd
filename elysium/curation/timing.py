"""Where a trial's time goes, stage by stage: what `elysium curate plan` calculates with."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


class StageClock:
    """Adds up the seconds of an engine's stages.

    Models are timed by the clock, for a GPU that waits for its process is held all the same; decoding and storing by
    their thread's processor time, for they share the cores, and waiting for a download takes none.

    Attributes:
        seconds: By stage, and kind of time in its name: `ground` and `track` (clock), `decode` and `store` (processor).

    Example:
        >>> clock = StageClock()
        >>> with clock.by_clock("ground"):
        ...     pass
        >>> list(clock.iterate("decode", iter("ab"))), sorted(clock.seconds)
        (['a', 'b'], ['decode', 'ground'])
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def by_clock(self, stage: str) -> Iterator[None]:
        """Counts the block's time by the clock."""
        with self._timed(stage, time.perf_counter):
            yield

    @contextmanager
    def by_processor(self, stage: str) -> Iterator[None]:
        """Counts the processor's time in this thread."""
        with self._timed(stage, time.thread_time):
            yield

    def iterate(self, stage: str, items: Iterator[Item]) -> Iterator[Item]:
        """Yields the items, and counts the processor's time until each comes, in the thread that asks for it."""
        while True:
            with self.by_processor(stage):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    @contextmanager
    def _timed(self, stage: str, now: Callable[[], float]) -> Iterator[None]:
        begun = now()
        try:
            yield
        finally:
            self.seconds[stage] += now() - begun
