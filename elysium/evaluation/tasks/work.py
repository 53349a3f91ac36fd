"""What every task on every set has in common: items to ask about, and how answers become figures."""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from elysium.evaluation.leaks import Clip
from elysium.evaluation.results import Cost, Figures, ItemResult
from elysium.inference import Engine

Item = TypeVar("Item")

STATIC, SINGLE, CSRT = "static_box", "frame_by_frame", "csrt"
BASELINES = (STATIC, SINGLE, CSRT)


@dataclass(frozen=True)
class Finished:
    """All items of a task, with what only all of them together give.

    Attributes:
        items: With all of their figures.
        corpus: System to figures that are no means over items.
        protocol: What the figures depend on beside the model.
        notes: What a reader must know, in sentences.
    """

    items: Sequence[ItemResult]
    corpus: Mapping[str, Figures] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


class Work(Protocol):
    """A task on a set: the seam between what is measured and how it is run, sharded and gone on with."""

    @property
    def name(self) -> str:
        """Task and set, e.g. `sot-lasot`: the key in `metrics.json`."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """Id of each item to the number of frames that it is asked about, in the order of asking."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Plain data that decides the answers beside the model; a run with other facts does not go on with this one."""

    def clips(self) -> list[Clip]:
        """Returns what the items show, to be looked for in training data."""

    def check(self) -> None:
        """Looks for what will be needed later, such as a judge, before anything is asked."""

    def measure(self, engine: Engine, ids: Sequence[str]) -> Iterator[list[ItemResult]]:
        """Asks about some items, side by side, and yields results as they are there, in any order."""

    def finish(self, items: Sequence[ItemResult], folder: Path) -> Finished:
        """Returns what all items together give; the folder is the task's, for what must be kept."""


class Stopwatch:
    """Measures what the model's answers cost, and nothing else: it stands still while baselines are measured.

    Args:
        engine: That is asked.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.go_on()

    def go_on(self) -> None:
        """Starts anew; what was between is nobody's cost."""
        self._begun, self._tokens = time.perf_counter(), _tokens(self._engine)

    def lap(self, frames: Sequence[int]) -> list[Cost]:
        """Returns the cost since the start or the last lap, shared among items by their number of frames."""
        seconds, tokens = time.perf_counter() - self._begun, _tokens(self._engine) - self._tokens
        peak, total = round(peak_mib(), 1), max(sum(frames), 1)
        self.go_on()
        return [
            Cost(
                seconds=round(seconds * count / total, 6),
                frames=count,
                tokens=round(tokens * count / total, 3),
                peak_mib=peak,
            )
            for count in frames
        ]


def batched(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Yields the items, so many at once."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def truth_digest(items: Iterable[Sequence[Any]]) -> str:
    """Returns the SHA-256 of what is asked and what is right, arrays and plain data alike.

    Figures are made as items are measured: with other truth, mended say, old ones must not be gone on with.
    """
    found = hashlib.sha256()
    for item in items:
        for part in item:
            found.update(part.tobytes() if isinstance(part, np.ndarray) else json.dumps(part).encode())
            found.update(b"\n")
    return found.hexdigest()


def peak_mib() -> float:
    """Returns the most memory that this process has taken: of the accelerator where it uses one, else resident."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**20
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def device_name() -> str:
    """Returns what this process computes on, in words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads"


def _tokens(engine: Engine) -> int:
    return engine.stats.chosen + engine.stats.fixed
