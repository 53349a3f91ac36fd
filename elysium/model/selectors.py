"""Which of a frame's tokens the language model gets to see: the paper's T-Selector and its alternatives (paper §3.2).

Axes: B frames, N patch tokens of a frame, K tokens kept, C width of the vision tower.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from elysium.model.configuration import ElysiumConfig


class Selector(nn.Module):
    """Keeps K of a frame's N tokens, or makes K new ones.

    Args:
        num_tokens: N.
        num_kept: K.
        width: C.
    """

    def __init__(self, num_tokens: int, num_kept: int, width: int) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.num_kept = num_kept
        self.width = width

    def forward(self, tokens_bnc: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the kept tokens `(B, K, C)` and the positions `(B, K)` they come from, ascending."""
        raise TypeError(f"{type(self).__name__} is not a selector by itself; build one with build_selector")


class NoSelector(Selector):
    """Keeps every token."""

    def forward(self, tokens_bnc: Tensor) -> tuple[Tensor, Tensor]:
        """Returns all tokens."""
        return tokens_bnc, _everywhere(tokens_bnc, torch.arange(tokens_bnc.shape[1], device=tokens_bnc.device))


class StridedSelector(Selector):
    """Keeps tokens at an even stride, whatever they show."""

    def forward(self, tokens_bnc: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the tokens at `strided_positions`."""
        positions = strided_positions(tokens_bnc.shape[1], self.num_kept).to(tokens_bnc.device)
        return tokens_bnc[:, positions], _everywhere(tokens_bnc, positions)


class GatedSelector(Selector):
    """The paper's: an MLP scores each token, a softmax over the frame compares them, the K best are kept in order.

    Top-k passes no gradient to the scores, so the release's gate never learns (PROTOCOL §3). Here each kept token is
    multiplied by `1 + (p - stop(p))`, p being the softmax of its score times N: the value is exactly the token's, and
    the gradient of p says whether the loss wants more or less of it (straight-through). In training, Gumbel noise on
    the scores lets tokens that are not yet among the best be tried (Gumbel top-k: a sample without replacement from
    the softmax; Kool et al., 2019).
    """

    def __init__(self, num_tokens: int, num_kept: int, width: int) -> None:
        super().__init__(num_tokens, num_kept, width)
        self.gate = nn.Sequential(nn.Linear(width, width // 2), nn.GELU(), nn.Linear(width // 2, 1))

    def forward(self, tokens_bnc: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the K tokens with the highest scores, in order of position."""
        scores = self.gate(tokens_bnc).squeeze(-1)
        ranking = scores.detach()
        if self.training:
            ranking = ranking - torch.log(-torch.log(torch.rand_like(ranking).clamp(1e-9, 1 - 1e-7)))
        positions = _top(ranking, self.num_kept)
        kept = _take(tokens_bnc, positions)
        if torch.is_grad_enabled():
            share = torch.gather(scores.float().softmax(-1) * scores.shape[1], 1, positions).unsqueeze(-1)
            kept = kept * (1 + (share - share.detach())).to(kept.dtype)
        return kept, positions


class MixedSelector(Selector):
    """The release's: a projection to one value a token, mixed over positions (PROTOCOL §3). It has no gradient.

    Parameter names are the release's, `score_proj` included, which nothing uses.
    """

    def __init__(self, num_tokens: int, num_kept: int, width: int) -> None:
        super().__init__(num_tokens, num_kept, width)
        self.pre_proj = nn.Linear(width, 1)
        self.score_proj = nn.Linear(num_tokens, num_kept)
        self.trans_weight = nn.Parameter(torch.zeros(num_tokens, num_tokens))
        bias = torch.zeros(num_tokens)
        bias[strided_positions(num_tokens, num_kept)] = 0.02
        self.trans_bias = nn.Parameter(bias)

    def forward(self, tokens_bnc: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the K tokens with the highest mixed scores, in order of position."""
        logits = self.pre_proj(tokens_bnc).squeeze(-1) @ self.trans_weight + self.trans_bias
        positions = logits.softmax(-1).argsort(dim=-1, descending=True)[:, : self.num_kept].sort(dim=-1).values
        return _take(tokens_bnc, positions), positions


class ConcatSelector(Selector):
    """Makes K tokens by joining neighbours in raster order along the channels and projecting them back to C."""

    def __init__(self, num_tokens: int, num_kept: int, width: int) -> None:
        super().__init__(num_tokens, num_kept, width)
        self.group = math.ceil(num_tokens / num_kept)
        self.merge = nn.Linear(self.group * width, width)

    def forward(self, tokens_bnc: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the joined tokens; a last group that is not full is filled up with zeros."""
        batch, count, width = tokens_bnc.shape
        missing = self.group * self.num_kept - count
        padded = nn.functional.pad(tokens_bnc, (0, 0, 0, missing))
        merged = self.merge(padded.reshape(batch, self.num_kept, self.group * width))
        first = (torch.arange(self.num_kept, device=tokens_bnc.device) * self.group).clamp(max=count - 1)
        return merged, _everywhere(tokens_bnc, first)


class CrossAttentionSelector(Selector):
    """Makes K tokens by letting K learned queries attend to the frame."""

    def __init__(self, num_tokens: int, num_kept: int, width: int) -> None:
        super().__init__(num_tokens, num_kept, width)
        heads = next(heads for heads in (8, 4, 2, 1) if width % heads == 0)
        self.queries = nn.Parameter(torch.randn(num_kept, width) * 0.02)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, tokens_bnc: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what the queries gathered; positions are the strided ones, for want of better."""
        queries = self.queries.expand(tokens_bnc.shape[0], -1, -1)
        gathered, _ = self.attention(queries, tokens_bnc, tokens_bnc, need_weights=False)
        positions = strided_positions(tokens_bnc.shape[1], self.num_kept).to(tokens_bnc.device)
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


def _top(scores: Tensor, count: int) -> Tensor:
    return scores.topk(count, dim=-1).indices.sort(dim=-1).values


def _take(tokens_bnc: Tensor, positions: Tensor) -> Tensor:
    return torch.gather(tokens_bnc, 1, positions.unsqueeze(-1).expand(-1, -1, tokens_bnc.shape[-1]))


def _everywhere(tokens_bnc: Tensor, positions: Tensor) -> Tensor:
    return positions.expand(tokens_bnc.shape[0], -1)
