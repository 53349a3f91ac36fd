"""The configuration of an Elysium model: two backbones by their own configurations, and what joins them."""

from __future__ import annotations

from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig

SELECTORS = ("gated", "mixed", "strided", "concat", "cross_attention", "none")


class ElysiumConfig(PreTrainedConfig):
    """Configuration of `ElysiumForConditionalGeneration` (PROTOCOL §3).

    Args:
        vision_config: Configuration, or its dictionary with `model_type`, of any `AutoModel` with patch tokens.
        text_config: The same of any `AutoModelForCausalLM`.
        selector_type: One of `SELECTORS`.
        num_visual_tokens: Tokens kept of each frame; ignored by the selector `none`.
        vision_feature_layer: Which hidden states of the vision tower are used; -2 is the paper's.
        num_prefix_tokens: Leading tokens of the tower's output that are no patches (CLIP's class token: 1).
        image_token_id: Placeholder that the features replace, one placeholder a kept token.
        bos_after_image: Whether every text chunk after an image begins with the begin-of-sequence token, as the
            release has it.
        coordinate_scale: Integer steps of the box text.
        coordinate_maximum: Largest integer of the box text.

    Raises:
        ValueError: If a selector is unknown, or more tokens are to be kept than a frame has patches.
    """

    model_type = "elysium"
    sub_configs = {"vision_config": PreTrainedConfig, "text_config": PreTrainedConfig}  # noqa: RUF012

    def __init__(
        self,
        vision_config: PreTrainedConfig | dict[str, Any] | None = None,
        text_config: PreTrainedConfig | dict[str, Any] | None = None,
        selector_type: str = "gated",
        num_visual_tokens: int = 108,
        vision_feature_layer: int = -2,
        num_prefix_tokens: int = 1,
        image_token_id: int = 0,
        bos_after_image: bool = False,
        coordinate_scale: int = 100,
        coordinate_maximum: int = 99,
        **kwargs: Any,
    ) -> None:
        self.vision_config = _sub_config(vision_config, "clip_vision_model")
        self.text_config = _sub_config(text_config, "llama")
        self.selector_type = selector_type
        self.num_visual_tokens = num_visual_tokens
        self.vision_feature_layer = vision_feature_layer
        self.num_prefix_tokens = num_prefix_tokens
        self.image_token_id = image_token_id
        self.bos_after_image = bos_after_image
        self.coordinate_scale = coordinate_scale
        self.coordinate_maximum = coordinate_maximum
        if selector_type not in SELECTORS:
            raise ValueError(f"there is no selector {selector_type!r}; the selectors are {', '.join(SELECTORS)}")
        if selector_type != "none" and not 1 <= num_visual_tokens <= self.num_patches:
            raise ValueError(
                f"num_visual_tokens must lie between 1 and the {self.num_patches} patches of a frame, "
                f"got {num_visual_tokens}"
            )
        kwargs.setdefault("tie_word_embeddings", self.text_config.tie_word_embeddings)
        super().__init__(**kwargs)

    @property
    def num_patches(self) -> int:
        """Patches of one frame at the tower's own resolution."""
        side: int = self.vision_config.image_size // self.vision_config.patch_size
        return side * side

    @property
    def tokens_per_frame(self) -> int:
        """Tokens of one frame that the language model sees."""
        return self.num_patches if self.selector_type == "none" else self.num_visual_tokens


def _sub_config(given: PreTrainedConfig | dict[str, Any] | None, default: str) -> PreTrainedConfig:
    if isinstance(given, PreTrainedConfig):
        return given
    values = dict(given or {})
    return CONFIG_MAPPING[values.pop("model_type", default)](**values)
