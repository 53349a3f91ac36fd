"""Finding a named object in one picture (REC): the share of boxes whose overlap with the true one is large enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from elysium.boxes import FloatArray, to_pixels
from elysium.data.stored_frames import read_stored
from elysium.errors import ElysiumError
from elysium.evaluation.grounding.scores import score_grounding
from elysium.evaluation.leaks import Clip
from elysium.evaluation.results import MODEL, Figures, ItemResult
from elysium.evaluation.tasks.asking import Crashed, Image, ground
from elysium.evaluation.tasks.base import SetTask
from elysium.evaluation.tasks.following import plain_box
from elysium.evaluation.tasks.groups import pixel_size, relative_size
from elysium.evaluation.tasks.work import STATIC, Finished, Stopwatch, batched
from elysium.inference import Engine

# The box that needs no look at the picture: its middle half.
_MIDDLE = (0.25, 0.25, 0.75, 0.75)
# Expressions of one picture stand together, but for the last pictures of a chunk.
_KEPT = 32


@dataclass(frozen=True, eq=False)
class Named:
    """One expression to find.

    Attributes:
        id: Unique in the task.
        video: The video or picture it is in.
        path: The picture.
        expression: What to find.
        box: Shape `(4,)`, the true `(x1, y1, x2, y2)` in pixels.
        size: `(width, height)` of the picture in pixels.
        groups: See `ItemResult`; sizes come by themselves.
    """

    id: str
    video: str
    path: Path
    expression: str
    box: FloatArray
    size: tuple[int, int]
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def pictures(self) -> Sequence[Path]:
        """The files that it is asked about."""
        return [self.path]

    @property
    def truth(self) -> tuple[Any, ...]:
        """All that its figures are measured by."""
        return self.expression, self.size, self.box


class Finding(SetTask[Named]):
    """REC on a set.

    Args:
        where: Name of the set.
        items: What to find.
        baselines: Which of `work.BASELINES` to measure, where they apply.
        facts: What else decides the answers.
        protocol: What else the figures depend on.
        notes: What a reader must know.
        clips: What the items show, where more is known of it than their frames' paths.
    """

    def __init__(
        self,
        where: str,
        items: Sequence[Named],
        *,
        baselines: Sequence[str],
        facts: Mapping[str, Any] | None = None,
        protocol: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
        clips: Sequence[Clip] = (),
    ) -> None:
        super().__init__(
            f"rec-{where}",
            where,
            items,
            baselines=baselines,
            facts=facts,
            protocol=protocol,
            notes=notes,
            clips=clips,
        )

    def measure(self, engine: Engine, ids: Sequence[str]) -> Iterator[list[ItemResult]]:
        """Looks for some of the objects."""
        for chunk in batched([self._items[name] for name in ids], engine.batch_size):
            yield self._measure(engine, chunk)

    def _measure(self, engine: Engine, items: Sequence[Named]) -> list[ItemResult]:
        watch = Stopwatch(engine)
        answers = ground(engine, [_read(item.path) for item in items], [item.expression for item in items])
        spent = watch.lap([1] * len(items))
        boxes = [np.full(4, np.nan) if isinstance(answer, Crashed) else answer for answer in answers]
        systems = {MODEL: boxes} | ({STATIC: [np.array(_MIDDLE)] * len(items)} if STATIC in self._baselines else {})
        scored = {name: _scored(items, given) for name, given in systems.items()}
        return [
            ItemResult(
                id=item.id,
                video=item.video,
                figures={name: found[number] for name, found in scored.items()},
                failures=_failures(answer, box),
                groups={kind: list(names) for kind, names in item.groups.items()}
                | {"size": [relative_size(item.box, item.size)], "pixels": [pixel_size(item.box)]},
                prediction={"id": item.id, "expression": item.expression, "box": plain_box(box)}
                | ({"error": answer.reason} if isinstance(answer, Crashed) else {}),
                cost=cost,
            )
            for number, (item, answer, box, cost) in enumerate(zip(items, answers, boxes, spent, strict=True))
        ]

    def finish(self, items: Sequence[ItemResult], folder: Path) -> Finished:
        """All figures are means over expressions."""
        return Finished(items, protocol=self._protocol, notes=self._notes)


@lru_cache(maxsize=_KEPT)
def _read(path: Path) -> Image:
    try:
        return read_stored(path)
    except ValueError as error:
        raise ElysiumError(f"the picture {path} cannot be read: {error}") from error


def _scored(items: Sequence[Named], boxes: Sequence[FloatArray]) -> list[Figures]:
    predicted = [to_pixels(box, item.size) for box, item in zip(boxes, items, strict=True)]
    found = score_grounding(predicted, [item.box for item in items])
    return [{name: round(float(values[number]), 4) for name, values in found.items()} for number in range(len(items))]


def _failures(answer: FloatArray | Crashed, box: FloatArray) -> dict[str, int]:
    if isinstance(answer, Crashed):
        return {"crashed": 1}
    return {} if np.isfinite(box).all() else {"unparsed": 1}
