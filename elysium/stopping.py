"""A run that is asked to stop: by Ctrl-C, or by SIGTERM, as Kubernetes, Slurm and others send it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from elysium.errors import ElysiumError

_PATIENCE = 20.0  # seconds; Kubernetes waits 30 before it kills


class Stopped(ElysiumError):
    """A signal asked a run to stop; what is finished is kept, and the same command goes on from there."""

    def __init__(self, number: int) -> None:
        super().__init__(_sentence(number))
        self.exit_code = 128 + number


class _Stop(KeyboardInterrupt):
    """Passes whatever deals with the failures of single videos."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Ends what runs inside at the first SIGINT or SIGTERM.

    Whatever is written appears when it is whole, so nothing needs to be waited for: but threads that are in the middle
    of a download or a model are given some seconds to end. At a second signal, or after that time, the process ends as
    it stands.

    Raises:
        Stopped: If a signal came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    ending: list[threading.Timer] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if ending:
            _end(number)
        ending.append(threading.Timer(_PATIENCE, _end, (number,)))
        ending[0].daemon = True
        ending[0].start()
        raise _Stop(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except _Stop as stop:
        raise Stopped(stop.number) from None
    finally:
        for timer in ending:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def own_signals() -> Iterator[None]:
    """Brings back the handlers of signals that a library puts its own in place of."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int) -> None:
    sys.stderr.write(f"error: {_sentence(number)}\n")
    sys.stderr.flush()
    os._exit(128 + number)


def _sentence(number: int) -> str:
    name = signal.Signals(number).name
    return f"stopped by {name}; what is finished is kept: run the same command again to go on"
