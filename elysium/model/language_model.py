"""The language model: any causal language model, reading text and visual tokens in one row (paper, Figure 3).

Where in that row a visual token stands, and at which position, is decided here. Axes: B rows of the batch, L tokens of
a row, F frames of the batch in reading order, K visual tokens a frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from elysium.model.configuration import ElysiumConfig


def build_language_model(config: ElysiumConfig) -> nn.Module:
    """Returns the language model that a configuration names, with new weights."""
    model: nn.Module = AutoModelForCausalLM.from_config(config.text_config)
    return model


@dataclass(frozen=True)
class VisualTokens:
    """What the language model sees of frames.

    Attributes:
        embeddings: Shape `(F, K, D)`, in the language model's width.
        positions: Shape `(F, K)`: the patch that each token comes from, row by row of the grid.
        num_patches: Patches of a frame.
        frames: Shape `(F, K)`: the frame that each token comes from, where a clip shares its budget; None where each
            frame has its own K tokens. Ascending over a clip.
    """

    embeddings: Tensor
    positions: Tensor
    num_patches: int
    frames: Tensor | None = None

    def __len__(self) -> int:
        return len(self.embeddings)

    def __getitem__(self, frames: list[int] | slice) -> VisualTokens:
        """Returns the tokens of some frames.

        Raises:
            ValueError: If the frames share a budget: they can only be taken together.
        """
        if self.frames is not None:
            raise ValueError("frames that share a token budget cannot be taken apart; encode the clip you need")
        return VisualTokens(self.embeddings[frames], self.positions[frames], self.num_patches)

    @staticmethod
    def join(parts: list[VisualTokens]) -> VisualTokens:
        """Returns the tokens of several clips as those of one batch."""
        shared, start = [], 0
        for part in parts:
            if part.frames is not None:
                shared.append(part.frames + start)
            start += len(part.embeddings)
        return VisualTokens(
            torch.cat([part.embeddings for part in parts]),
            torch.cat([part.positions for part in parts]),
            parts[0].num_patches,
            torch.cat(shared) if shared else None,
        )


def count_frames(input_ids: Tensor, image_token_id: int, tokens_per_frame: int) -> list[int]:
    """Returns how many frames each row has places for.

    Raises:
        ValueError: If a row's places are no multiple of `tokens_per_frame`.
    """
    places = (input_ids == image_token_id).sum(-1).tolist()
    for row, count in enumerate(places):
        if count % tokens_per_frame:
            raise ValueError(
                f"row {row} has {count} places for visual tokens, no multiple of {tokens_per_frame} a frame; give "
                "model and processor the same num_visual_tokens"
            )
    return [count // tokens_per_frame for count in places]


def spread_places(input_ids: Tensor, image_token_id: int, visual: VisualTokens) -> Tensor:
    """Returns the order `(B, L)` of a row's tokens in which every frame has as many places as it has tokens.

    A clip that shares its budget has as many places as before, but not K after each frame's name. Text after the last
    frame stays where it is.

    Args:
        input_ids: Shape `(B, L)`, with K places a frame.
        image_token_id: Of a place.
        visual: Of the batch; `frames` is given.
    """
    if visual.frames is None:
        raise ValueError("there is nothing to spread: these frames have a budget each")
    places = input_ids == image_token_id
    before = places.cumsum(-1)
    kept = visual.embeddings.shape[1]
    owners, starts = _slots(places, visual.frames)
    # Text counts the frames before it; a place goes behind its frame's name. The sort is stable.
    text = 2 * (before // kept)
    keys = torch.where(places, 2 * (owners - starts) + 1, text)
    return keys.argsort(dim=-1, stable=True)


def grid_offsets(input_ids: Tensor, image_token_id: int, visual: VisualTokens) -> Tensor:
    """Returns what to add to packed positions `(B, L)` so that every patch keeps its position in the whole frame.

    A frame takes up N positions however few of its tokens are kept.
    """
    places = input_ids == image_token_id
    before = places.cumsum(-1)
    frames = visual.frames
    if frames is None:
        frames = torch.arange(len(visual.positions), device=visual.positions.device).unsqueeze(1)
        frames = frames.expand_as(visual.positions)
    owners, starts = _slots(places, frames)
    slots = _slot_numbers(places)
    patches = visual.positions.flatten().to(input_ids.device)[slots]
    local = owners - starts
    at_place = local * visual.num_patches + patches - (before - 1)
    after = (local + 1) * visual.num_patches - before
    return torch.where(places, at_place, torch.where(before > 0, after, torch.zeros_like(before)))


def _slot_numbers(places: Tensor) -> Tensor:
    """Returns for each token the number, over the batch, of the place it is or of the last one before it."""
    counts = places.sum(-1, keepdim=True)
    earlier = counts.cumsum(0) - counts
    return (earlier + places.cumsum(-1) - 1).clamp(min=0)


def _slots(places: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the frame of each token's place, or of the last place before it, and the first frame of its row."""
    flat = frames.flatten().to(places.device)
    counts = places.sum(-1, keepdim=True)
    first = (counts.cumsum(0) - counts).clamp(max=max(len(flat) - 1, 0))
    return flat[_slot_numbers(places)], flat[first]
