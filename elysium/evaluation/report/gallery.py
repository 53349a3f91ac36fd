"""The pictures of a report: what an evaluation has drawn, or several models drawn into the same pictures."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elysium.evaluation.report.clips import Drawing, decode, draw, picture_size
from elysium.evaluation.report.names import decimals, metric_name
from elysium.evaluation.report.scenes import Shown, read_shown
from elysium.evaluation.report.side_by_side import Model, SideBySide
from elysium.evaluation.results import TaskFigures

# More make the page slow to open and to store.
_MOST = 24


@dataclass(frozen=True)
class Answer:
    """What one model made of an exhibit.

    Attributes:
        letter: Of the model.
        figure: Its figure of the item in words; empty where it was not measured on it.
        said: Its answer where that is words, else None.
    """

    letter: str
    figure: str
    said: str | None


@dataclass(frozen=True)
class Exhibit:
    """One picture of the page.

    Attributes:
        task: Of `metrics.json`.
        rank: Why it is shown, e.g. `best of A`.
        id: Of the item.
        caption: What was asked for.
        image: As a data URI.
        size: Width and height of it, so that the page does not jump.
        description: The picture in words.
        answers: Of the models, in their order.
        answer: The true words, where the answer is words.
        has_boxes: Whether models' boxes are drawn into it.
        moves: Whether it is several frames.
    """

    task: str
    rank: str
    id: str
    caption: str
    image: str
    size: tuple[int, int]
    description: str
    answers: Sequence[Answer]
    answer: str | None
    has_boxes: bool
    moves: bool


def exhibits(folders: Sequence[Path | None], sides: SideBySide) -> dict[str, list[Exhibit]]:
    """Returns task to its pictures, those of the first model first.

    Args:
        folders: Of each model's evaluation, in the order of `sides`; None for a model whose folder is not there.
        sides: The models.

    Raises:
        ElysiumError: If an index of pictures is damaged.
    """
    known = [(model, folder) for model, folder in zip(sides.models, folders, strict=True) if folder is not None]
    drawn = [(model, folder, entry) for model, folder in known for entry in read_shown(folder)]
    tasks = [table.task for table in sides.tables]
    most = max(2, min(4, _MOST // max(len(tasks), 1)))
    found: dict[str, list[Exhibit]] = {}
    for task in tasks:
        chosen: dict[str, tuple[Model, Path, Shown]] = {}
        for model, folder, entry in drawn:
            if entry.task == task and (folder / "clips" / entry.file).is_file():
                chosen.setdefault(entry.id, (model, folder, entry))
        shown = list(chosen.values())[:most]
        if not shown:
            continue
        lines = {
            model.letter: _predictions(folder, task, {entry.id for _, _, entry in shown})
            for model, folder in known
            if len(known) > 1
        }
        found[task] = [_exhibit(model, folder, entry, lines, sides) for model, folder, entry in shown]
    return found


def _exhibit(
    model: Model, folder: Path, entry: Shown, lines: Mapping[str, Mapping[str, dict[str, Any]]], sides: SideBySide
) -> Exhibit:
    clips = folder / "clips"
    several = len(lines) > 1
    if several and entry.predicted is not None and (clips / entry.pictures).is_file():
        predicted = {letter: _boxes(found.get(entry.id), entry) for letter, found in lines.items()}
        frames = decode((clips / entry.pictures).read_bytes(), len(entry.true))
        content = draw(Drawing(frames, entry.true, predicted, entry.numbers, entry.length))
    else:
        content = (clips / entry.file).read_bytes()
    answers = []
    for other in sides.models:
        figures = other.evaluation.tasks.get(entry.task)
        own = lines.get(other.letter, {}).get(entry.id, {})
        said = entry.said if other is model else own.get("text")
        if figures is not None:
            answers.append(Answer(other.letter, _figure(figures, entry.id, entry), said))
    moving = f"{len(entry.numbers)} frames of {entry.length}" if entry.numbers else "a still picture"
    return Exhibit(
        task=entry.task,
        rank=f"{entry.rank} of {model.letter}" if len(sides.models) > 1 else entry.rank,
        id=entry.id,
        caption=entry.caption,
        image=f"data:image/webp;base64,{base64.b64encode(content).decode()}",
        size=picture_size(content),
        description=f"{entry.id}, {moving}: {entry.caption}, with the true box and the boxes of the models"
        if entry.predicted is not None
        else f"{entry.id}, {moving}: {entry.caption}",
        answers=answers,
        answer=entry.answer,
        has_boxes=entry.predicted is not None,
        moves=bool(entry.numbers),
    )


def _figure(figures: TaskFigures, name: str, entry: Shown) -> str:
    value = figures.per_item(entry.metric).get(name)
    if value is None:
        return ""
    return f"{metric_name(entry.metric, entry.task)} {value:.{decimals(entry.metric)}f}"


def _predictions(folder: Path, task: str, names: set[str]) -> dict[str, dict[str, Any]]:
    """Returns the lines of `predictions.jsonl` that belong to given items."""
    path = folder / "predictions.jsonl"
    found: dict[str, dict[str, Any]] = {}
    if not path.is_file():
        return found
    with path.open(encoding="utf-8") as file:
        for line in file:
            # Lines of long videos are long: only those that can be meant are read whole.
            if any(json.dumps(name, ensure_ascii=False) in line[:1000] for name in names):
                entry = json.loads(line)
                if entry.get("task") == task and entry.get("id") in names:
                    found[entry["id"]] = entry
    return found


def _boxes(line: dict[str, Any] | None, entry: Shown) -> list[list[float] | None] | None:
    """Returns a model's boxes of the frames that are shown; None where it has no answer to the item."""
    if line is None:
        return None
    boxes = line["boxes"] if "boxes" in line else [line.get("box")]
    return [boxes[number - 1] if number <= len(boxes) else None for number in entry.numbers or [1]]
