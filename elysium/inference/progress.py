"""How far a run is: a bar with frames a second and the time left on a terminal, now and then a line in a log."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import Protocol

logger = logging.getLogger(__name__)

# Seconds between lines in a log.
_PAUSE = 10.0


class Progress(Protocol):
    """Is told what a run does."""

    def __enter__(self) -> Progress: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def begin(self, name: str, total: int | None, done: int = 0) -> None:
        """A video begins: its name, how many frames it has, if that is known, and how many are done already."""

    def advance(self, name: str, count: int) -> None:
        """So many more of its frames are done."""

    def end(self, name: str) -> None:
        """A video has ended."""


def open_progress(num_videos: int) -> Progress:
    """Returns a bar where standard error is a terminal, else lines for a log."""
    return BarProgress(num_videos) if sys.stderr.isatty() else LogProgress(num_videos)


class LogProgress:
    """A line every ten seconds.

    Args:
        num_videos: Of the run.
        pause: Seconds between lines.
    """

    def __init__(self, num_videos: int, pause: float = _PAUSE) -> None:
        self._num_videos, self._pause = num_videos, pause
        self._totals: dict[str, int | None] = {}
        self._frames = self._at_start = self._ended = 0
        self._begun = self._told = time.monotonic()

    def __enter__(self) -> LogProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def begin(self, name: str, total: int | None, done: int = 0) -> None:
        """See `Progress`."""
        if not self._totals:
            self._begun = self._told = time.monotonic()
        self._totals[name] = total
        self._frames += done
        self._at_start += done

    def advance(self, name: str, count: int) -> None:
        """See `Progress`."""
        self._frames += count
        now = time.monotonic()
        if now - self._told < self._pause:
            return
        self._told = now
        rate = (self._frames - self._at_start) / (now - self._begun)
        of_videos = f", {self._ended} of {self._num_videos} videos" if self._num_videos > 1 else ""
        totals = list(self._totals.values())
        known = [total for total in totals if total is not None]
        if len(known) == len(totals) == self._num_videos:
            left = max(sum(known) - self._frames, 0)
            logger.info(
                "%d of %d frames%s, %.1f frames/s, %s left",
                *(self._frames, sum(known), of_videos, rate, shown_time(left / rate)),
            )
        else:
            logger.info("%d frames%s, %.1f frames/s", self._frames, of_videos, rate)

    def end(self, name: str) -> None:
        """See `Progress`."""
        self._ended += 1


class BarProgress:
    """A bar for the run and one for each video that is on its way, drawn with rich.

    Args:
        num_videos: Of the run.
    """

    def __init__(self, num_videos: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        # Standard output belongs to the results.
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._all = self._bars.add_task(f"{num_videos} videos", total=num_videos, speed="") if num_videos > 1 else None
        self._tasks: dict[str, tuple[int, float, int]] = {}

    def __enter__(self) -> BarProgress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, name: str, total: int | None, done: int = 0) -> None:
        """See `Progress`."""
        number = self._bars.add_task(name, total=total, completed=done, speed="")
        self._tasks[name] = (number, time.monotonic(), 0)

    def advance(self, name: str, count: int) -> None:
        """See `Progress`."""
        number, begun, frames = self._tasks[name]
        frames += count
        self._tasks[name] = (number, begun, frames)
        speed = f"{frames / max(time.monotonic() - begun, 1e-6):.1f} frames/s"
        self._bars.update(number, advance=count, speed=speed)  # type: ignore[arg-type] # rich's TaskID is an int

    def end(self, name: str) -> None:
        """See `Progress`."""
        if name in self._tasks:
            self._bars.remove_task(self._tasks.pop(name)[0])  # type: ignore[arg-type] # likewise
        if self._all is not None:
            self._bars.advance(self._all)


def shown_time(seconds: float) -> str:
    """Returns a duration for people.

    Example:
        >>> shown_time(59.7), shown_time(754), shown_time(7300)
        ('1:00', '12:34', '2:01:40')
    """
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
