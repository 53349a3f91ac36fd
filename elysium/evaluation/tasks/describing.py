"""Saying what an object is (Video-REG)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elysium.boxes import FloatArray, normalise
from elysium.evaluation.captions.descriptions import DescriptionScores, exact_match, score_descriptions
from elysium.evaluation.captions.head_nouns import head_noun_match
from elysium.evaluation.captions.meteor import Meteor
from elysium.evaluation.leaks import Clip
from elysium.evaluation.results import MODEL, Figures, ItemResult
from elysium.evaluation.tasks.asking import Crashed, describe
from elysium.evaluation.tasks.base import SetTask
from elysium.evaluation.tasks.groups import relative_size
from elysium.evaluation.tasks.pictures import Pictures
from elysium.evaluation.tasks.work import SINGLE, Finished, Stopwatch, batched
from elysium.inference import Engine


@dataclass(frozen=True, eq=False)
class Described:
    """One object to describe.

    Attributes:
        id: Unique in the task.
        video: The video it is in.
        frames: That are shown; items of one video hold the very same list.
        box: Shape `(4,)`, `(x1, y1, x2, y2)` in pixels of the first frame.
        size: `(width, height)` of the frames.
        descriptions: Right ones, at least one.
        object_class: The head noun, where the set gives it.
        groups: See `ItemResult`; the size comes by itself.
    """

    id: str
    video: str
    frames: Pictures
    box: FloatArray
    size: tuple[int, int]
    descriptions: Sequence[str]
    object_class: str | None = None
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def pictures(self) -> Sequence[Path]:
        """The files that it is asked about."""
        return self.frames.paths

    @property
    def truth(self) -> tuple[Any, ...]:
        """All that its figures are measured by."""
        return list(self.descriptions), self.object_class, self.size, self.box


class Describing(SetTask[Described]):
    """Video-REG on a set; arguments as of `Finding`, and `metrics`, of `DESCRIPTION_METRICS`, beside its own two."""

    def __init__(
        self,
        where: str,
        items: Sequence[Described],
        *,
        baselines: Sequence[str],
        metrics: Sequence[str] = (),
        facts: Mapping[str, Any] | None = None,
        protocol: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
        clips: Sequence[Clip] = (),
    ) -> None:
        self._metrics = tuple(metrics)
        super().__init__(
            f"video-reg-{where}",
            where,
            items,
            baselines=baselines,
            facts=facts,
            protocol=protocol,
            notes=notes,
            clips=clips,
        )

    def measure(self, engine: Engine, ids: Sequence[str]) -> Iterator[list[ItemResult]]:
        """Describes some of the objects: from the clip, and for the baseline from its first frame alone."""
        for chunk in batched([self._items[name] for name in ids], engine.batch_size):
            yield self._measure(engine, chunk)
            for item in chunk:
                item.frames.forget()

    def _measure(self, engine: Engine, items: Sequence[Described]) -> list[ItemResult]:
        given = [normalise(item.box, item.size) for item in items]
        watch = Stopwatch(engine)
        clips = _read(items)
        texts = describe(engine, clips, given)
        spent = watch.lap([len(item.frames) for item in items])
        systems = {MODEL: texts}
        if SINGLE in self._baselines:
            systems[SINGLE] = describe(engine, [clip[:1] for clip in clips], given)
        results = []
        for number, item in enumerate(items):
            own = texts[number]
            text = "" if isinstance(own, Crashed) else own
            prediction: dict[str, Any] = {"id": item.id, "expression": item.descriptions[0], "text": text}
            if isinstance(own, Crashed):
                prediction["error"] = own.reason
            if SINGLE in systems:
                alone = systems[SINGLE][number]
                prediction["alone"] = "" if isinstance(alone, Crashed) else alone
            results.append(
                ItemResult(
                    id=item.id,
                    video=item.video,
                    figures={name: _figures(answers[number], item) for name, answers in systems.items()},
                    failures={} if text.strip() else {"crashed" if isinstance(own, Crashed) else "empty": 1},
                    groups={kind: list(names) for kind, names in item.groups.items()}
                    | {"size": [relative_size(item.box, item.size)]},
                    prediction=prediction,
                    cost=spent[number],
                )
            )
        return results

    def finish(self, items: Sequence[ItemResult], folder: Path) -> Finished:
        """Adds METEOR and CIDEr, which only all descriptions together give."""
        if not self._metrics:
            return Finished(items, protocol=self._protocol, notes=self._notes)
        said = {MODEL: {item.id: str(item.prediction["text"]) for item in items}}
        if all("alone" in item.prediction for item in items):
            said[SINGLE] = {item.id: str(item.prediction["alone"]) for item in items}
        references = {item.id: self._items[item.id].descriptions for item in items}
        with Meteor() as meteor:
            scores = {
                name: score_descriptions(texts, references, self._metrics, meteor) for name, texts in said.items()
            }
        own = scores[MODEL]
        missing = [f"{metric} is missing: {reason}" for metric, reason in own.missing.items()]
        return Finished(
            [_with_captions(item, scores) for item in items],
            corpus={
                name: {metric: round(value, 4) for metric, value in found.corpus.items()}
                for name, found in scores.items()
            },
            protocol={**self._protocol, "tokeniser": own.tokeniser},
            notes=[*self._notes, *missing, *own.notes],
        )


def _with_captions(item: ItemResult, scores: Mapping[str, DescriptionScores]) -> ItemResult:
    figures = {
        system: found | {metric: round(value, 4) for metric, value in scores[system].per_item.get(item.id, {}).items()}
        if system in scores
        else found
        for system, found in item.figures.items()
    }
    return item.model_copy(update={"figures": figures})


def _read(items: Sequence[Described]) -> list[Sequence[Any]]:
    """Returns the clips' images; items of one video get the very same list, whose frames are encoded once."""
    read = {id(item.frames): list(item.frames) for item in {id(item.frames): item for item in items}.values()}
    return [read[id(item.frames)] for item in items]


def _figures(answer: str | Crashed, item: Described) -> Figures:
    text = "" if isinstance(answer, Crashed) else answer
    figures = {"exact_match": 100.0 * any(exact_match(text, known) for known in item.descriptions)}
    if item.object_class:
        figures["head_noun"] = 100.0 * head_noun_match(text, item.object_class)
    return figures
