"""What a model is made of and what it needs, computed from its configuration alone: no weights, no network."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from elysium.config import load_settings
from elysium.model.build import described_config
from elysium.model.configuration import ElysiumConfig
from elysium.model.cost import CostModel
from elysium.model.modeling import ElysiumForConditionalGeneration

_PARTS = {"vision": "vision_tower", "selector": "selector", "projector": "projector", "llm": "language_model"}
_BYTES = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.0, "int4": 0.5}
# Mixed precision: weights and gradients in 2 bytes; master weights and AdamW's two moments in 4 each.
_MIXED_WEIGHT, _MIXED_STATE = 2, 14
# With the LLaMA tokenizer, question and answer of SOT are 277 text tokens for 8 frames and 94 for one (PROTOCOL §2).
_TEXT_PER_FRAME, _TEXT_OF_PROMPT = 26, 68
# The paper tracks longer videos in clips of so many (PROTOCOL §5).
_CLIP_FRAMES = 8


@dataclass(frozen=True)
class Description:
    """A model's sizes. Bytes are of weights and state alone, without activations.

    Attributes:
        parameters: Of each part, and `total`; tied weights count once.
        weight_bytes: Of all weights in each number format.
        training_bytes: Weights, gradients and AdamW's state in mixed precision, when everything is trained, and when
            only selector and projector are (the paper's warm-up).
        cache_bytes_per_token: Of the key-value cache in bfloat16.
        cache_bytes_per_frame: Likewise, for a frame's visual tokens.
        encode_flops_per_frame: Operations (`elysium.model.cost`) of vision tower, selector and projector.
        prefill_flops_per_clip: Of the language model reading a clip of 8 frames with about 26 tokens of text a frame.
        decode_flops_per_token: Of the language model writing one token behind such a clip.
        image_size: Side of a frame in pixels.
        patches: Of a frame.
        visual_tokens: Kept of them.
        context: Positions that the language model has.
        frames: That fit the context in one clip, at about 26 tokens of text a frame; an estimate.
    """

    parameters: dict[str, int]
    weight_bytes: dict[str, int]
    training_bytes: dict[str, int]
    cache_bytes_per_token: int
    cache_bytes_per_frame: int
    encode_flops_per_frame: int
    prefill_flops_per_clip: int
    decode_flops_per_token: int
    image_size: int
    patches: int
    visual_tokens: int
    context: int
    frames: int

    def as_json(self) -> dict[str, object]:
        """Returns all figures by name."""
        return asdict(self)


def describe(name: str) -> Description:
    """Returns the sizes of a preset's model, or of a checkpoint folder's.

    Args:
        name: A preset's name, a YAML file of the same form, or a folder with `config.json`.

    Raises:
        UsageError: If there is no such preset, or its sizes are impossible.
    """
    if (Path(name) / "config.json").is_file():
        return describe_config(ElysiumConfig.from_pretrained(name))
    return describe_config(described_config(load_settings(name).model))


def describe_config(config: ElysiumConfig) -> Description:
    """Returns the sizes of the model that a configuration describes."""
    with torch.device("meta"):
        model = ElysiumForConditionalGeneration(config)
    # Named parameters leave out what is tied to another.
    counts = dict.fromkeys(_PARTS, 0)
    for name, parameter in model.named_parameters():
        counts[next(part for part, prefix in _PARTS.items() if name.startswith(prefix))] += parameter.numel()
    total = sum(counts.values())
    warm = counts["selector"] + counts["projector"]
    costs = CostModel(config, torch.bfloat16)
    clip = _CLIP_FRAMES * config.tokens_per_frame + text_tokens(_CLIP_FRAMES)
    each = config.num_patches if config.position_ids == "grid" else config.tokens_per_frame
    return Description(
        parameters={**counts, "total": total},
        weight_bytes={name: int(total * size) for name, size in _BYTES.items()},
        training_bytes={
            "everything": total * (_MIXED_WEIGHT + _MIXED_STATE),
            "selector and projector": total * _MIXED_WEIGHT + warm * _MIXED_STATE,
        },
        cache_bytes_per_token=costs.cache_bytes_per_token,
        cache_bytes_per_frame=costs.cache_bytes_per_token * config.tokens_per_frame,
        encode_flops_per_frame=int(costs.encode(1).flops),
        prefill_flops_per_clip=int(costs.prefill(clip).flops),
        decode_flops_per_token=int(costs.decode(1, cached_tokens=clip).flops),
        image_size=config.image_size,
        patches=config.num_patches,
        visual_tokens=config.tokens_per_frame,
        context=config.max_positions,
        frames=max((config.max_positions - _TEXT_OF_PROMPT) // (each + _TEXT_PER_FRAME), 0),
    )


def text_tokens(num_frames: int) -> int:
    """Returns about how many text tokens question and answer of SOT are for so many frames."""
    return _TEXT_PER_FRAME * num_frames + _TEXT_OF_PROMPT
