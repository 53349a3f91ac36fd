"""The visual encoder: any vision transformer with patch tokens (paper, Figure 3; PROTOCOL §3).

Axes: F frames, N patches of a frame, C width of the tower.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel

from elysium.model.configuration import ElysiumConfig


def build_visual_encoder(config: ElysiumConfig) -> nn.Module:
    """Returns the vision tower that a configuration names, with new weights."""
    tower: nn.Module = AutoModel.from_config(config.vision_config)
    return tower


def encode_patches(tower: Any, pixel_values: Tensor, config: ElysiumConfig) -> Tensor:
    """Returns the patch features of frames, `(F, N, C)`.

    Hidden states of the layer `vision_feature_layer`, without what is not a patch: a tower's class token and registers
    come before its patches, so they are as many as the tokens exceed the grid. At another resolution than the tower's
    own, its position embeddings are interpolated.

    Args:
        tower: Any `AutoModel` with patch tokens.
        pixel_values: Shape `(F, 3, H, W)`, normalised; sides are multiples of the patch size.
        config: Of the model.

    Raises:
        ValueError: If the shape is another, or the tower cannot take frames of that size.
    """
    patch, own = int(config.vision_config.patch_size), config.image_size
    if pixel_values.ndim != 4 or pixel_values.shape[1] != 3 or not pixel_values.is_floating_point():
        raise ValueError(
            f"pixel_values has shape (frames, 3, height, width) and floating values, got {tuple(pixel_values.shape)}, "
            f"{pixel_values.dtype}; the processor makes them"
        )
    height, width = pixel_values.shape[-2:]
    if height % patch or width % patch:
        raise ValueError(
            f"frames of {width}x{height} pixels are no multiple of the patch size {patch}; this tower's own is {own}"
        )
    grid = (height // patch, width // patch)
    inputs = _inputs(tower, pixel_values.to(_dtype(tower)), grid, patch, resized=(height, width) != (own, own))
    states = tower(**inputs, output_hidden_states=True).hidden_states[config.vision_feature_layer]
    extra = states.shape[1] - grid[0] * grid[1]
    if extra < 0:
        raise ValueError(
            f"{type(tower).__name__} gives {states.shape[1]} tokens for a grid of {grid[0]}x{grid[1]} patches; Elysium "
            "needs a tower with one token a patch"
        )
    features: Tensor = states[:, extra:]
    return features


def _inputs(
    tower: Any, pixel_values: Tensor, grid: tuple[int, int], patch: int, *, resized: bool
) -> dict[str, Tensor | bool]:
    parameters = inspect.signature(tower.forward).parameters
    if "spatial_shapes" in parameters:
        return _flattened(pixel_values, grid, patch)
    if not resized:
        return {"pixel_values": pixel_values}
    if "interpolate_pos_encoding" in parameters or "kwargs" in parameters:
        return {"pixel_values": pixel_values, "interpolate_pos_encoding": True}
    return {"pixel_values": pixel_values}


def _flattened(pixel_values: Tensor, grid: tuple[int, int], patch: int) -> dict[str, Tensor | bool]:
    """Returns frames as SigLIP 2's flexible form takes them: a row of patches, each with its channels last."""
    frames, channels = pixel_values.shape[:2]
    cut = pixel_values.reshape(frames, channels, grid[0], patch, grid[1], patch).permute(0, 2, 4, 3, 5, 1)
    rows = cut.reshape(frames, grid[0] * grid[1], patch * patch * channels)
    return {
        "pixel_values": rows,
        "pixel_attention_mask": torch.ones(rows.shape[:2], dtype=torch.long, device=rows.device),
        "spatial_shapes": torch.tensor([grid] * frames, device=rows.device),
    }


def _dtype(tower: nn.Module) -> torch.dtype:
    # Quantised weights are integers; what is not quantised tells what the tower computes in.
    return next((value.dtype for value in tower.parameters() if value.is_floating_point()), torch.float32)
