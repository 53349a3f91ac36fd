"""What is measured on held-out records, and the two baselines beside it (PROTOCOL §7).

An answer that is not a box, or a record that the model cannot be asked about, is a failure: it stays in the
denominator with nothing right.

Baselines: `static_box` never moves (it holds the given box, or for a named object the model's own first box; for
grounding it is the middle half of the frame). `frame_by_frame` is the same model shown one frame at a time and told
the object's name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from elysium.boxes import FloatArray, iou, to_pixels
from elysium.config import EvaluateSettings
from elysium.data.records import TrackRecord, read_jsonl
from elysium.errors import ElysiumError
from elysium.evaluation.asking import describe, ground, track
from elysium.evaluation.descriptions import exact_match
from elysium.evaluation.head_nouns import head_noun_match
from elysium.evaluation.metrics import TRACKING_METRICS, TrackScore, mean_of, mean_score, score_track
from elysium.evaluation.statistics import bootstrap_mean
from elysium.inference import Engine, TrackAnswer, TrackRequest
from elysium.model import load_checkpoint

TASKS = ("sot-simulated", "rsot-simulated", "rec-simulated", "video-reg-simulated", "sot-real")
MODEL, STATIC, SINGLE = "model", "static_box", "frame_by_frame"
_MIDDLE = (0.25, 0.25, 0.75, 0.75)
_HIT = 0.5

Images = list[npt.NDArray[np.uint8]]


@dataclass
class TaskResult:
    """One task's figures, all in percent.

    Attributes:
        systems: `model` and the baselines, each metric → mean over sequences.
        per_sequence: Record id → system → metric → figure.
        intervals: Metric → the model's 95 % bootstrap interval.
        num_failures: Answers without a box or text: frames for tracking, records for the other tasks.
        curves: System → curve name → values, for tracking.
        predictions: One entry a record, ready for JSON.
    """

    systems: dict[str, dict[str, float]] = field(default_factory=dict)
    per_sequence: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    num_failures: int = 0
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    predictions: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Returns the entry of `metrics.json`."""
        return {
            "model": self.systems[MODEL],
            "baselines": {name: values for name, values in self.systems.items() if name != MODEL},
            "intervals": self.intervals,
            "num_sequences": len(self.per_sequence),
            "num_failures": self.num_failures,
            "per_sequence": self.per_sequence,
            "curves": self.curves,
        }


def open_engine(checkpoint: Path, settings: EvaluateSettings) -> Engine:
    """Returns the engine of a checkpoint folder."""
    return Engine(*load_checkpoint(checkpoint), clip_frames=settings.clip_frames, batch_size=settings.batch_size)


def prediction_lines(predictions: Mapping[str, Sequence[dict[str, Any]]]) -> str:
    """Returns the content of `predictions.jsonl` from each task's predictions, one JSON object a line."""
    lines = (
        json.dumps({"task": task, **entry}, ensure_ascii=False)
        for task, entries in predictions.items()
        for entry in entries
    )
    return "".join(f"{line}\n" for line in lines)


def load_sets(data: Path, settings: EvaluateSettings, tasks: Sequence[str] = TASKS) -> dict[str, list[TrackRecord]]:
    """Returns the records of each task, tasks without any left out: the first ones by id.

    Raises:
        ElysiumError: If there is no held-out record for any of the tasks.
    """
    records = sorted(read_jsonl(data / "evaluation.jsonl", TrackRecord), key=lambda record: record.id)
    found = {}
    for task in tasks:
        kind = task.rsplit("-", 1)[1]
        chosen = [record for record in records if record.metadata.kind == kind][: settings.max_sequences]
        if chosen:
            found[task] = chosen
    if not found:
        raise ElysiumError(f"{data / 'evaluation.jsonl'} holds no record to measure {', '.join(tasks)} on")
    return found


def evaluate_task(
    task: str, records: Sequence[TrackRecord], data: Path, engine: Engine, settings: EvaluateSettings, seed: int = 0
) -> TaskResult:
    """Measures the engine's model and the baselines on one task.

    Args:
        task: One of `TASKS`.
        records: Held-out records.
        data: The folder that their frame paths are relative to.
        engine: With the model.
        settings: Lengths and bootstrap.
        seed: Of the bootstrap.
    """
    clips: dict[str, Images] = {}
    for record in records:
        if record.vid not in clips:
            clips[record.vid] = _load(data, record, settings.max_frames)
    frames = [clips[record.vid] for record in records]
    kind = task.rsplit("-", 1)[0]
    if kind in ("sot", "rsot"):
        result = _tracking(kind, records, frames, engine)
    elif kind == "rec":
        result = _grounding(records, frames, engine)
    else:
        result = _describing(records, frames, engine, settings.clip_frames)
    for metric in result.systems[MODEL]:
        figures = [entry[MODEL][metric] for entry in result.per_sequence.values()]
        _, low, high = bootstrap_mean(figures, settings.bootstrap_samples, seed)
        result.intervals[metric] = (round(low, 3), round(high, 3))
    return result


def _tracking(kind: str, records: Sequence[TrackRecord], frames: Sequence[Images], engine: Engine) -> TaskResult:
    given = kind == "sot"
    requests = [
        TrackRequest(clip, box=record.box[0] if given else None, expression=None if given else _name(record))
        for record, clip in zip(records, frames, strict=True)
    ]
    answers = track(engine, requests)
    singles = _frame_by_frame(records, frames, engine)
    result = TaskResult(num_failures=sum(map(_num_failures, answers)))
    scores: dict[str, list[TrackScore]] = {MODEL: [], STATIC: [], SINGLE: []}
    for record, clip, answer, single in zip(records, frames, answers, singles, strict=True):
        truth = np.array(record.box[: len(clip)])
        first = truth[0] if given else answer.boxes[0]
        if given:
            single[0] = truth[0]
        boxes = {MODEL: answer.boxes, STATIC: np.tile(first, (len(clip), 1)), SINGLE: single}
        entry = {}
        for system, predicted in boxes.items():
            score = score_track(to_pixels(predicted, record.frame_size), to_pixels(truth, record.frame_size))
            scores[system].append(score)
            entry[system] = {metric: round(getattr(score, metric), 4) for metric in TRACKING_METRICS}
        result.per_sequence[record.id] = entry
        result.predictions.append(
            {
                "id": record.id,
                "expression": _name(record),
                "boxes": [_plain(box) for box in answer.boxes],
                "confidence": np.round(answer.confidence, 4).tolist(),
            }
        )
    for system, of_system in scores.items():
        mean = mean_score(of_system)
        result.systems[system] = {metric: round(getattr(mean, metric), 4) for metric in TRACKING_METRICS}
        result.curves[system] = {
            "success": np.round(mean.success_curve, 3).tolist(),
            "precision": np.round(mean.precision_curve, 3).tolist(),
            "norm_precision": np.round(mean.norm_precision_curve, 3).tolist(),
        }
    return result


def _grounding(records: Sequence[TrackRecord], frames: Sequence[Images], engine: Engine) -> TaskResult:
    boxes = ground(engine, [clip[0] for clip in frames], [_name(record) for record in records])
    truth = np.array([record.box[0] for record in records])
    found = np.isfinite(boxes).all(-1)
    hits = {MODEL: found & (iou(np.nan_to_num(boxes), truth) >= _HIT), STATIC: iou(_MIDDLE, truth) >= _HIT}
    result = TaskResult(num_failures=int((~found).sum()))
    for number, record in enumerate(records):
        result.per_sequence[record.id] = {name: {"accuracy": 100.0 * hit[number]} for name, hit in hits.items()}
        entry = {"id": record.id, "expression": _name(record), "box": _plain(boxes[number])}
        result.predictions.append(entry)
    result.systems = {name: {"accuracy": round(100 * float(hit.mean()), 4)} for name, hit in hits.items()}
    return result


def _describing(
    records: Sequence[TrackRecord], frames: Sequence[Images], engine: Engine, clip_frames: int
) -> TaskResult:
    given = [record.box[0] for record in records]
    texts = {
        MODEL: describe(engine, [clip[:clip_frames] for clip in frames], given),
        SINGLE: describe(engine, [clip[:1] for clip in frames], given),
    }
    result = TaskResult(num_failures=sum(not text for text in texts[MODEL]))
    for number, record in enumerate(records):
        result.per_sequence[record.id] = {
            name: {
                "exact_match": 100.0 * exact_match(answers[number], _name(record)),
                "head_noun": 100.0 * head_noun_match(answers[number], record.object_class),
            }
            for name, answers in texts.items()
        }
        result.predictions.append({"id": record.id, "expression": _name(record), "text": texts[MODEL][number]})
    for name in texts:
        result.systems[name] = {
            metric: round(mean_of(entry[name][metric] for entry in result.per_sequence.values()), 4)
            for metric in ("exact_match", "head_noun")
        }
    return result


def _frame_by_frame(records: Sequence[TrackRecord], frames: Sequence[Images], engine: Engine) -> list[FloatArray]:
    images = [image for clip in frames for image in clip]
    names = [_name(record) for record, clip in zip(records, frames, strict=True) for _ in clip]
    boxes = ground(engine, images, names)
    return np.split(boxes, np.cumsum([len(clip) for clip in frames])[:-1])


def _num_failures(answer: TrackAnswer) -> int:
    return max(answer.num_failures, int((~np.isfinite(answer.boxes).all(-1)).sum()))


def _plain(box: FloatArray) -> list[float] | None:
    """Returns a box for JSON, which has no NaN."""
    return [round(float(value), 4) for value in box] if np.isfinite(box).all() else None


def _name(record: TrackRecord) -> str:
    return record.object_description


def _load(data: Path, record: TrackRecord, max_frames: int) -> Images:
    images = []
    for name in record.frames[:max_frames]:
        try:
            with Image.open(data / name) as image:
                images.append(np.asarray(image.convert("RGB")))
        except OSError as error:
            raise ElysiumError(f"the frame {data / name} of record {record.id} cannot be read: {error}") from error
    return images
