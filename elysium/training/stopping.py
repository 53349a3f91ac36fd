"""Training that is asked to stop: the step at hand is finished, and everything saved."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from transformers import TrainerCallback

from elysium.errors import ElysiumError
from elysium.training.processes import largest


class TrainingStopped(ElysiumError):
    """A signal asked training to stop; it saved, and goes on when it is started again."""

    def __init__(self, number: int, step: int) -> None:
        super().__init__(
            f"stopped by {signal.Signals(number).name} after step {step}; the state is saved: run it again to go on"
        )
        self.exit_code = 128 + number


class StopOnSignal(TrainerCallback):
    """Saves and ends training after the step in which a signal came, in all processes."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Asks all processes whether one was told."""
        # All processes stop at the same step, whoever was told.
        received = largest(self._signals.received or 0, args.device)
        if received:
            self._signals.received = received
            control.should_save = True
            control.should_training_stop = True


class Signals:
    """Remembers SIGTERM and SIGINT while training runs; the step at hand is finished first."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, _: FrameType | None) -> None:
        self.received = number
