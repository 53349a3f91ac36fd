"""The processes that train one model together, one a GPU, as `torchrun` starts them."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from elysium.config import Schedule
from elysium.errors import UsageError

T = TypeVar("T")


def world_size() -> int:
    """Returns how many processes train; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Returns which of the processes this is, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_first() -> bool:
    """Tells whether this is the process that writes and prints for all."""
    return rank() == 0


def is_first_here() -> bool:
    """Tells whether this is the first of its node's processes."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Lets the first process speak for all, and takes leave of the others at the end."""
    if not is_first():
        logging.getLogger("elysium").setLevel(logging.ERROR)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def wait_for_all() -> None:
    """Returns when every process is here."""
    if dist.is_initialized():
        dist.barrier()


def from_first(value: T) -> T:
    """Returns the first process's value in all."""
    if not dist.is_initialized():
        return value
    held = [value]
    dist.broadcast_object_list(held)
    return held[0]


def from_all(value: T) -> list[T]:
    """Returns every process's value in all, by rank."""
    if not dist.is_initialized():
        return [value]
    held: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(held, value)
    return held


def largest(value: int, device: torch.device) -> int:
    """Returns the largest value that a process has, in all; each calls it as often as the others."""
    if not dist.is_initialized():
        return value
    held = torch.tensor(value, device=device)
    dist.all_reduce(held, op=dist.ReduceOp.MAX)
    return int(held)


def samples_per_step(schedule: Schedule, processes: int) -> int:
    """Returns how many samples one step of the optimiser learns from, over all processes.

    Raises:
        UsageError: If the processes cannot share `global_batch_size` evenly.
    """
    return schedule.batch_size * processes * accumulation(schedule, processes)


def accumulation(schedule: Schedule, processes: int) -> int:
    """Returns how many batches each process takes for one step of the optimiser.

    Raises:
        UsageError: If the processes cannot share `global_batch_size` evenly.
    """
    whole, at_once = schedule.global_batch_size, schedule.batch_size * processes
    if whole is None:
        return 1
    if whole % at_once:
        raise UsageError(
            f"global_batch_size={whole} cannot be shared by {processes} processes that take batch_size="
            f"{schedule.batch_size} at once: it is no multiple of {at_once}; change either, or the number of processes"
        )
    return whole // at_once
