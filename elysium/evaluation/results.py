"""What an evaluation writes down: one line an item as it is finished, and `metrics.json` made of all lines.

Every figure is percent unless its name says otherwise. An item is a sequence, an expression or a question.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from elysium.errors import UsageError
from elysium.evaluation.statistics import bootstrap_mean

MODEL = "model"
FAILURES = ("unparsed", "empty", "crashed", "missing", "unjudged")
METRICS_FILE, PREDICTIONS_FILE, REPORT_FILE = "metrics.json", "predictions.jsonl", "report.html"
# Percent points that rounding may part a mean from itself.
_SAME = 0.01
Figures = dict[str, float]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cost(_Part):
    """What the model's answers to one item cost; the share of an item that was asked together with others.

    Attributes:
        seconds: Wall clock, reading of frames included.
        frames: That were answered about.
        tokens: That the language model wrote, those included that the grammar fixed.
        peak_mib: Most memory that the process had taken by then: of the accelerator where there is one, else resident.
    """

    seconds: float = Field(ge=0)
    frames: int = Field(ge=0)
    tokens: float = Field(ge=0)
    peak_mib: float = Field(ge=0)


class ItemResult(_Part):
    """One measured item: one line of `parts/`.

    Attributes:
        id: Unique in the task.
        video: The video or picture that it comes from; items of one are resampled together.
        figures: System to metric to figure, of `model` and the baselines.
        failures: Kind to the number of the model's answers that were none: `unparsed` is no box, `empty` no text,
            `crashed` could not be asked, `missing` had no video, which a person allowed, `unjudged` got no verdict
            that can be read. Frames for tracking, else items.
        groups: Kind of breakdown to the names of the groups that the item belongs to, e.g. `attribute` or `size`.
        curves: System to curve to shares in percent, for tracking.
        prediction: The model's answer as `predictions.jsonl` has it.
        cost: Of the model's answer.
    """

    id: str
    video: str
    figures: dict[str, Figures]
    failures: dict[str, int] = {}
    groups: dict[str, list[str]] = {}
    curves: dict[str, dict[str, list[float]]] = {}
    prediction: dict[str, Any] = {}
    cost: Cost | None = None


class Group(_Part):
    """The model on the items of one group.

    Attributes:
        num_items: That belong to it.
        figures: Metric to mean.
        intervals: Metric to its 95 % interval.
    """

    num_items: int
    figures: Figures
    intervals: dict[str, tuple[float, float]] = {}


class Speed(_Part):
    """What the model's answers cost, over all items.

    Attributes:
        frames_per_second: Frames answered about in a second of wall clock, of one process.
        tokens_per_frame: That the language model wrote.
        peak_mib: Most memory of any process.
        device: What it ran on, in words.
    """

    frames_per_second: float
    tokens_per_frame: float
    peak_mib: float
    device: str = ""


class TaskFigures(_Part):
    """One task's entry in `metrics.json`.

    Attributes:
        model: Metric to mean over items; the first metric is the one that decides.
        baselines: Baseline to metric to mean.
        intervals: Metric to the model's 95 % interval.
        num_sequences: Items.
        num_failures: The model's answers that were none.
        failures: The same by kind.
        per_sequence: Item to system to metric to figure.
        videos: Item to the video it comes from.
        groups: Kind of breakdown to group to figures.
        curves: System to curve to values.
        speed: What it cost; None where it was not measured.
        protocol: What the figures depend on beside the model; figures of different protocols do not compare.
        notes: What a reader must know, in sentences.
    """

    model: Figures
    baselines: dict[str, Figures]
    intervals: dict[str, tuple[float, float]]
    num_sequences: int
    num_failures: int
    failures: dict[str, int] = {}
    per_sequence: dict[str, dict[str, Figures]]
    videos: dict[str, str] = {}
    groups: dict[str, dict[str, Group]] = {}
    curves: dict[str, dict[str, list[float]]] = {}
    speed: Speed | None = None
    protocol: dict[str, Any] = {}
    notes: list[str] = []

    @property
    def primary(self) -> str:
        """The metric that decides; empty where the truth is not public."""
        return next(iter(self.model), "")

    def per_item(self, metric: str, system: str = MODEL) -> Figures:
        """Returns each item's figure of one system; items without one are left out."""
        found = {name: entry.get(system, {}).get(metric) for name, entry in self.per_sequence.items()}
        return {name: value for name, value in found.items() if value is not None}


class Evaluation(_Part):
    """The content of `metrics.json`.

    Attributes:
        tasks: Task and set, e.g. `sot-lasot`, to figures.
        data_hash: Of the data that was measured on, where it is a snapshot.
        version: Of the model in the registry, where it has one.
        checkpoint: What was measured, as the user named it.
        leaks: Number of items that training had seen, which a person allowed; None where nobody looked.
        leak_check: How thoroughly it was looked for, see `leaks.Leaks.summary`.
    """

    tasks: dict[str, TaskFigures]
    data_hash: str | None = None
    version: str | None = None
    checkpoint: str | None = None
    leaks: int | None = None
    leak_check: dict[str, Any] = {}

    def write(self, path: Path) -> None:
        """Writes the file, whole or not at all."""
        from elysium.pipeline.workspace import write_atomic

        write_atomic(path, json.dumps(self.model_dump(mode="json", exclude_none=True), indent=1, ensure_ascii=False))


def read_evaluation(path: Path) -> Evaluation:
    """Returns what an evaluation found.

    Args:
        path: Its folder, or the file.

    Raises:
        UsageError: If there is none, or it is damaged.
    """
    file = path / METRICS_FILE if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"{file} does not exist; `elysium evaluate run --output {path}` writes it")
    try:
        return Evaluation.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UsageError(f"{file} is no evaluation: {where}: {first['msg']}") from error


def prediction_lines(predictions: Mapping[str, Sequence[ItemResult]]) -> str:
    """Returns the content of `predictions.jsonl` from each task's items, one JSON object a line."""
    lines = (
        json.dumps({"task": task, **item.prediction}, ensure_ascii=False)
        for task, items in predictions.items()
        for item in items
    )
    return "".join(f"{line}\n" for line in lines)


def summarise(
    items: Sequence[ItemResult],
    *,
    samples: int,
    seed: int,
    corpus: Mapping[str, Figures] | None = None,
    protocol: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    device: str = "",
) -> TaskFigures:
    """Returns one task's figures from all of its items.

    Args:
        items: At least one; their order does not matter.
        samples: Bootstrap resamples.
        seed: Of the bootstrap.
        corpus: System to figures that all items together give, in place of the means. One that is no mean of the
            items' figures gets no interval: theirs would be of something else.
        protocol: See `TaskFigures`.
        notes: See `TaskFigures`.
        device: See `Speed`.

    Raises:
        ValueError: If there is no item.
    """
    if not items:
        raise ValueError("no item to summarise")
    ordered = sorted(items, key=lambda item: item.id)
    metrics = list(dict.fromkeys(metric for item in ordered for metric in item.figures[MODEL]))
    systems = list(dict.fromkeys(system for item in ordered for system in item.figures))
    means = {
        system: {
            metric: _mean(item.figures.get(system, {}).get(metric) for item in ordered)
            for metric in metrics
            if any(metric in item.figures.get(system, {}) for item in ordered)
        }
        | dict((corpus or {}).get(system, {}))
        for system in systems
    }
    failures = {kind: sum(item.failures.get(kind, 0) for item in ordered) for kind in FAILURES}
    return TaskFigures(
        model=means[MODEL],
        baselines={system: means[system] for system in systems if system != MODEL},
        intervals=_intervals(
            ordered, [name for name in metrics if _has_interval(name, means, corpus, ordered)], samples, seed
        ),
        num_sequences=len(ordered),
        num_failures=sum(failures.values()),
        failures=failures,
        per_sequence={item.id: item.figures for item in ordered},
        videos={item.id: item.video for item in ordered},
        groups=_groups(ordered, metrics, samples, seed),
        curves=_curves(ordered, systems),
        speed=_speed(ordered, device),
        protocol=dict(protocol or {}),
        notes=[*notes, *_partly(ordered, systems)],
    )


def is_mean(figure: float, values: Sequence[float]) -> bool:
    """Returns whether a figure is the mean of its items' figures, at least one, so that their interval is its own.

    Example:
        >>> is_mean(50.0, [100.0, 0.0]), is_mean(40.0, [100.0, 0.0])
        (True, False)
    """
    return abs(figure - sum(values) / len(values)) < _SAME


def _partly(items: Sequence[ItemResult], systems: Sequence[str]) -> list[str]:
    """Says which baselines have no figure for some of the items: their means are of other items than the model's."""
    counts = {system: sum(system in item.figures for item in items) for system in systems}
    return [
        f"the baseline {system} could be measured on {count:,} of {len(items):,} items only, of which its figures are"
        for system, count in counts.items()
        if count < len(items)
    ]


def _mean(values: Iterable[float | None]) -> float:
    return round(float(np.mean([value for value in values if value is not None])), 4)


def _has_interval(
    metric: str,
    means: Mapping[str, Figures],
    corpus: Mapping[str, Figures] | None,
    items: Sequence[ItemResult],
) -> bool:
    if metric not in (corpus or {}).get(MODEL, {}):
        return True
    return is_mean(
        means[MODEL][metric], [item.figures[MODEL][metric] for item in items if metric in item.figures[MODEL]]
    )


def _intervals(
    items: Sequence[ItemResult], metrics: Sequence[str], samples: int, seed: int
) -> dict[str, tuple[float, float]]:
    found = {}
    for metric in metrics:
        pairs = [(item.figures[MODEL][metric], item.video) for item in items if metric in item.figures[MODEL]]
        values, videos = zip(*pairs, strict=True)
        _, low, high = bootstrap_mean(values, samples, seed, videos)
        found[metric] = (round(low, 3), round(high, 3))
    return found


def _groups(
    items: Sequence[ItemResult], metrics: Sequence[str], samples: int, seed: int
) -> dict[str, dict[str, Group]]:
    found: dict[str, dict[str, Group]] = {}
    for kind in dict.fromkeys(kind for item in items for kind in item.groups):
        names = sorted({name for item in items for name in item.groups.get(kind, ())})
        found[kind] = {}
        for name in names:
            chosen = [item for item in items if name in item.groups.get(kind, ())]
            known = [metric for metric in metrics if any(metric in item.figures[MODEL] for item in chosen)]
            found[kind][name] = Group(
                num_items=len(chosen),
                figures={metric: _mean(item.figures[MODEL].get(metric) for item in chosen) for metric in known},
                intervals=_intervals(chosen, known, samples, seed),
            )
    return found


def _curves(items: Sequence[ItemResult], systems: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {}
    for system in systems:
        for name in dict.fromkeys(name for item in items for name in item.curves.get(system, {})):
            drawn = [item.curves[system][name] for item in items if name in item.curves.get(system, {})]
            found.setdefault(system, {})[name] = [round(float(share), 3) for share in np.mean(drawn, axis=0)]
    return found


def _speed(items: Sequence[ItemResult], device: str) -> Speed | None:
    costs = [item.cost for item in items if item.cost is not None]
    seconds, frames = sum(cost.seconds for cost in costs), sum(cost.frames for cost in costs)
    if not frames or not seconds:
        return None
    return Speed(
        frames_per_second=round(frames / seconds, 2),
        tokens_per_frame=round(sum(cost.tokens for cost in costs) / frames, 2),
        peak_mib=round(max(cost.peak_mib for cost in costs), 1),
        device=device,
    )
