"""The model: vision tower, token selector, projector, language model (paper, Figure 3; PROTOCOL §3)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from elysium.config import Part
from elysium.model.configuration import ElysiumConfig
from elysium.model.selectors import CrossAttentionSelector, MixedSelector, build_selector, strided_positions


class ElysiumForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """Answers questions about frames.

    Args:
        config: The configuration.

    Example:
        >>> from elysium.config import ModelSettings
        >>> from elysium.model import build_model
        >>> model, processor = build_model(ModelSettings(), seed=0)
        >>> model.config.tokens_per_frame
        12
    """

    config_class = ElysiumConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _skip_keys_device_placement = ("past_key_values",)
    _no_split_modules = ("CLIPEncoderLayer", "LlamaDecoderLayer")

    def __init__(self, config: ElysiumConfig) -> None:
        super().__init__(config)
        width, hidden = config.vision_config.hidden_size, config.text_config.hidden_size
        self.vision_tower = AutoModel.from_config(config.vision_config)
        self.selector = build_selector(config)
        self.projector = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden))
        self.language_model = AutoModelForCausalLM.from_config(config.text_config)
        self.post_init()

    def part(self, name: Part) -> nn.Module:
        """Returns the module that training phases freeze or train under a name."""
        modules: dict[str, nn.Module] = {
            "vision": self.vision_tower,
            "selector": self.selector,
            "projector": self.projector,
            "llm": self.language_model,
        }
        return modules[name]

    def get_input_embeddings(self) -> nn.Module:
        """Returns the language model's token embedding."""
        embeddings: nn.Module = self.language_model.get_input_embeddings()
        return embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Sets the language model's token embedding."""
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """Returns the language model's head."""
        head: nn.Module = self.language_model.get_output_embeddings()
        return head

    def encode_frames(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes frames into what the language model sees of them.

        Args:
            pixel_values: Shape `(F, 3, H, W)`, normalised.

        Returns:
            Embeddings `(F, K, D)` in the language model's width, and the patch positions `(F, K)` they come from.
        """
        dtype = next(self.projector.parameters()).dtype
        outputs = self.vision_tower(pixel_values=pixel_values.to(dtype), output_hidden_states=True)
        features = outputs.hidden_states[self.config.vision_feature_layer][:, self.config.num_prefix_tokens :]
        kept, positions = self.selector(features)
        return self.projector(kept), positions

    def embed(self, input_ids: Tensor, visual: Tensor | None) -> Tensor:
        """Returns the language model's input `(B, L, D)`: text embeddings with the frames' embeddings in their places.

        Args:
            input_ids: Shape `(B, L)`, with one placeholder for each visual token.
            visual: Shape `(F, K, D)`: all frames of the batch, in reading order; None for text alone.

        Raises:
            ValueError: If placeholders and visual tokens differ in number.
        """
        places = input_ids == self.config.image_token_id
        embeddings: Tensor = self.get_input_embeddings()(input_ids.masked_fill(places, 0))
        count = 0 if visual is None else visual.shape[0] * visual.shape[1]
        if int(places.sum()) != count:
            raise ValueError(
                f"the text has {int(places.sum())} places for visual tokens, the frames give {count}; "
                f"write {self.config.tokens_per_frame} placeholders a frame"
            )
        if visual is None:
            return embeddings
        return embeddings.masked_scatter(places.unsqueeze(-1), visual.to(embeddings.dtype))

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Runs the model.

        Args:
            input_ids: Shape `(B, L)`; or give `inputs_embeds`.
            pixel_values: Shape `(F, 3, H, W)`: all frames of the batch in reading order; only with the whole prompt.
            attention_mask: Shape `(B, L)`; padding may be on either side.
            position_ids: Shape `(B, L)`; by default counted over what is not padding.
            past_key_values: Cache of the tokens before.
            inputs_embeds: Shape `(B, L, D)`, as `embed` returns it.
            labels: Shape `(B, L)`, -100 where the loss does not look.
            **kwargs: Passed on to the language model (`use_cache`, `logits_to_keep`, `num_items_in_batch`, …).

        Returns:
            Loss, logits `(B, L, V)` and cache.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        if inputs_embeds is None and input_ids is not None:
            visual = None if pixel_values is None else self.encode_frames(pixel_values)[0]
            inputs_embeds = self.embed(input_ids, visual)
        if position_ids is None and attention_mask is not None and past_key_values is None:
            position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
        outputs: CausalLMOutputWithPast = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            labels=labels,
            **kwargs,
        )
        return outputs

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, pixel_values: Tensor | None = None, is_first_iteration: bool = False, **kwargs: Any
    ) -> dict[str, Any]:
        """Returns the inputs of one generation step; frames go in with the prompt only."""
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(
            input_ids, is_first_iteration=is_first_iteration, **kwargs
        )
        if is_first_iteration or not kwargs.get("use_cache", True):
            inputs["pixel_values"] = pixel_values
        return inputs

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MixedSelector):
            nn.init.zeros_(module.trans_weight)
            nn.init.zeros_(module.trans_bias)
            module.trans_bias[strided_positions(module.num_tokens, module.num_kept)] = 0.02
        elif isinstance(module, CrossAttentionSelector):
            nn.init.normal_(module.queries, std=0.02)
