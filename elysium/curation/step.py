"""Step `curate`: clips in, ElysiumTrack records and the reasons of all rejects out, block by block and resumable."""

from __future__ import annotations

import re
from pathlib import Path

from elysium.config import CurateSettings
from elysium.curation.curation import TaskList, curate
from elysium.curation.sources.tasks import VideoTask
from elysium.curation.splits import decide_splits
from elysium.data.records import RawClip, read_jsonl
from elysium.errors import ElysiumError
from elysium.pipeline.steps import StepContext, StepResult

_SHARD = re.compile(r"\w+/\.?(\d+)\b")  # folders named by a shard's number, those not yet in place too


def run(context: StepContext) -> StepResult:
    """Writes the tracks artifact.

    A killed run goes on with the blocks that are not finished, and ends with the bytes of an undisturbed one.

    Raises:
        UsageError: If the settings name a part that does not exist.
        ElysiumError: If the manifest cannot be read.
    """
    settings = context.settings
    listing = list_raw(context.inputs["raw"], settings.curate)
    stats = curate(context.output, settings, listing, digest=listing.digest)
    if stats is None:
        raise ElysiumError(f"{context.output} lacks shards that this process should have made; run the step again")
    splits = stats["records"]["by_split"]
    train, evaluation = splits.get("train", 0), splits.get("evaluation", 0)
    real = stats["records"]["by_kind"].get("real", 0)
    return StepResult(
        summary=f"{train} train and {evaluation} evaluation tracks ({real} of them on real video) "
        f"out of {stats['num_candidates']} candidates in {stats['num_clips']} clips",
        metrics={
            "train_records": train,
            "evaluation_records": evaluation,
            "real_records": real,
            "candidates": stats["num_candidates"],
            "rejects": stats["num_rejects"],
            "clips": stats["num_clips"],
        },
    )


def run_share(context: StepContext, index: int, count: int) -> StepResult:
    """Does every shard whose number leaves the remainder `index` when divided by `count`; makes no data set.

    Raises:
        UsageError: If the settings name a part that does not exist.
        ElysiumError: If another process does the same share.
    """
    settings = context.settings
    listing = list_raw(context.inputs["raw"], settings.curate)
    curate(context.output, settings, listing, digest=listing.digest, share=(index, count), assemble=False)
    own = range(index, listing.num_shards, count)
    videos = sum(len(listing.shard(shard)) for shard in own)
    return StepResult(
        summary=f"{len(own)} of {listing.num_shards} shards, {videos} of {listing.num_videos} clips, are there",
        metrics={"shards": len(own), "clips": videos},
    )


def is_of_share(name: str, index: int, count: int) -> bool:
    """Returns whether a file of the step's output concerns a share of the work: its own shards', and nobody's.

    Example:
        >>> [is_of_share(name, 1, 4) for name in ("shards/00005/ledger.parquet", "frames/00002/x", "plan.json")]
        [True, False, True]
    """
    shard = _SHARD.match(name)
    return shard is None or int(shard[1]) % count == index


def list_raw(raw: Path, settings: CurateSettings) -> TaskList:
    """Returns the clips of a raw artifact, with their sides decided.

    Raises:
        ElysiumError: If the manifest cannot be read.
    """
    clips = list(read_jsonl(raw / "manifest.jsonl", RawClip))
    decided = decide_splits(clips, settings)
    tasks = [_task(*entry, str(raw)) for entry in zip(range(len(clips)), clips, decided, strict=True)]
    return TaskList(tasks, settings.shard_videos)


def _task(number: int, clip: RawClip, decided: RawClip, folder: str) -> VideoTask:
    return VideoTask(
        number=number,
        id=clip.id,
        uri=f"{folder}/{clip.path}",
        caption=clip.caption,
        source=clip.source,
        licence=clip.licence,
        sha256=clip.sha256,
        split=clip.split,
        side=decided.split,
        annotations=None if clip.annotations is None else f"{folder}/{clip.annotations}",
    )
