"""What the tasks on sets of objects share: their items, what decides answers and figures, what they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from elysium.evaluation.leaks import Clip
from elysium.evaluation.tasks.work import truth_digest


class Asked(Protocol):
    """One item of a task."""

    @property
    def id(self) -> str:
        """Unique in the task."""

    @property
    def pictures(self) -> Sequence[Path]:
        """The files that it is asked about."""

    @property
    def truth(self) -> tuple[Any, ...]:
        """All that its figures are measured by."""


Item = TypeVar("Item", bound=Asked)


class SetTask(Generic[Item]):
    """A task on a set.

    Args:
        name: Task and set.
        where: Name of the set.
        items: What is asked about.
        baselines: Which of `work.BASELINES` to measure, where they apply.
        facts: What else decides the answers.
        protocol: What else the figures depend on.
        notes: What a reader must know.
        clips: What the items show, where more is known of it than their frames' paths.
    """

    def __init__(
        self,
        name: str,
        where: str,
        items: Sequence[Item],
        *,
        baselines: Sequence[str],
        facts: Mapping[str, Any] | None = None,
        protocol: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
        clips: Sequence[Clip] = (),
    ) -> None:
        self._name, self._where, self._baselines = name, where, tuple(baselines)
        self._items = {item.id: item for item in items}
        self._facts, self._protocol, self._notes = dict(facts or {}), dict(protocol or {}), list(notes)
        self._clips = list(clips)

    @property
    def name(self) -> str:
        """Task and set."""
        return self._name

    @property
    def sizes(self) -> Mapping[str, int]:
        """Frames of each item."""
        return {item.id: len(item.pictures) for item in self._items.values()}

    @property
    def facts(self) -> Mapping[str, Any]:
        """What decides the answers."""
        truth = truth_digest((item.id, *item.truth) for item in self._items.values())
        return {"task": self.name, "baselines": self._baselines, "truth": truth, **self._facts}

    @property
    def items(self) -> Mapping[str, Item]:
        """What is asked about, by id."""
        return self._items

    def clips(self) -> list[Clip]:
        """What the items show."""
        return self._clips or [
            Clip(item.id, None, list(item.pictures), dataset=self._where) for item in self._items.values()
        ]

    def check(self) -> None:
        """Nothing else is needed."""
