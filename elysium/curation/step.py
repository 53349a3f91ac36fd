"""Step `curate`: clips in, ElysiumTrack records and the reasons of all rejects out, clip by clip and resumable."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
from pydantic import ValidationError

from elysium.curation.clip import curate_clip
from elysium.curation.outcome import ClipOutcome
from elysium.curation.registry import check_names
from elysium.curation.splits import decide_splits
from elysium.curation.summary import summarise
from elysium.data.records import RawClip, TrackRecord, read_jsonl, write_jsonl
from elysium.pipeline.steps import StepContext, StepResult
from elysium.pipeline.workspace import write_atomic

logger = logging.getLogger(__name__)

PARTS = "parts"  # one file a finished clip while the step runs
_LOG_EVERY = 20  # clips


def run(context: StepContext) -> StepResult:
    """Writes the tracks artifact.

    Every finished clip has its own file under `parts/`, written whole, after its frames: a killed run goes on with
    the clips that have none, and ends with the bytes of an undisturbed one. The files are merged in the order of the
    manifest.

    Raises:
        UsageError: If the settings name a part that does not exist.
        ElysiumError: If the manifest cannot be read.
    """
    settings = context.settings.curate
    check_names(settings)
    raw = context.inputs["raw"]
    clips = decide_splits(list(read_jsonl(raw / "manifest.jsonl", RawClip)), settings)
    parts = context.output / PARTS
    parts.mkdir(parents=True, exist_ok=True)
    waiting = [clip for clip in clips if _read_part(parts, clip, context.output) is None]
    if len(waiting) < len(clips):
        logger.info("going on: %d of %d clips are finished", len(clips) - len(waiting), len(clips))
    # One thread: with more, OpenCV takes sums in another order and the last bits differ. A whole default run takes less
    # than half a minute on one core, so processes would cost more than they save.
    cv2.setNumThreads(1)
    for number, clip in enumerate(waiting, start=1):
        outcome = curate_clip(clip, raw, context.output, settings)
        write_atomic(_part(parts, clip), outcome.model_dump_json())
        if clip.annotations is None or number % _LOG_EVERY == 0 or number == len(waiting):
            logger.info("%d of %d clips; %s: %d tracks kept", number, len(waiting), clip.id, len(outcome.records))
    found = (_read_part(parts, clip, context.output) for clip in clips)
    outcomes = [entry for entry in found if entry is not None]
    return _merge(outcomes, context.output)


def _part(parts: Path, clip: RawClip) -> Path:
    return parts / f"{clip.id}.json"


def _read_part(parts: Path, clip: RawClip, output: Path) -> ClipOutcome | None:
    """Returns what an earlier attempt found in the clip, if all of it is there."""
    try:
        outcome = ClipOutcome.model_validate_json(_part(parts, clip).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    frames = {frame for record in outcome.records for frame in record.frames}
    return outcome if all((output / frame).is_file() for frame in frames) else None


def _merge(outcomes: Sequence[ClipOutcome], output: Path) -> StepResult:
    records = [record for outcome in outcomes for record in outcome.records]
    train = [record for record in records if record.metadata.split == "train"]
    evaluation = [record for record in records if record.metadata.split == "evaluation"]
    write_jsonl(output / "train.jsonl", train)
    write_jsonl(output / "evaluation.jsonl", evaluation)
    write_jsonl(output / "rejects.jsonl", [reject for outcome in outcomes for reject in outcome.rejects])
    stats = summarise(outcomes)
    write_atomic(output / "stats.json", json.dumps(stats, indent=1))
    (output / "frames").mkdir(exist_ok=True)
    _remove_strays(output / "frames", records)
    shutil.rmtree(output / PARTS)
    real = stats["records"]["by_kind"].get("real", 0)
    return StepResult(
        summary=f"{len(train)} train and {len(evaluation)} evaluation tracks ({real} of them on real video) "
        f"out of {stats['num_candidates']} candidates in {len(outcomes)} clips",
        metrics={
            "train_records": len(train),
            "evaluation_records": len(evaluation),
            "real_records": real,
            "candidates": stats["num_candidates"],
            "rejects": stats["num_rejects"],
            "clips": len(outcomes),
        },
    )


def _remove_strays(frames: Path, records: Sequence[TrackRecord]) -> None:
    """Removes frames that no record names: leftovers of a clip that became unreadable or of a killed writer."""
    wanted = {record.vid for record in records}
    for folder in frames.iterdir():
        if folder.name not in wanted:
            shutil.rmtree(folder)
