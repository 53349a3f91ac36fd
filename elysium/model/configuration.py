"""The configuration of an Elysium model: two backbones by their own configurations, and what joins them."""

from __future__ import annotations

import math
from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig

SELECTORS = ("gated", "mixed", "strided", "concat", "cross_attention", "none")
POSITION_IDS = ("packed", "grid")
_PAPER_VISION: dict[str, Any] = {
    "model_type": "clip_vision_model",
    "image_size": 336,
    "patch_size": 14,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
}
_PAPER_TEXT: dict[str, Any] = {"model_type": "llama", "max_position_embeddings": 4096, "vocab_size": 32000}


class ElysiumConfig(PreTrainedConfig):
    """Configuration of `ElysiumForConditionalGeneration` (PROTOCOL §3).

    Args:
        vision_config: Configuration, or its dictionary with `model_type`, of any `AutoModel` with patch tokens. The
            configuration of a whole model with a `vision_config` of its own (CLIP, SigLIP) serves too. By default the
            paper's CLIP-ViT-L/14-336.
        text_config: The same of any `AutoModelForCausalLM`; by default the paper's, of Vicuna-7B's size.
        selector_type: One of `SELECTORS`.
        num_visual_tokens: Tokens kept of each frame; ignored by the selector `none`.
        share_visual_tokens: One budget for a clip, `num_visual_tokens` times its frames, spent on whichever frames
            need it; each frame keeps at least one token. For the selector `gated`.
        position_ids: `packed` counts the tokens that are there, as the release does; `grid` gives a kept token the
            position it had among all of its frame's patches (arXiv 2506.21873), so that the language model knows where
            it came from, at the price of a context that is used up as if no token had been dropped.
        vision_feature_layer: Which hidden states of the vision tower are used; -2 is the paper's.
        image_token_id: Placeholder that the features replace, one placeholder a kept token.
        bos_after_image: Whether every text chunk after an image begins with the begin-of-sequence token, as the
            release has it.
        coordinate_scale: Integer steps of the box text.
        coordinate_maximum: Largest integer of the box text.

    Raises:
        ValueError: If a name is unknown, more tokens are to be kept than a frame has patches, or the selector cannot
            share a budget.
    """

    model_type = "elysium"
    sub_configs = {"vision_config": PreTrainedConfig, "text_config": PreTrainedConfig}  # noqa: RUF012

    def __init__(
        self,
        vision_config: PreTrainedConfig | dict[str, Any] | None = None,
        text_config: PreTrainedConfig | dict[str, Any] | None = None,
        selector_type: str = "gated",
        num_visual_tokens: int = 108,
        share_visual_tokens: bool = False,
        position_ids: str = "packed",
        vision_feature_layer: int = -2,
        image_token_id: int = 0,
        bos_after_image: bool = False,
        coordinate_scale: int = 100,
        coordinate_maximum: int = 99,
        **kwargs: Any,
    ) -> None:
        vision = _sub_config(vision_config, _PAPER_VISION)
        self.vision_config = getattr(vision, "vision_config", vision)
        self.text_config = _sub_config(text_config, _PAPER_TEXT)
        self.selector_type = selector_type
        self.num_visual_tokens = num_visual_tokens
        self.share_visual_tokens = share_visual_tokens
        self.position_ids = position_ids
        self.vision_feature_layer = vision_feature_layer
        self.image_token_id = image_token_id
        self.bos_after_image = bos_after_image
        self.coordinate_scale = coordinate_scale
        self.coordinate_maximum = coordinate_maximum
        for name, value, known in (
            ("selector_type", selector_type, SELECTORS),
            ("position_ids", position_ids, POSITION_IDS),
        ):
            if value not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}; got {value!r}")
        if selector_type != "none" and not 1 <= num_visual_tokens <= self.num_patches:
            raise ValueError(
                f"num_visual_tokens must lie between 1 and the {self.num_patches} patches of a frame, "
                f"got {num_visual_tokens}"
            )
        if share_visual_tokens and selector_type != "gated":
            raise ValueError(
                "share_visual_tokens needs scores that can be compared between frames, which only the selector "
                f"'gated' has; got {selector_type!r}"
            )
        layers = self.vision_config.num_hidden_layers
        if not -layers - 1 <= vision_feature_layer <= layers:
            raise ValueError(
                f"vision_feature_layer lies between {-layers - 1} and {layers} for a tower of {layers} layers, "
                f"got {vision_feature_layer}"
            )
        kwargs.setdefault("tie_word_embeddings", self.text_config.tie_word_embeddings)
        super().__init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Returns the configuration that a dictionary holds.

        Raises:
            ValueError: If it is another architecture's.
        """
        found = config_dict.get("model_type", cls.model_type)
        if found != cls.model_type:
            raise ValueError(
                f"this is a checkpoint of the architecture {found!r}, not {cls.model_type!r}; load it with its own "
                "class, make it a backbone (model.vision.weights, model.llm.weights), or convert the official release "
                "with elysium convert"
            )
        return super().from_dict(config_dict, **kwargs)

    @property
    def grid_side(self) -> int:
        """Patches along one side of a frame at the tower's own resolution."""
        size = getattr(self.vision_config, "image_size", None)
        if size is None:
            # SigLIP 2 in its flexible form tells how many patches it has positions for.
            return math.isqrt(int(self.vision_config.num_patches))
        return int(size) // int(self.vision_config.patch_size)

    @property
    def image_size(self) -> int:
        """Side in pixels of the frames the tower was made for."""
        return self.grid_side * int(self.vision_config.patch_size)

    @property
    def num_patches(self) -> int:
        """Patches of one frame at the tower's own resolution."""
        return self.grid_side**2

    @property
    def tokens_per_frame(self) -> int:
        """Tokens of one frame that the language model sees."""
        return self.num_patches if self.selector_type == "none" else self.num_visual_tokens

    @property
    def max_positions(self) -> int:
        """Positions that the language model has, frames and text together."""
        return int(self.text_config.max_position_embeddings)


def _sub_config(given: PreTrainedConfig | dict[str, Any] | None, default: dict[str, Any]) -> PreTrainedConfig:
    if isinstance(given, PreTrainedConfig):
        return given
    values = dict(default if given is None else given)
    name = values.pop("model_type", default["model_type"])
    if name not in CONFIG_MAPPING:
        raise ValueError(
            f"transformers knows no architecture {name!r}; give the model_type of a backbone's config.json"
        )
    return CONFIG_MAPPING[name](**values)
