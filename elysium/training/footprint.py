"""What a forward pass leaves in memory for its backward pass, found by running the model on shapes alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

from elysium.config import PhaseSettings
from elysium.errors import UsageError
from elysium.model.configuration import ElysiumConfig
from elysium.model.modeling import ElysiumForConditionalGeneration
from elysium.training.phases import freeze

_FUSED = "fused_shapes"


@dataclass(frozen=True)
class Activations:
    """Bytes of one sample, in bfloat16, with fused attention.

    Attributes:
        kept: Where all is kept for the backward pass.
        checkpointed: Where of each layer only its input is kept, and one layer at a time is computed again (Chen et
            al., 2016, arXiv 1604.06174).
    """

    kept: int
    checkpointed: int

    def __add__(self, other: Activations) -> Activations:
        return Activations(self.kept + other.kept, self.checkpointed + other.checkpointed)


def activations(config: ElysiumConfig, phase: PhaseSettings, num_frames: int, num_tokens: int) -> Activations:
    """Returns what one sample takes, without what a kernel needs while it works.

    Args:
        config: Of the model.
        phase: Says what trains; frozen layers before the first that trains keep nothing.
        num_frames: Of the sample.
        num_tokens: Of its row, text and visual ones.

    Raises:
        UsageError: If the model cannot be run on shapes alone.
    """
    vision, text = config.vision_config, config.text_config

    def frames(layers: int) -> int:
        model = _on_meta(config, phase, vision_layers=layers)
        pixels = torch.empty(num_frames, 3, config.image_size, config.image_size, device="meta", dtype=torch.bfloat16)
        return _saved(model, lambda: model.encode_frames(pixels, phase.num_visual_tokens).embeddings)

    def words(layers: int) -> int:
        model = _on_meta(config, phase, text_layers=layers)
        row = torch.empty(1, num_tokens, text.hidden_size, device="meta", dtype=torch.bfloat16, requires_grad=True)
        labels = torch.zeros(1, num_tokens, device="meta", dtype=torch.long)
        return _saved(model, lambda: model.language_model(inputs_embeds=row, labels=labels, use_cache=False).loss)

    # The last layer is not used where features are the second-to-last one's.
    deepest = vision.num_hidden_layers
    seen = _of_layers(frames, deepest, num_frames * config.num_patches * vision.hidden_size * 2)
    read = _of_layers(words, text.num_hidden_layers, num_tokens * text.hidden_size * 2)
    # The gradient of the logits, in float32, is there when everything else still is.
    logits = num_tokens * text.vocab_size * 4
    return seen + read + Activations(logits, logits)


def _of_layers(measure: Callable[[int], int], layers: int, input_bytes: int) -> Activations:
    """Returns what all layers take, from what two and three take."""
    try:
        two, three = measure(2), measure(3)
    except (NotImplementedError, RuntimeError) as error:
        raise UsageError(
            f"activations cannot be planned for this architecture, for it does not run on shapes alone: {error}"
        ) from error
    layer = three - two
    base = two - 2 * layer
    return Activations(base + layers * layer, base + (layers * input_bytes + layer if layer else 0))


def _on_meta(
    config: ElysiumConfig, phase: PhaseSettings, vision_layers: int = 2, text_layers: int = 1
) -> ElysiumForConditionalGeneration:
    cut = copy.deepcopy(config)
    cut.vision_config.num_hidden_layers, cut.text_config.num_hidden_layers = vision_layers, text_layers
    if getattr(cut.text_config, "layer_types", None):
        cut.text_config.layer_types = cut.text_config.layer_types[:text_layers]
    with torch.device("meta"):
        model: ElysiumForConditionalGeneration = ElysiumForConditionalGeneration(cut).to(torch.bfloat16).train()
    freeze(model, phase)
    for part in (model.vision_tower, model.language_model):
        part.set_attn_implementation(_FUSED)  # type: ignore[operator] # both are pre-trained models
    return model


def _saved(model: ElysiumForConditionalGeneration, run: Callable[[], Tensor]) -> int:
    """Returns the bytes that autograd holds on to, each piece of memory once, weights left out."""
    weights = {value.untyped_storage()._cdata for value in model.parameters()}
    held: dict[int, Tensor] = {}

    def hold(value: Tensor) -> Tensor:
        if value.untyped_storage()._cdata not in weights:
            held[value.untyped_storage()._cdata] = value
        return value

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda value: value):
        result = run()
    total = sum(value.untyped_storage().nbytes() for value in held.values())
    del result
    return total


class _Fused(torch.autograd.Function):
    """Attention that keeps what fused kernels keep: queries, keys, values, the result and a number a row."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        result = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, result, query.new_empty(query.shape[:3], dtype=torch.float32))
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # pragma: no cover
        raise NotImplementedError("shapes alone have no gradients")


def _fused(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **_: Any) -> tuple[Tensor, None]:
    result: Tensor = _Fused.apply(query, key, value)  # type: ignore[no-untyped-call]
    return result.transpose(1, 2), None


AttentionInterface.register(_FUSED, _fused)
