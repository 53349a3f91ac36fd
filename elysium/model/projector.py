"""The projector: an MLP from the visual encoder's width to the language model's (paper, Figure 3; PROTOCOL §3)."""

from __future__ import annotations

from torch import nn

from elysium.model.configuration import ElysiumConfig


def build_projector(config: ElysiumConfig) -> nn.Sequential:
    """Returns `mlp2x_gelu`: Linear(C→D), GELU, Linear(D→D), with C the tower's width and D the language model's."""
    width, hidden = config.vision_config.hidden_size, config.text_config.hidden_size
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden))
