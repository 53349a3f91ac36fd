"""Resumable checkpoints on disk: which of them are whole, and who may go on from them."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

from elysium.config import Schedule
from elysium.errors import UsageError
from elysium.pipeline.workspace import sha256, write_atomic
from elysium.training.processes import world_size

logger = logging.getLogger(__name__)

COMPLETE, _PROCESSES = "complete.json", "processes.json"
KEPT = 2


def checkpoint_step(checkpoint: Path) -> int:
    """Returns the step that a checkpoint folder is of."""
    return int(checkpoint.name.split("-")[1])


def newest_checkpoint(folder: Path) -> Path | None:
    """Returns the newest whole checkpoint in `folder`; those that were cut short or changed are removed."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=checkpoint_step, reverse=True):
        if _is_whole(checkpoint):
            return checkpoint
        logger.warning("%s is not whole; falling back to the one before", checkpoint.name)
        shutil.rmtree(checkpoint)
    return None


def seal_checkpoint(checkpoint: Path) -> None:
    """Says that a checkpoint is whole: its files with their hashes, written when all of them are."""
    write_atomic(checkpoint / _PROCESSES, json.dumps({"processes": world_size()}))
    paths = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != COMPLETE)
    files = {str(path.relative_to(checkpoint)): sha256(path) for path in paths}
    write_atomic(checkpoint / COMPLETE, json.dumps(files))


def check_processes(checkpoint: Path, schedule: Schedule) -> None:
    """Refuses state that ZeRO divided among another number of processes, and warns where the steps were of others.

    Raises:
        UsageError: If another number of processes is to go on from it.
    """
    path = checkpoint / _PROCESSES
    before = json.loads(path.read_text(encoding="utf-8"))["processes"] if path.is_file() else 1
    if schedule.zero_stage and before != world_size():
        raise UsageError(
            f"{checkpoint} was written by {before} processes, and ZeRO divided its state among them, but now there are "
            f"{world_size()}; go on with {before}, or begin anew from the weights"
        )
    if schedule.global_batch_size is None and before != world_size():
        logger.warning(
            "%s was written by %d processes, whose steps learned from %d samples; %d go on with %d a step, for "
            "global_batch_size is not set",
            checkpoint.name, before, before * schedule.batch_size, world_size(), world_size() * schedule.batch_size,
        )  # fmt: skip


def _is_whole(checkpoint: Path) -> bool:
    try:
        files: dict[str, str] = json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8"))
        return all(sha256(checkpoint / name) == digest for name, digest in files.items())
    except (OSError, ValueError):
        return False
