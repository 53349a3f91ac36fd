"""The best and the worst items of an evaluation, kept as pictures in its folder `clips/` (`index.json` lists them).

Beside each drawn picture the bare one is kept: whoever puts several models side by side draws all of them into it and
needs neither the data nor the model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from elysium.errors import ElysiumError
from elysium.evaluation.report.clips import (
    MAX_BYTES,
    Box,
    Drawing,
    Picture,
    choose_frames,
    draw,
    encode,
    overlap_of,
    shrunk,
)
from elysium.evaluation.results import MODEL, TaskFigures

INDEX = "index.json"
Rank = Literal["best", "worst"]
_Coordinates = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Scene:
    """One measured item, whole.

    Attributes:
        caption: What was asked for: an expression, or a question.
        frames: All of them, or the one picture: paths or images of any size; only those are read that are shown.
        true: The true box of each frame, normalised `(x1, y1, x2, y2)`; None or NaN where there is none. Where the
            answer is words, the box that was given, if any.
        predicted: The model's box of each frame, likewise; None where the answer is words.
        said: The model's answer in words.
        answer: The true words.
    """

    caption: str
    frames: Sequence[Picture]
    true: Sequence[Box] = ()
    predicted: Sequence[Box] | None = None
    said: str | None = None
    answer: str | None = None


class Shown(BaseModel):
    """An entry of `index.json`.

    Attributes:
        file: With the model's boxes drawn in.
        pictures: The same without any.
        task: Of `metrics.json`.
        rank: Whether it is one of the best or of the worst.
        id: Of the item.
        metric: By which it is.
        figure: The model's.
        caption: See `Scene`.
        numbers: Of the frames that are shown, from 1.
        length: Frames of the whole item.
        true: Of the frames that are shown; see `Scene`.
        predicted: Likewise.
        said: See `Scene`.
        answer: See `Scene`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    pictures: str
    task: str
    rank: Rank
    id: str
    metric: str
    figure: float
    caption: str
    numbers: list[int]
    length: int
    true: list[_Coordinates | None]
    predicted: list[_Coordinates | None] | None = None
    said: str | None = None
    answer: str | None = None


_ENTRIES = TypeAdapter(list[Shown])


def draw_scenes(
    folder: Path, tasks: Mapping[str, TaskFigures], scene: Callable[[str, str], Scene | None], *, count: int = 1
) -> list[Shown]:
    """Draws the best and the worst items of each task.

    Args:
        folder: `clips/` of the evaluation.
        tasks: What was measured.
        scene: Returns an item by its task and id; None for one that cannot be shown.
        count: How many of the best, and how many of the worst.

    Raises:
        ElysiumError: If a frame cannot be read.
    """
    from elysium.pipeline.workspace import write_atomic

    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for task, figures in tasks.items():
        for rank, number, name in extremes(figures, count):
            item = scene(task, name)
            if item is not None:
                stem = f"{re.sub(r'[^A-Za-z0-9+-]', '_', task)}-{rank}-{number}"
                figure = figures.per_item(figures.primary)[name]
                entries.append(_draw(folder, stem, item, task, rank, name, figures.primary, figure))
    write_atomic(folder / INDEX, _ENTRIES.dump_json(entries, indent=1, exclude_none=True).decode())
    return entries


def read_shown(folder: Path) -> list[Shown]:
    """Returns what `clips/` of an evaluation holds; nothing where there is none.

    Args:
        folder: Of the evaluation.

    Raises:
        ElysiumError: If its index is damaged.
    """
    path = folder / "clips" / INDEX
    if not path.is_file():
        return []
    try:
        return _ENTRIES.validate_json(path.read_bytes())
    except ValidationError as error:
        raise ElysiumError(
            f"{path} cannot be read: {error.errors()[0]['msg']}; evaluate again, or delete {path.parent} to do without"
        ) from error


def extremes(figures: TaskFigures, count: int = 1) -> list[tuple[Rank, int, str]]:
    """Returns the best items and then the worst, by the deciding metric, then by the others.

    Args:
        figures: Of a task.
        count: Of each; fewer where there are not so many items.

    Returns:
        Rank, place from 1, id.
    """
    rows = {
        name: tuple(row[MODEL].get(metric, 0.0) for metric in figures.model)
        for name, row in figures.per_sequence.items()
        if figures.primary in row.get(MODEL, {})
    }
    ranked = sorted(rows, key=lambda name: (rows[name], name), reverse=True)
    best = ranked[: min(count, (len(ranked) + 1) // 2)]
    worst = ranked[len(best) :][::-1][:count]
    return [("best", place, name) for place, name in enumerate(best, start=1)] + [
        ("worst", place, name) for place, name in enumerate(worst, start=1)
    ]


def _draw(folder: Path, stem: str, item: Scene, task: str, rank: Rank, name: str, metric: str, figure: float) -> Shown:
    chosen = _chosen(item, rank)
    true = [_box(item.true, index) for index in chosen]
    predicted = None if item.predicted is None else [_box(item.predicted, index) for index in chosen]
    frames = shrunk([item.frames[index] for index in chosen])
    numbers = [index + 1 for index in chosen] if len(chosen) > 1 else []
    systems = {} if predicted is None else {MODEL: predicted}
    drawing = Drawing(frames, true, systems, numbers, len(item.frames))
    (folder / f"{stem}.webp").write_bytes(draw(drawing))
    # Drawn into and written once more: a little better than what comes of it.
    (folder / f"{stem}.bare.webp").write_bytes(encode(frames, most_bytes=MAX_BYTES))
    return Shown(
        file=f"{stem}.webp",
        pictures=f"{stem}.bare.webp",
        task=task,
        rank=rank,
        id=name,
        metric=metric,
        figure=figure,
        caption=item.caption,
        numbers=numbers,
        length=len(item.frames),
        true=true,
        predicted=predicted,
        said=item.said,
        answer=item.answer,
    )


def _chosen(item: Scene, rank: Rank) -> list[int]:
    if item.predicted is None:
        # Words about a whole clip: the box that was given is the first frame's.
        return [0] if len(item.true) else choose_frames([0.0] * len(item.frames), around_loss=False)
    overlaps = [overlap_of(_box(item.predicted, index), _box(item.true, index)) for index in range(len(item.frames))]
    return choose_frames(overlaps, around_loss=rank == "worst")


def _box(boxes: Sequence[Box], index: int) -> _Coordinates | None:
    box = boxes[index] if index < len(boxes) else None
    values = np.full(4, np.nan) if box is None else np.asarray(box, dtype=np.float64)
    if not np.isfinite(values).all():
        return None
    x1, y1, x2, y2 = (round(float(value), 4) for value in values)
    return x1, y1, x2, y2
