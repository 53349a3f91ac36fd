"""Saves the half-done work of a step on S3 while the step runs."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

from elysium.errors import ElysiumError
from elysium.pipeline.remote_partial import Partial

logger = logging.getLogger(__name__)

SECONDS = 30.0  # between two copies


class Keeper:
    """Saves half-done work every now and then, in a thread."""

    def __init__(self, partial: Partial, key: str, seconds: float, allowed: Callable[[], bool]) -> None:
        self._partial, self._key, self._seconds, self._allowed = partial, key, seconds, allowed
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="elysium-keeper", daemon=True)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Saves while the block runs, and once more if it fails or is stopped."""
        self._thread.start()
        try:
            yield
        except BaseException:
            self._end()
            self._save(last=True)
            raise
        finally:
            self._end()

    def save_all(self) -> None:
        """Saves all there is.

        Raises:
            ElysiumError: If it could not be.
        """
        if not self._allowed():
            raise ElysiumError("another process took this part of the work over: it is not saved from here")
        if self._partial.save(self._key) is None:
            raise ElysiumError("what was done could not be saved: its folder is still changing; run the step again")

    def _end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ended.wait(self._seconds):
            self._save()

    def _save(self, *, last: bool = False) -> None:
        try:
            if not self._allowed():
                return
            count = self._partial.save(self._key)
        except (ElysiumError, OSError) as error:
            logger.warning("half-done work was not saved: %s", error)
            return
        if last and count is not None:
            logger.warning("what was done so far is saved (%d files): the same command goes on with it anywhere", count)
        elif last:
            logger.warning("half-done work was not saved: its folder is still changing")
