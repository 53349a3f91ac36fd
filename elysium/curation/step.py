"""The step `curate`: captions and clips in, ElysiumTrack records and reasons out."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
from PIL import Image

from elysium.config import CurateSettings
from elysium.curation.registry import check_names, parts_for
from elysium.curation.shots import Shot, cut_shots
from elysium.curation.stages import Kept, Reject, curate_shot
from elysium.data.records import RawClip, TrackMetadata, TrackRecord, read_jsonl, write_jsonl
from elysium.data.video import VideoError, decoder, iterate_video
from elysium.errors import ElysiumError
from elysium.pipeline.steps import StepContext, StepResult
from elysium.pipeline.workspace import write_atomic

logger = logging.getLogger(__name__)

_QUALITY = 95


def run(context: StepContext) -> StepResult:
    """Curates every clip of the manifest; clips that an earlier attempt finished are not looked at again."""
    stats = curate_folder(context.inputs["raw"], context.output, context.settings.curate)
    kept = stats["train_records"] + stats["evaluation_records"]
    return StepResult(
        summary=f"{kept} tracks ({stats['real_records']} on real video) of {stats['candidates']} candidates in "
        f"{stats['clips']} clips",
        metrics={key: value for key, value in stats.items() if isinstance(value, int)},
    )


def curate_folder(raw: Path, output: Path, settings: CurateSettings) -> dict[str, Any]:
    """Turns a folder of raw clips into a folder of tracks.

    Args:
        raw: With `manifest.jsonl`.
        output: Gets `train.jsonl`, `evaluation.jsonl`, `rejects.jsonl`, `stats.json` and `frames/`. What an earlier
            attempt left in `parts/` is taken over.
        settings: Parts and thresholds.

    Returns:
        The content of `stats.json`.

    Raises:
        UsageError: If the settings name a part that does not exist.
        ElysiumError: If the manifest cannot be read.
    """
    check_names(settings)
    clips = list(read_jsonl(raw / "manifest.jsonl", RawClip))
    parts = output / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    waiting = [clip for clip in clips if not (parts / f"{clip.id}.json").is_file()]
    if len(waiting) < len(clips):
        logger.info("%d of %d clips were curated before", len(clips) - len(waiting), len(clips))
    # Fresh processes: the parent's libraries hold threads that a fork would not survive.
    with ProcessPoolExecutor(min(os.cpu_count() or 1, 8), mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_curate_clip, clip, raw, output, settings) for clip in waiting]
        for number, job in enumerate(jobs, start=1):
            job.result()
            if number % 25 == 0 or number == len(jobs):
                logger.info("%d of %d clips curated", number + len(clips) - len(waiting), len(clips))
    return _merge(clips, output)


def _curate_clip(clip: RawClip, raw: Path, output: Path, settings: CurateSettings) -> None:
    """Curates one clip and writes its part in one move; a clip that cannot be read is a reject."""
    cv2.setNumThreads(1)
    records: list[TrackRecord] = []
    rejects: list[Reject] = []
    try:
        tools = parts_for(clip, raw, settings)
        for shot in cut_shots(clip, iterate_video(raw / clip.path), settings):
            kept, dropped = curate_shot(clip.id, shot, clip.caption, tools, settings)
            rejects += dropped
            if kept:
                frames = _write_frames(shot, output)
                records += [_record(clip, shot, found, number, frames) for number, found in enumerate(kept)]
    except (VideoError, ElysiumError) as error:
        detail = str(error).replace(f"{raw}{os.sep}", "")
        records = []
        rejects = [_reject_clip(clip, "clip cannot be read", detail)]
    if not clip.caption.strip():
        rejects.append(_reject_clip(clip, "no caption", ""))
    part = {
        "records": [record.model_dump(mode="json") for record in records],
        "rejects": [reject.model_dump(mode="json") for reject in rejects],
    }
    write_atomic(output / "parts" / f"{clip.id}.json", json.dumps(part))


def _write_frames(shot: Shot, output: Path) -> list[str]:
    folder = output / "frames" / shot.vid
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for number, frame in enumerate(shot.frames):
        name = f"frames/{shot.vid}/{number:06}.jpg"
        Image.fromarray(frame.image).save(output / name, quality=_QUALITY)
        names.append(name)
    return names


def _record(clip: RawClip, shot: Shot, found: Kept, number: int, frames: list[str]) -> TrackRecord:
    height, width = shot.frames[0].image.shape[:2]
    real = clip.annotations is None
    return TrackRecord(
        source="video" if real else "simulator",
        id=f"{shot.vid}-{number}",
        vid=shot.vid,
        metadata=TrackMetadata(
            content_sha256=clip.sha256,
            timestamps=[round(frame.timestamp, 6) for frame in shot.frames],
            decoder=decoder(),
            caption=clip.caption,
            clip=clip.id,
            split=shot.split,
            kind="real" if real else "simulated",
            confidence=round(found.confidence, 4),
        ),
        frames=frames,
        object_class=found.chunk.head,
        box=[tuple(round(float(value), 6) for value in box) for box in found.track.boxes.clip(0, 1)],  # type: ignore[misc] # four
        object_description=found.chunk.text,
        frame_size=(width, height),
    )


def _reject_clip(clip: RawClip, reason: str, detail: str) -> Reject:
    return Reject(
        clip=clip.id, vid=None, expression=None, stage="clip", reason=reason, value=None, threshold=None, detail=detail
    )


def _merge(clips: list[RawClip], output: Path) -> dict[str, Any]:
    """Joins the parts in the manifest's order, whatever order they were made in."""
    records: list[TrackRecord] = []
    rejects: list[Reject] = []
    for clip in clips:
        part = json.loads((output / "parts" / f"{clip.id}.json").read_text(encoding="utf-8"))
        records += [TrackRecord.model_validate(entry) for entry in part["records"]]
        rejects += [Reject.model_validate(entry) for entry in part["rejects"]]
    by_split = {
        split: [record for record in records if record.metadata.split == split] for split in ("train", "evaluation")
    }
    for split, chosen in by_split.items():
        write_jsonl(output / f"{split}.jsonl", chosen)
    write_jsonl(output / "rejects.jsonl", rejects)
    stats: dict[str, Any] = {
        "clips": len(clips),
        "candidates": len(records) + sum(reject.expression is not None for reject in rejects),
        "train_records": len(by_split["train"]),
        "evaluation_records": len(by_split["evaluation"]),
        "real_records": sum(record.metadata.kind == "real" for record in records),
        "simulated_records": sum(record.metadata.kind == "simulated" for record in records),
        "rejected": len(rejects),
        "rejects": dict(sorted(Counter(f"{reject.stage}: {reject.reason}" for reject in rejects).items())),
        "classes": dict(sorted(Counter(record.object_class for record in records).items())),
    }
    write_atomic(output / "stats.json", json.dumps(stats, indent=1))
    shutil.rmtree(output / "parts")
    return stats
