"""What is watched while a model trains: the loss of each task, the speed, and a loss that must not go on."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor

from elysium.errors import ElysiumError
from elysium.pipeline.workspace import publish_folder
from elysium.prompts import Task
from elysium.training.batches import PADDED
from elysium.training.effort import Effort
from elysium.training.processes import rank, world_size

# Losses that a new one is compared with, at the least and at the most.
_FEWEST, _MOST = 16, 64
# Of a model that has learnt: one batch of what it has not seen, a real object among shapes, say, is no alarm.
_LEAST_MEDIAN = 0.3
_FEW_FRAMES = 16
# What MLflow does not take in the name of a metric.
_METRIC = re.compile(r"[^\w./ -]")


class Tally:
    """Sums the loss of each task, tokens and operations between two logged steps.

    Nothing waits for the device before then.

    Args:
        effort: Of the phase; None leaves operations out.
        peak: Operations a second that a process's device can do; None leaves the share of them out.
        sets: Names of the data sets that samples come from; one has no loss of its own.

    Attributes:
        frames: A few of the last batch; None before there is one.
    """

    def __init__(self, effort: Effort | None = None, peak: float | None = None, sets: Sequence[str] = ()) -> None:
        self._effort, self._peak = effort, peak
        self._sets = [f"loss_set_{_METRIC.sub('_', name)}" for name in sets] if len(sets) > 1 else []
        self._sums: Tensor | None = None
        self.frames: Tensor | None = None

    def add(self, losses: Tensor, tasks: Tensor, frames: Tensor, sources: Tensor | None = None) -> Tensor:
        """Adds a batch, and returns its losses summed by task and how many labels each has, `(2, num_tasks)`.

        Args:
            losses: Of each label, in the order of the rows.
            tasks: Shape `(B, L)`, as `Collator` marks them.
            frames: Of all rows, shape `(F, 3, H, W)`.
            sources: The data set of each row, shape `(B,)`; needed where there are several.
        """
        self.frames = frames[:_FEW_FRAMES]
        # Tasks and sets: sums of losses in the first row, numbers in the second; then tokens, places, pairs and frames.
        sums = torch.zeros(2, len(Task) + len(self._sets) + 2, device=losses.device)
        is_labelled = tasks[:, 1:] >= 0
        groups = [tasks[:, 1:][is_labelled]]
        if self._sets and sources is not None:
            groups.append(len(Task) + sources[:, None].expand_as(is_labelled)[is_labelled])
        for group in groups:
            sums[0].index_add_(0, group, losses.float())
            sums[1].index_add_(0, group, torch.ones_like(losses, dtype=torch.float32))
        tokens = (tasks != PADDED).sum(1).float()
        sums[0, -2:] = torch.stack([tokens.sum(), tokens.new_tensor(tasks.numel())])
        sums[1, -2:] = torch.stack([tokens.square().sum(), tokens.new_tensor(len(frames))])
        self._sums = sums if self._sums is None else self._sums + sums
        return sums[:, : len(Task)]

    def take(self, seconds: float) -> dict[str, float]:
        """Returns the mean loss of each task and set, tokens and operations a second, padding's share, and begins anew.

        `mfu` is the share of what the devices could compute (model FLOPs utilisation; Chowdhery et al., 2022, PaLM,
        appendix B).

        Processes that train together are added up; each calls it as often as the others.

        Args:
            seconds: Since the last time.
        """
        if self._sums is None:
            return {}
        if dist.is_initialized():
            dist.all_reduce(self._sums)
        (*losses, tokens, places), (*counts, pairs, frames) = self._sums.tolist()
        self._sums = None
        names = [*(f"loss_{task.value}" for task in Task), *self._sets]
        found = {name: loss / count for name, loss, count in zip(names, losses, counts, strict=True) if count}
        found |= {"tokens_per_second": tokens / seconds, "padding": 1 - tokens / places}
        if self._effort is not None:
            rate = self._effort.flops(tokens, pairs, frames) / seconds
            found["teraflops_per_second"] = rate / 1e12
            if self._peak is not None:
                found["mfu"] = rate / (self._peak * world_size())
        return found


class Guard:
    """Stops training at a loss that is no number or that jumps, and saves the batch for people to look at.

    A batch is compared with what its tasks' losses were: one of conversations has another loss than one of boxes.

    Args:
        jump: A loss may be so many times what it was: the median of the last 64 of each task, or 0.3 if that is more.
        folder: Where the batch goes.
        decode: Token ids to text; None leaves texts out.
    """

    def __init__(self, jump: float, folder: Path, decode: Callable[[Any], str] | None) -> None:
        self._jump = jump
        self._folder = folder
        self._decode = decode
        self._before: dict[int, deque[float]] = {}

    def check(self, loss: float, step: int, batch: Mapping[str, Any], tasks: Tensor | None = None) -> None:
        """Looks at the loss of a batch.

        Args:
            loss: Of the batch.
            step: Its number.
            batch: What is saved.
            tasks: Losses summed by task and how many each has, shape `(2, num_tasks)`; without it there is one task.

        Raises:
            ElysiumError: If training must not go on from it.
        """
        sums, counts = ([loss], [1.0]) if tasks is None else tasks.tolist()
        means = {task: total / count for task, (total, count) in enumerate(zip(sums, counts, strict=True)) if count}
        usual = {
            task: max(statistics.median(self._before[task]), _LEAST_MEDIAN)
            for task in means
            if len(self._before.get(task, ())) >= _FEWEST
        }
        share = sum(counts[task] for task in usual)
        found = sum(counts[task] * means[task] for task in usual) / share if share else 0.0
        before = sum(counts[task] * usual[task] for task in usual) / share if share else math.inf
        if math.isfinite(loss) and not found > self._jump * before:
            for task, mean in means.items():
                self._before.setdefault(task, deque(maxlen=_MOST)).append(mean)
            return
        what = f"; before, it was {before:.3g}" if share else ""
        place = self._save(loss, step, batch)
        raise ElysiumError(
            f"the loss is {found if share else loss:.4g} at step {step}{what}; its batch is in {place}; look at it, "
            "lower the learning rate, or allow more with max_loss_jump; the checkpoint before is kept"
        )

    def _save(self, loss: float, step: int, batch: Mapping[str, Any]) -> Path:
        tensors = {name: value.detach().cpu().contiguous() for name, value in batch.items() if torch.is_tensor(value)}
        texts = [] if self._decode is None else [self._decode(row) for row in tensors.get("input_ids", [])]
        place = self._folder / f"stopped-at-{step}{f'-process-{rank()}' if rank() else ''}"

        def write(scratch: Path) -> None:
            scratch.mkdir(parents=True)
            save_file(tensors, scratch / "batch.safetensors")
            note = {"step": step, "loss": str(loss), "rows": texts}
            (scratch / "batch.json").write_text(json.dumps(note, indent=1, ensure_ascii=False), encoding="utf-8")

        publish_folder(place, write)
        return place


def duration(seconds: float) -> str:
    """Returns a time for people.

    Example:
        >>> duration(42), duration(600), duration(8000)
        ('42 s', '10 min', '2 h 13 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
