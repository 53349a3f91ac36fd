"""The records that a snapshot holds back from training, as tasks: what the pipeline itself measures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from elysium.boxes import to_pixels
from elysium.config import EvaluateSettings
from elysium.data.records import TrackRecord, read_jsonl
from elysium.errors import ElysiumError
from elysium.evaluation.leaks import of_track
from elysium.evaluation.tasks.describing import Described, Describing
from elysium.evaluation.tasks.finding import Finding, Named
from elysium.evaluation.tasks.following import Followed, Following
from elysium.evaluation.tasks.pictures import Pictures
from elysium.evaluation.tasks.work import BASELINES, Work

TASKS = ("sot-simulated", "rsot-simulated", "rec-simulated", "video-reg-simulated", "sot-real")
RECORDS = "evaluation.jsonl"


def held_out_works(
    data: Path,
    settings: EvaluateSettings,
    tasks: Sequence[str] = TASKS,
    baselines: Sequence[str] = BASELINES,
) -> list[Work]:
    """Returns the tasks that a snapshot has records for, each on its first records by id.

    Args:
        data: Folder with `evaluation.jsonl`, that frame paths are relative to.
        settings: Numbers of frames and records.
        tasks: Task and kind of clips, e.g. `sot-real`.
        baselines: Which to measure beside the model.

    Raises:
        ElysiumError: If there is no held-out record for any of the tasks.
    """
    records = sorted(read_jsonl(data / RECORDS, TrackRecord), key=lambda record: record.id)
    clips: dict[tuple[str, ...], Pictures] = {}
    works = []
    for task in tasks:
        kind, _, where = task.rpartition("-")
        chosen = [record for record in records if record.metadata.kind == where][: settings.max_sequences]
        if chosen:
            works.append(_work(kind, where, chosen, data, settings, baselines, clips))
    if not works:
        raise ElysiumError(f"{data / RECORDS} holds no record to measure {', '.join(tasks)} on")
    return works


def _work(
    kind: str,
    where: str,
    records: Sequence[TrackRecord],
    data: Path,
    settings: EvaluateSettings,
    baselines: Sequence[str],
    clips: dict[tuple[str, ...], Pictures],
) -> Work:
    leaks = [of_track(record, data) for record in records]
    facts = {"max_frames": settings.max_frames, "clip_frames": settings.clip_frames}
    if kind in ("sot", "rsot"):
        followed = [_followed(record, _clip(record, data, settings.max_frames, clips)) for record in records]
        return Following(kind, where, followed, baselines=baselines, facts=facts, protocol=facts, clips=leaks)
    if kind == "rec":
        return Finding(where, [_named(record, data) for record in records], baselines=baselines, clips=leaks)
    shown = min(settings.clip_frames, settings.max_frames)
    described = [_described(record, _clip(record, data, shown, clips)) for record in records]
    facts = {"clip_frames": shown}
    return Describing(
        where,
        described,
        baselines=baselines,
        metrics=settings.caption_metrics,
        facts=facts,
        protocol=facts,
        clips=leaks,
    )


def _followed(record: TrackRecord, frames: Pictures) -> Followed:
    boxes = to_pixels(np.array(record.box[: len(frames)]), record.frame_size)
    return Followed(
        record.id,
        record.vid,
        frames,
        boxes,
        record.frame_size,
        record.object_description,
        real=record.metadata.kind == "real",
        groups={"class": [record.object_class]},
    )


def _named(record: TrackRecord, data: Path) -> Named:
    return Named(
        record.id,
        record.vid,
        data / record.frames[0],
        record.object_description,
        to_pixels(np.array(record.box[0]), record.frame_size),
        record.frame_size,
        groups={"class": [record.object_class]},
    )


def _described(record: TrackRecord, frames: Pictures) -> Described:
    return Described(
        record.id,
        record.vid,
        frames,
        to_pixels(np.array(record.box[0]), record.frame_size),
        record.frame_size,
        [record.object_description],
        record.object_class,
        groups={"class": [record.object_class]},
    )


def _clip(record: TrackRecord, data: Path, count: int, clips: dict[tuple[str, ...], Pictures]) -> Pictures:
    """Returns a record's first frames: the very same list for all records of the same frames."""
    names = tuple(record.frames[:count])
    if names not in clips:
        clips[names] = Pictures([data / name for name in names], f"record {record.id}")
    return clips[names]
