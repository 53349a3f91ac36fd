"""Resumable checkpoints on disk: which of them are whole, and who may go on from them."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

from elysium.config import Schedule
from elysium.errors import UsageError
from elysium.pipeline.workspace import sha256, write_atomic
from elysium.training.processes import from_all, from_first, is_first, is_first_here, rank, wait_for_all, world_size

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
    """Says that a checkpoint is whole: its files with their hashes, written when all of them are.

    Every process calls this when it has written its own. Nodes may have a folder each: then the first one's seal
    names what the others hold, too, and they remove the checkpoints that the first one has removed.
    """
    if is_first():
        write_atomic(checkpoint / _PROCESSES, json.dumps({"processes": world_size()}))
    # Where nodes share a folder, they would list what the first one has only half written.
    wait_for_all()
    mine = _names(checkpoint) if is_first_here() else []
    holders: dict[str, int] = {}
    for number, names in enumerate(from_all(mine)):
        for name in names:
            holders.setdefault(name, number)
    hashes = {name: sha256(checkpoint / name) for name, number in holders.items() if number == rank()}
    files = {name: digest for found in from_all(hashes) for name, digest in found.items()}
    if is_first():
        write_atomic(checkpoint / COMPLETE, json.dumps(dict(sorted(files.items()))))
    kept = from_first([path.name for path in checkpoint.parent.glob("checkpoint-*")])
    if is_first_here() and not is_first():
        for other in checkpoint.parent.glob("checkpoint-*"):
            if other.name not in kept:
                shutil.rmtree(other, ignore_errors=True)


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


def _names(checkpoint: Path) -> list[str]:
    found = (path for path in checkpoint.rglob("*") if path.is_file() and path.name != COMPLETE)
    return sorted(str(path.relative_to(checkpoint)) for path in found)


def _is_whole(checkpoint: Path) -> bool:
    try:
        files: dict[str, str] = json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8"))
        return all(sha256(checkpoint / name) == digest for name, digest in files.items())
    except (OSError, ValueError):
        return False
