"""Measured items as scenes to draw: where each task keeps its pictures, and what is true in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import singledispatch
from typing import Any

from elysium.boxes import normalise
from elysium.evaluation.report.scenes import Scene
from elysium.evaluation.results import ItemResult
from elysium.evaluation.tasks.answering import NUM_FRAMES
from elysium.evaluation.tasks.describing import Described
from elysium.evaluation.tasks.finding import Named
from elysium.evaluation.tasks.following import Followed
from elysium.evaluation.tasks.work import Work
from elysium.evaluation.videoqa.questions import VideoQuestion
from elysium.inference.choice import ReadOptions
from elysium.inference.shown import spread_frames


def scene_finder(
    works: Sequence[Work], results: Mapping[str, Sequence[ItemResult]]
) -> Callable[[str, str], Scene | None]:
    """Returns what `draw_scenes` asks for items.

    Args:
        works: The tasks.
        results: Task to its items, with the model's answers.
    """
    asked = {work.name: getattr(work, "items", {}) for work in works}
    answers = {task: {item.id: item.prediction for item in items} for task, items in results.items()}

    def find(task: str, name: str) -> Scene | None:
        if name not in asked.get(task, {}) or name not in answers.get(task, {}):
            return None
        return scene_of(asked[task][name], answers[task][name])

    return find


@singledispatch
def scene_of(item: object, answer: Mapping[str, Any]) -> Scene | None:
    """Returns one item as a scene; None for a kind of item that cannot be shown.

    Args:
        item: Of a task.
        answer: Its line of `predictions.jsonl`.
    """
    return None


@scene_of.register
def _(item: Followed, answer: Mapping[str, Any]) -> Scene:
    return Scene(
        caption=item.expression or item.id,
        frames=item.frames.paths,
        true=list(normalise(item.boxes, item.size)),
        predicted=answer["boxes"],
    )


@scene_of.register
def _(item: Named, answer: Mapping[str, Any]) -> Scene:
    return Scene(
        caption=item.expression,
        frames=[item.path],
        true=[normalise(item.box, item.size)],
        predicted=[answer["box"]],
    )


@scene_of.register
def _(item: Described, answer: Mapping[str, Any]) -> Scene:
    return Scene(
        caption=item.object_class or "the object in the box",
        frames=item.frames.paths,
        true=[normalise(item.box, item.size)],
        said=answer["text"],
        answer=" / ".join(item.descriptions),
    )


@scene_of.register
def _(item: VideoQuestion, answer: Mapping[str, Any]) -> Scene | None:
    if item.video is None:
        return None
    return Scene(
        caption=item.question,
        frames=spread_frames(str(item.video), ReadOptions(), NUM_FRAMES),
        said=answer["text"],
        answer=item.answer,
    )
