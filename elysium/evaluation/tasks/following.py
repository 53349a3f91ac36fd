"""Following an object from a given box (SOT) or by its name (RSOT), by one-pass evaluation (PROTOCOL §7)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from elysium.boxes import FloatArray, normalise, to_pixels
from elysium.errors import UsageError
from elysium.evaluation.leaks import Clip
from elysium.evaluation.metrics import TRACKING_METRICS, score_track
from elysium.evaluation.results import MODEL, Cost, ItemResult
from elysium.evaluation.tasks.asking import Crashed, track
from elysium.evaluation.tasks.base import SetTask
from elysium.evaluation.tasks.baselines import csrt, frame_by_frame, has_csrt, static_box
from elysium.evaluation.tasks.groups import box_groups
from elysium.evaluation.tasks.pictures import Pictures
from elysium.evaluation.tasks.work import CSRT, SINGLE, STATIC, Finished, Stopwatch
from elysium.inference import Engine, TrackAnswer, TrackRequest

Curves = dict[str, list[float]]
_CURVES = ("success", "precision", "norm_precision")


@dataclass(frozen=True, eq=False)
class Followed:
    """One object to follow.

    Attributes:
        id: Unique in the task.
        video: The video it is in.
        frames: Items of one video hold the very same list, so that its frames are encoded once.
        boxes: Shape `(T, 4)`, `(x1, y1, x2, y2)` in pixels; NaN where the object has none.
        size: `(width, height)` of the frames in pixels.
        expression: The object's name, where it has one.
        real: Whether the video is real: CSRT's baseline is for those.
        absent: Shape `(T,)`, true where the object is not in view; None where the set does not say.
        groups: See `ItemResult`; size and what can be told from the boxes come by themselves.
    """

    id: str
    video: str
    frames: Pictures
    boxes: FloatArray
    size: tuple[int, int]
    expression: str | None = None
    real: bool = True
    absent: npt.NDArray[np.bool_] | None = None
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def pictures(self) -> Sequence[Path]:
        """The files that it is asked about."""
        return self.frames.paths

    @property
    def truth(self) -> tuple[Any, ...]:
        """All that its figures are measured by."""
        return self.expression, self.size, self.boxes, self.absent


class Following(SetTask[Followed]):
    """SOT or RSOT on a set.

    Args:
        kind: `sot` or `rsot`.
        where: Name of the set.
        items: What to follow.
        baselines: Which of `work.BASELINES` to measure, where they apply.
        facts: What else decides the answers.
        protocol: What else the figures depend on.
        notes: What a reader must know.
        clips: What the items show, where more is known of it than their frames' paths.

    Raises:
        UsageError: If an object has no name and is to be found by it.
    """

    def __init__(
        self,
        kind: str,
        where: str,
        items: Sequence[Followed],
        *,
        baselines: Sequence[str],
        facts: Mapping[str, Any] | None = None,
        protocol: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
        clips: Sequence[Clip] = (),
    ) -> None:
        nameless = [item.id for item in items if not item.expression]
        if kind == "rsot" and nameless:
            raise UsageError(
                f"{where} has no name for the objects of {len(nameless)} of {len(items)} sequences "
                f"({', '.join(nameless[:3])} …), so that they cannot be found by name; --task sot gives their boxes"
            )
        self._kind = kind
        super().__init__(
            f"{kind}-{where}",
            where,
            items,
            baselines=baselines,
            facts=facts,
            protocol=protocol,
            notes=notes,
            clips=clips,
        )

    def measure(self, engine: Engine, ids: Sequence[str]) -> Iterator[list[ItemResult]]:
        """Follows some of the objects, side by side."""
        items = [self._items[name] for name in ids]
        given = [normalise(item.boxes[0], item.size) if self._kind == "sot" else None for item in items]
        requests = [
            TrackRequest(item.frames, box=box, expression=None if box is not None else item.expression)
            for item, box in zip(items, given, strict=True)
        ]
        waiting = Counter(id(item.frames) for item in items)
        watch = Stopwatch(engine)
        for number, answer, boxes in track(engine, requests):
            item = items[number]
            [cost] = watch.lap([len(item.frames)])
            yield [self._result(engine, item, answer, boxes, cost)]
            waiting[id(item.frames)] -= 1
            if not waiting[id(item.frames)]:
                item.frames.forget()
            watch.go_on()

    def _result(
        self, engine: Engine, item: Followed, answer: TrackAnswer | Crashed, own: FloatArray, cost: Cost
    ) -> ItemResult:
        systems = {MODEL: own} | self._beside(engine, item, own)
        scored = {name: self._score(item, predicted) for name, predicted in systems.items()}
        return ItemResult(
            id=item.id,
            video=item.video,
            figures={name: figures for name, (figures, _) in scored.items()},
            curves={name: curves for name, (_, curves) in scored.items()},
            failures=_failures(answer, own),
            groups=box_groups(item.boxes, item.size, item.groups),
            prediction=_prediction(item, answer, own),
            cost=cost,
        )

    def finish(self, items: Sequence[ItemResult], folder: Path) -> Finished:
        """Says what the figures depend on; they are all means over sequences."""
        notes = list(self._notes)
        if CSRT in self._baselines and not has_csrt() and any(item.real for item in self._items.values()):
            notes.append("OpenCV is not installed, so CSRT was not measured (pip install 'elysium[track]')")
        return Finished(items, protocol=self._protocol, notes=notes)

    def _beside(self, engine: Engine, item: Followed, own: FloatArray) -> dict[str, FloatArray]:
        found = {}
        if STATIC in self._baselines:
            found[STATIC] = static_box(own[0], len(own))
        if SINGLE in self._baselines and item.expression:
            single = frame_by_frame(engine, item.frames, item.expression)
            # Given to all alike, the first box tells nothing of them apart.
            found[SINGLE] = np.concatenate([own[:1], single[1:]]) if self._kind == "sot" else single
        if CSRT in self._baselines and item.real and has_csrt():
            found[CSRT] = csrt(item.frames, own[0])
        return found

    def _score(self, item: Followed, boxes: FloatArray) -> tuple[dict[str, float], Curves]:
        predicted = to_pixels(boxes, item.size)
        if self._kind == "sot":
            # As it was given: the model is told it cut to the frame.
            predicted[0] = item.boxes[0]
        return self._figures(item, predicted)

    def _figures(self, item: Followed, predicted: FloatArray) -> tuple[dict[str, float], Curves]:
        """Returns figures and curves of boxes in pixels, by one-pass evaluation; absent frames are failures."""
        score = score_track(predicted, item.boxes, item.absent)
        figures = {metric: round(getattr(score, metric), 4) for metric in TRACKING_METRICS}
        return figures, {name: np.round(getattr(score, f"{name}_curve"), 3).tolist() for name in _CURVES}


def _failures(answer: TrackAnswer | Crashed, boxes: FloatArray) -> dict[str, int]:
    missing = int((~np.isfinite(boxes).all(-1)).sum())
    if isinstance(answer, Crashed):
        return {"crashed": missing}
    return {"unparsed": max(answer.num_failures, missing)}


def _prediction(item: Followed, answer: TrackAnswer | Crashed, boxes: FloatArray) -> dict[str, Any]:
    found: dict[str, Any] = {"id": item.id, "expression": item.expression}
    found["boxes"] = [plain_box(box) for box in boxes]
    if isinstance(answer, Crashed):
        return {**found, "error": answer.reason}
    return {**found, "confidence": np.round(answer.confidence, 4).tolist()}


def plain_box(box: FloatArray) -> list[float] | None:
    """Returns a box for JSON, which has no NaN."""
    return [round(float(value), 4) for value in box] if np.isfinite(box).all() else None
