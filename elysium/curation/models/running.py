"""How a model runs: on which device, in which number format, and never learning."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch


class Running:
    """Device and number format of a model that only answers.

    Attributes:
        device: Where it runs.
        dtype: What matrix products are computed in; weights and sums stay float32.
    """

    def __init__(self, device: str, dtype: str) -> None:
        """Takes the names of the settings.

        Args:
            device: As torch names it; `auto` is the first GPU, or the CPU.
            dtype: `float32`, `bfloat16` or `float16`; `auto` is bfloat16 on a GPU and float32 on a CPU.

        Raises:
            UsageError: If there is no such device.
        """
        from elysium.inference.checkpoints import choose_device, choose_dtype

        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device)

    def take(self, model: Any) -> Any:
        """Returns the model on the device, in float32, ready to answer."""
        return model.to(self.device, torch.float32).eval()

    @contextmanager
    def forward(self) -> Iterator[None]:
        """Makes everything inside run without gradients, and in the number format."""
        mixed = self.dtype != torch.float32
        with torch.inference_mode(), torch.autocast(self.device.type, self.dtype) if mixed else nullcontext():
            yield
