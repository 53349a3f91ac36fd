"""What training computes, forward and backward, for plans before it and for its speed while it runs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from elysium.config import PhaseSettings
from elysium.model.cost import CostModel
from elysium.model.roofline import published_roofline


@dataclass(frozen=True)
class Effort:
    """Operations of a phase.

    Backward is twice forward where weights train, and as much as forward where gradients only pass through frozen ones;
    nothing goes back into a frozen tower. Layers that are computed a second time do not count: they are no progress.

    Attributes:
        per_token: Of the language model's matrices, for a token of a row.
        per_pair: Of attention, for a token and one that it may attend to.
        per_frame: Of the tower, selector and projector.

    Example:
        >>> Effort(per_token=2.0, per_pair=1.0, per_frame=10.0).flops(tokens=3, pairs=9, frames=1)
        25.0
    """

    per_token: float
    per_pair: float
    per_frame: float

    @staticmethod
    def of(costs: CostModel, phase: PhaseSettings) -> Effort:
        """Returns the effort of a phase.

        Args:
            costs: Of the model.
            phase: Says what trains and how many tokens a frame has.
        """
        frame = costs.encode(1, num_visual_tokens=phase.num_visual_tokens).flops
        return Effort(
            per_token=costs.work(1, 0, 0, 1).flops * (3 if "llm" in phase.trains else 2),
            per_pair=costs.work(0, 1, 0, 0).flops * 3,
            per_frame=frame * (3 if "vision" in phase.trains else 1),
        )

    def flops(self, tokens: float, pairs: float, frames: float) -> float:
        """Returns operations; padding is not among the tokens."""
        return self.per_token * tokens + self.per_pair * pairs + self.per_frame * frames


def peak_flops() -> float | None:
    """Returns what the GPU can do a second in bfloat16, as its vendor states it; None where nobody does."""
    found = published_roofline(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
    return None if found is None else found.flops_per_second
