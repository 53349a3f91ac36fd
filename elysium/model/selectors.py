"""The T-Selector's alternatives: the release's gate, and the partners of the paper's ablation (PROTOCOL §3, Table 7).

Axes as in `t_selector`: B frames, N patch tokens of a frame, K tokens kept, C width of the visual encoder.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from elysium.model.configuration import ElysiumConfig
from elysium.model.t_selector import GatedSelector, Selector, take


class NoSelector(Selector):
    """Keeps every token."""

    def check(self, num_tokens: int, num_kept: int) -> None:
        """Checks that all tokens are asked for.

        Raises:
            ValueError: If not.
        """
        if num_kept != num_tokens:
            raise ValueError(
                f"the selector 'none' keeps all {num_tokens} tokens of a frame, got num_visual_tokens={num_kept}"
            )

    def forward(self, tokens_bnc: Tensor, num_kept: int) -> tuple[Tensor, Tensor]:
        """Returns all tokens."""
        return tokens_bnc, _everywhere(tokens_bnc, torch.arange(tokens_bnc.shape[1], device=tokens_bnc.device))


class StridedSelector(Selector):
    """Keeps tokens at an even stride, whatever they show."""

    def forward(self, tokens_bnc: Tensor, num_kept: int) -> tuple[Tensor, Tensor]:
        """Returns the tokens at `strided_positions`."""
        positions = strided_positions(tokens_bnc.shape[1], num_kept).to(tokens_bnc.device)
        return tokens_bnc[:, positions], _everywhere(tokens_bnc, positions)


class MixedSelector(Selector):
    """The release's: a projection to one value a token, mixed over positions (PROTOCOL §3). It has no gradient.

    Parameter names are the release's, `score_proj` included, which nothing uses.
    """

    any_resolution = False

    def __init__(self, num_tokens: int, num_kept: int, width: int) -> None:
        super().__init__(num_tokens, num_kept, width)
        self.pre_proj = nn.Linear(width, 1)
        self.score_proj = nn.Linear(num_tokens, num_kept)
        self.trans_weight = nn.Parameter(torch.zeros(num_tokens, num_tokens))
        self.trans_bias = nn.Parameter(self.comb())

    def comb(self) -> Tensor:
        """Returns the bias `(N,)` that a new gate starts with."""
        bias = torch.zeros(self.num_tokens)
        bias[strided_positions(self.num_tokens, self.num_kept)] = 0.02
        return bias

    def forward(self, tokens_bnc: Tensor, num_kept: int) -> tuple[Tensor, Tensor]:
        """Returns the K tokens with the highest mixed scores, in order of position."""
        logits = self.pre_proj(tokens_bnc).squeeze(-1) @ self.trans_weight + self.trans_bias
        positions = logits.softmax(-1).argsort(dim=-1, descending=True)[:, :num_kept].sort(dim=-1).values
        return take(tokens_bnc, positions), positions


class ConcatSelector(Selector):
    """Makes K tokens by joining neighbours in raster order along the channels and projecting them back to C."""

    any_budget = False
    any_resolution = False

    def __init__(self, num_tokens: int, num_kept: int, width: int) -> None:
        super().__init__(num_tokens, num_kept, width)
        self.group = math.ceil(num_tokens / num_kept)
        self.merge = nn.Linear(self.group * width, width)

    def forward(self, tokens_bnc: Tensor, num_kept: int) -> tuple[Tensor, Tensor]:
        """Returns the joined tokens; a last group that is not full is filled up with zeros."""
        batch, count, width = tokens_bnc.shape
        padded = nn.functional.pad(tokens_bnc, (0, 0, 0, self.group * num_kept - count))
        merged = self.merge(padded.reshape(batch, num_kept, self.group * width))
        first = (torch.arange(num_kept, device=tokens_bnc.device) * self.group).clamp(max=count - 1)
        return merged, _everywhere(tokens_bnc, first)


class CrossAttentionSelector(Selector):
    """Makes K tokens by letting K learned queries attend to the frame."""

    any_budget = False

    def __init__(self, num_tokens: int, num_kept: int, width: int) -> None:
        super().__init__(num_tokens, num_kept, width)
        heads = next(heads for heads in (8, 4, 2, 1) if width % heads == 0)
        self.queries = nn.Parameter(torch.randn(num_kept, width) * 0.02)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, tokens_bnc: Tensor, num_kept: int) -> tuple[Tensor, Tensor]:
        """Returns what the queries gathered; positions are the strided ones, for want of better."""
        queries = self.queries.expand(tokens_bnc.shape[0], -1, -1)
        gathered, _ = self.attention(queries, tokens_bnc, tokens_bnc, need_weights=False)
        positions = strided_positions(tokens_bnc.shape[1], num_kept).to(tokens_bnc.device)
        return gathered, _everywhere(tokens_bnc, positions)


_CLASSES: dict[str, type[Selector]] = {
    "gated": GatedSelector,
    "mixed": MixedSelector,
    "strided": StridedSelector,
    "concat": ConcatSelector,
    "cross_attention": CrossAttentionSelector,
    "none": NoSelector,
}


def build_selector(config: ElysiumConfig) -> Selector:
    """Returns the selector that a configuration names."""
    return _CLASSES[config.selector_type](config.num_patches, config.tokens_per_frame, config.vision_config.hidden_size)


def strided_positions(num_tokens: int, num_kept: int) -> Tensor:
    """Returns the release's comb: K positions at the stride `N // K`, from 0 on.

    Example:
        >>> strided_positions(576, 108)[[0, 1, -1]].tolist()
        [0, 5, 535]
    """
    return torch.arange(num_kept) * (num_tokens // num_kept)


def _everywhere(tokens_bnc: Tensor, positions: Tensor) -> Tensor:
    return positions.expand(tokens_bnc.shape[0], -1)
