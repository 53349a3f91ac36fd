"""The mean of several checkpoints' weights (model soups; Wortsman et al., 2022, arXiv 2203.05482)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from elysium.checkpoints import checkpoint_folder
from elysium.errors import UsageError
from elysium.model.build import load_checkpoint
from elysium.pipeline.workspace import publish_folder


def average_checkpoints(checkpoints: Sequence[str], output: Path, dtype: torch.dtype = torch.float32) -> int:
    """Writes a checkpoint whose weights are the mean of others, which were trained on from one another.

    Args:
        checkpoints: At least two folders, or names of carried ones; tokenizer and configuration are the first one's.
        output: The new folder.
        dtype: That the weights are stored in; the mean is taken in float64.

    Returns:
        How many parameters were averaged.

    Raises:
        UsageError: If there are fewer than two, or their models are not alike.
    """
    if len(checkpoints) < 2:
        raise UsageError(f"a mean takes two checkpoints or more, got {len(checkpoints)}")
    model, processor = load_checkpoint(checkpoint_folder(checkpoints[0]))
    sums = {name: value.double() for name, value in model.state_dict().items()}
    for checkpoint in checkpoints[1:]:
        other = load_checkpoint(checkpoint_folder(checkpoint))[0].state_dict()
        strange = sorted(set(sums) ^ set(other)) or sorted(n for n in sums if sums[n].shape != other[n].shape)
        if strange:
            raise UsageError(
                f"{checkpoint} is no model like {checkpoints[0]}: {strange[0]} differs; a mean takes checkpoints of "
                "one model, trained on from one another"
            )
        for name, value in other.items():
            sums[name] += value.double()
    model.load_state_dict({name: value / len(checkpoints) for name, value in sums.items()})

    def write(scratch: Path) -> None:
        model.to(dtype).save_pretrained(scratch)
        processor.save_pretrained(scratch)

    publish_folder(output, write)
    return sum(value.numel() for value in model.parameters())
