"""The model: visual encoder, T-Selector, projector, language model (paper, Figure 3; PROTOCOL §3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, LogitsProcessorList, PreTrainedModel, SuppressTokensLogitsProcessor
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils.output_capturing import maybe_install_capturing_hooks

from elysium.config import Part
from elysium.model.configuration import ElysiumConfig
from elysium.model.language_model import (
    VisualTokens,
    build_language_model,
    count_frames,
    grid_offsets,
    spread_places,
)
from elysium.model.projector import build_projector
from elysium.model.selectors import CrossAttentionSelector, MixedSelector, build_selector
from elysium.model.t_selector import GatedSelector
from elysium.model.visual_encoder import build_visual_encoder, encode_patches


class ElysiumForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """Answers questions about frames.

    Args:
        config: The configuration.
        vision_tower: Instead of a new one; as the configuration describes it.
        language_model: Likewise.

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
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _skip_keys_device_placement = ("past_key_values",)
    _no_split_modules = ("GatedSelector", "MixedSelector", "ConcatSelector", "CrossAttentionSelector")

    def __init__(
        self, config: ElysiumConfig, vision_tower: nn.Module | None = None, language_model: nn.Module | None = None
    ) -> None:
        super().__init__(config)
        self.vision_tower = build_visual_encoder(config) if vision_tower is None else vision_tower
        self.selector = build_selector(config)
        self.projector = build_projector(config)
        self.language_model = build_language_model(config) if language_model is None else language_model
        self.post_init()
        # Else the first call installs what collects hidden states, under a lock that the compiler cannot trace.
        maybe_install_capturing_hooks(self.vision_tower)

    def part(self, name: Part) -> nn.Module:
        """Returns the module that training phases freeze or train under a name."""
        modules: dict[str, nn.Module] = {
            "vision": self.vision_tower,
            "selector": self.selector,
            "projector": self.projector,
            "llm": self.language_model,
        }
        return modules[name]

    @property
    def _llm(self) -> Any:
        return self.language_model

    def get_input_embeddings(self) -> nn.Module:
        """Returns the language model's token embedding."""
        embeddings: nn.Module = self._llm.get_input_embeddings()
        return embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Sets the language model's token embedding."""
        self._llm.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """Returns the language model's head."""
        head: nn.Module = self._llm.get_output_embeddings()
        return head

    def encode_frames(
        self, pixel_values: Tensor, num_visual_tokens: int | None = None, frames_per_clip: Sequence[int] | None = None
    ) -> VisualTokens:
        """Encodes frames into what the language model sees of them.

        Args:
            pixel_values: Shape `(F, 3, H, W)`, normalised. Another resolution than the vision tower's own is
                interpolated where tower and selector can.
            num_visual_tokens: Kept of each frame; by default the configuration's number, or all where the selector
                keeps all.
            frames_per_clip: Where the configuration shares a clip's budget: the frames of each clip, F in all. By
                default the frames are one clip.

        Returns:
            The tokens in the language model's width, and where they come from.

        Raises:
            ValueError: If the pixels or the budget are impossible.
        """
        features = encode_patches(self.vision_tower, pixel_values, self.config)
        return self.select(features, num_visual_tokens, frames_per_clip)

    def select(
        self, features: Tensor, num_visual_tokens: int | None = None, frames_per_clip: Sequence[int] | None = None
    ) -> VisualTokens:
        """Returns what the language model sees of patch features `(F, N, C)`; arguments as in `encode_frames`."""
        count, selector = features.shape[1], self.selector
        whole = count if self.config.selector_type == "none" else selector.num_kept
        num_kept = num_visual_tokens or whole
        selector.check(count, num_kept)
        features = features.to(next((weight.dtype for weight in selector.parameters()), features.dtype))
        frames = None
        if self.config.share_visual_tokens and isinstance(selector, GatedSelector):
            lengths = [len(features)] if frames_per_clip is None else list(frames_per_clip)
            clips = [selector.share(clip, num_kept) for clip in torch.split(features, lengths)]
            kept, positions = (torch.cat([clip[part] for clip in clips]) for part in (0, 1))
            starts = [sum(lengths[:number]) for number in range(len(lengths))]
            frames = torch.cat([clip[2] + start for clip, start in zip(clips, starts, strict=True)])
        else:
            kept, positions = selector(features, num_kept)
        return VisualTokens(self.projector(kept.to(_dtype(self.projector, kept))), positions, count, frames)

    def prepare(
        self, input_ids: Tensor, visual: VisualTokens, attention_mask: Tensor | None, position_ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Puts visual tokens into their places in the text.

        Args:
            input_ids: Shape `(B, L)`, with one placeholder for each visual token.
            visual: All frames of the batch, in reading order.
            attention_mask: Shape `(B, L)` or `(B, 1, L, L)`.
            position_ids: Shape `(B, L)`, counted over the tokens that are there; by default over what is not padding.

        Returns:
            Embeddings `(B, L, D)`; positions `(B, L)` with what `position_ids="grid"` adds; and, where a clip's budget
            moved tokens, the order `(B, L)` that they are in now.

        Raises:
            ValueError: If placeholders and visual tokens differ in number, or the positions exceed the context.
        """
        image, order = self.config.image_token_id, None
        frames, kept = visual.embeddings.shape[:2]
        if not torch.compiler.is_compiling():
            self._check_places(input_ids, frames, kept)
        if visual.frames is not None:
            order = spread_places(input_ids, image, visual)
            input_ids = input_ids.gather(1, order)
        places = input_ids == image
        embeddings: Tensor = self.get_input_embeddings()(input_ids.masked_fill(places, 0))
        fresh = visual.embeddings.to(embeddings.device, embeddings.dtype)
        embeddings = embeddings.masked_scatter(places.unsqueeze(-1), fresh)
        if position_ids is None and attention_mask is not None and attention_mask.ndim == 2:
            position_ids = _count_positions(attention_mask)
        if self.config.position_ids == "grid":
            if position_ids is None:
                position_ids = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
            position_ids = position_ids + grid_offsets(input_ids, image, visual)
        if not torch.compiler.is_compiling():
            self._check_context(input_ids, position_ids, visual)
        return embeddings, position_ids, order

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        num_visual_tokens: int | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Runs the model.

        Args:
            input_ids: Shape `(B, L)`; or give `inputs_embeds`.
            pixel_values: Shape `(F, 3, H, W)`: all frames of the batch in reading order; only with the whole prompt.
            attention_mask: Shape `(B, L)`; padding may be on either side. Or `(B, 1, L, L)`, who attends to whom.
            position_ids: Shape `(B, L)`; by default counted over what is not padding.
            past_key_values: Cache of the tokens before.
            inputs_embeds: Shape `(B, L, D)`, as `prepare` returns it.
            labels: Shape `(B, L)`, -100 where the loss does not look.
            num_visual_tokens: Kept of each frame, instead of the configuration's number; the placeholders must be as
                many (`ElysiumProcessor` takes the same argument).
            **kwargs: Passed on to the language model (`use_cache`, `logits_to_keep`, `num_items_in_batch`, …).

        Returns:
            Loss, logits `(B, L, V)` and cache.

        Raises:
            ValueError: If frames and places do not fit, or the context is exceeded.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        if inputs_embeds is None and input_ids is not None:
            if pixel_values is not None:
                lengths = None
                if self.config.share_visual_tokens:
                    lengths = count_frames(
                        input_ids, self.config.image_token_id, num_visual_tokens or self.selector.num_kept
                    )
                visual = self.encode_frames(pixel_values, num_visual_tokens, lengths)
                inputs_embeds, position_ids, order = self.prepare(input_ids, visual, attention_mask, position_ids)
                if order is not None and labels is not None:
                    labels = labels.gather(1, order)
                if self.config.position_ids == "grid" and attention_mask is None:
                    # Without a mask, the library takes a jump in the positions for the start of another sample.
                    attention_mask = torch.ones_like(input_ids)
            else:
                if not torch.compiler.is_compiling() and _length(past_key_values) == 0:
                    self._check_places(input_ids, 0, num_visual_tokens or self.config.tokens_per_frame)
                places = input_ids == self.config.image_token_id
                inputs_embeds = self.get_input_embeddings()(input_ids.masked_fill(places, 0))
        if (
            position_ids is None
            and attention_mask is not None
            and attention_mask.ndim == 2
            and _length(past_key_values) == 0
        ):
            position_ids = _count_positions(attention_mask)
        if inputs_embeds is not None and attention_mask is not None and attention_mask.dtype == torch.bool:
            attention_mask = self._as_attention_takes_it(attention_mask, inputs_embeds.dtype)
        outputs: CausalLMOutputWithPast = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            labels=labels,
            **kwargs,
        )
        return outputs

    def _as_attention_takes_it(self, may_attend: Tensor, dtype: torch.dtype) -> Tensor:
        """Returns a mask of who attends to whom as what is added to the scores, for attention that adds masks."""
        if may_attend.ndim != 4 or self.config.text_config._attn_implementation != "eager":
            return may_attend
        lowest = torch.finfo(dtype).min
        return torch.zeros_like(may_attend, dtype=dtype).masked_fill(~may_attend, lowest)

    @torch.no_grad()
    def generate(self, inputs: Tensor | None = None, **kwargs: Any) -> Any:
        """Generates answers: all of transformers' options, with `pixel_values` and `num_visual_tokens` beside the ids.

        The placeholder of visual tokens is never written.
        """
        image, pixel_values = self.config.image_token_id, kwargs.get("pixel_values")
        if pixel_values is not None and self.config.position_ids == "grid":
            # The library forgets the frames after the prompt; the positions that follow must not.
            patch = int(self.config.vision_config.patch_size)
            kwargs["num_patches"] = (pixel_values.shape[-2] // patch) * (pixel_values.shape[-1] // patch)
        if image < self.config.text_config.vocab_size:
            given = kwargs.pop("logits_processor", None) or []
            suppress = SuppressTokensLogitsProcessor([image], device=str(self.device))
            kwargs["logits_processor"] = LogitsProcessorList([*given, suppress])
        return super().generate(inputs, **kwargs)

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None = None,
        is_first_iteration: bool = False,
        num_visual_tokens: int | None = None,
        num_patches: int | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Returns the inputs of one generation step; frames go in with the prompt only."""
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(
            input_ids, is_first_iteration=is_first_iteration, **kwargs
        )
        if is_first_iteration or not kwargs.get("use_cache", True):
            inputs.update(pixel_values=pixel_values, num_visual_tokens=num_visual_tokens)
        elif num_patches is not None:
            # The prompt's frames took up more positions than tokens, and what comes now goes on from there.
            kept = num_visual_tokens or self.config.tokens_per_frame
            frames = (input_ids == self.config.image_token_id).sum(-1, keepdim=True) // kept
            packed = inputs.get("position_ids")
            if packed is None:
                packed = _count_positions(kwargs["attention_mask"])[:, -inputs["input_ids"].shape[1] :]
            inputs["position_ids"] = packed + frames * (num_patches - kept)
        return inputs

    def _expand_inputs_for_generation(
        self, expand_size: int = 1, is_encoder_decoder: bool = False, input_ids: Tensor | None = None, **kwargs: Any
    ) -> tuple[Tensor, dict[str, Any]]:
        """Repeats each sample, its frames as a whole: the library would repeat every frame by itself."""
        pixel_values = kwargs.pop("pixel_values", None)
        if pixel_values is not None and expand_size > 1 and input_ids is not None:
            kept = kwargs.get("num_visual_tokens") or self.config.tokens_per_frame
            clips = pixel_values.split(count_frames(input_ids, self.config.image_token_id, kept))
            pixel_values = torch.cat([clip for clip in clips for _ in range(expand_size)])
        ids, expanded = super()._expand_inputs_for_generation(expand_size, is_encoder_decoder, input_ids, **kwargs)
        if pixel_values is not None:
            expanded["pixel_values"] = pixel_values
        return ids, expanded

    def _check_places(self, input_ids: Tensor, frames: int, kept: int) -> None:
        places = int((input_ids == self.config.image_token_id).sum())
        if places != frames * kept:
            raise ValueError(
                f"the text has {places} places for visual tokens, the frames give {frames * kept} ({frames} frames, "
                f"{kept} tokens each): give processor and model the same frames and the same num_visual_tokens"
            )

    def _check_context(self, input_ids: Tensor, position_ids: Tensor | None, visual: VisualTokens) -> None:
        limit = self.config.max_positions
        used = input_ids.shape[1] if position_ids is None else int(position_ids.max()) + 1
        if used <= limit:
            return
        frames = max(count_frames(input_ids, self.config.image_token_id, visual.embeddings.shape[1]))
        each = visual.num_patches if self.config.position_ids == "grid" else visual.embeddings.shape[1]
        text = max(used - frames * each, 0)
        raise ValueError(
            f"{frames} frames of {each} positions each and {text} of text make {used}, but the language model takes "
            f"{limit}: about {max(limit - text, 0) // each} frames fit; show fewer frames or keep fewer tokens of each"
        )

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MixedSelector):
            nn.init.zeros_(module.trans_weight)
            module.trans_bias.copy_(module.comb())
        elif isinstance(module, CrossAttentionSelector):
            nn.init.normal_(module.queries, std=0.02)


def _count_positions(attention_mask: Tensor) -> Tensor:
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)


def _length(cache: Any) -> int:
    return 0 if cache is None else int(cache.get_seq_length())


def _dtype(module: nn.Module, otherwise: Tensor) -> torch.dtype:
    return next((value.dtype for value in module.parameters() if value.is_floating_point()), otherwise.dtype)
