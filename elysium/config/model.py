"""The model, as configuration: its parts, their sizes, and the weights they start from."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from elysium.config.section import Section


class VisionSettings(Section):
    """The visual encoder. Where weights are named, sizes that a preset states are checked against them."""

    weights: str | None = Field(None, description="folder or hub id of pre-trained weights; None starts anew")
    model_type: str = Field("clip_vision_model", description="as in transformers' config.json")
    image_size: int = Field(64, ge=8)
    patch_size: int = Field(8, ge=1)
    hidden_size: int = Field(96, ge=8)
    intermediate_size: int | None = Field(None, ge=8, description="None is four times hidden_size")
    num_hidden_layers: int = Field(4, ge=2)
    num_attention_heads: int = Field(4, ge=1)
    feature_layer: int = Field(-2, description="whose hidden states are used; -2 is the paper's")
    normalisation: Literal["clip", "siglip", "imagenet"] = Field("clip", description="mean and deviation of pixels")
    config: dict[str, Any] = Field({}, description="more of the architecture's own configuration")


class LlmSettings(Section):
    """The language model. Where weights are named, sizes that a preset states are checked against them."""

    weights: str | None = Field(None, description="folder or hub id of pre-trained weights; None starts anew")
    tokenizer: str | None = Field(None, description="folder or hub id; None is the weights' own, or the nano tokenizer")
    model_type: str = Field("llama", description="as in transformers' config.json")
    vocab_size: int | None = Field(None, ge=2, description="None is as many as the tokenizer needs")
    hidden_size: int = Field(160, ge=8)
    intermediate_size: int | None = Field(None, ge=8, description="None is four times hidden_size")
    num_hidden_layers: int = Field(5, ge=1)
    num_attention_heads: int = Field(4, ge=1)
    num_key_value_heads: int | None = Field(None, ge=1, description="None is as many as num_attention_heads")
    max_position_embeddings: int = Field(1024, ge=64)
    tie_word_embeddings: bool = False
    config: dict[str, Any] = Field(
        # Weights of a few hundred rows: with the usual 0.02 of wide models, attention starts uniform and stays so long.
        {"initializer_range": 0.08},
        description="more of the architecture's own configuration",
    )


class ModelSettings(Section):
    """The model that training starts from."""

    init_from: str | None = Field(
        None,
        description="a checkpoint to start from: a folder, or `nano`, which Elysium carries; None builds one of the "
        "parts below",
    )
    vision: VisionSettings = VisionSettings()
    llm: LlmSettings = LlmSettings()
    selector: Literal["gated", "mixed", "strided", "concat", "cross_attention", "none"] = "gated"
    num_visual_tokens: int = Field(
        12, ge=1, description="kept of each frame's patches; 12 of 64 is the paper's 108/576"
    )
    share_visual_tokens: bool = Field(False, description="one budget for a clip's frames, spent where it is needed")
    position_ids: Literal["packed", "grid"] = Field("packed", description="grid keeps each token's place in its frame")
    coordinate_scale: int = Field(100, ge=10)
    coordinate_maximum: int = Field(99, ge=9)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        size, patch = self.vision.image_size, self.vision.patch_size
        if size % patch:
            raise ValueError(f"vision.image_size {size} is not a multiple of vision.patch_size {patch}")
        patches = (size // patch) ** 2
        if self.num_visual_tokens > patches:
            raise ValueError(f"num_visual_tokens {self.num_visual_tokens} exceeds the {patches} patches of a frame")
        if self.share_visual_tokens and self.selector != "gated":
            raise ValueError(f"share_visual_tokens needs the selector gated, got {self.selector}")
        for name, part in (("vision", self.vision), ("llm", self.llm)):
            if part.hidden_size % part.num_attention_heads:
                raise ValueError(
                    f"{name}.hidden_size {part.hidden_size} is not a multiple of {name}.num_attention_heads "
                    f"{part.num_attention_heads}"
                )
        if self.coordinate_maximum > self.coordinate_scale:
            raise ValueError(
                f"coordinate_maximum {self.coordinate_maximum} exceeds coordinate_scale {self.coordinate_scale}"
            )
        return self
