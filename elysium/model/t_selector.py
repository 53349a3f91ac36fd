"""The T-Selector: a gate scores a frame's tokens, the best are kept in their order (paper, Figure 3 and §3.2).

Axes: B frames, N patch tokens of a frame, K tokens kept, C width of the visual encoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Selector(nn.Module):
    """Keeps K of a frame's N tokens, or makes K new ones: what the T-Selector and its alternatives have in common.

    Args:
        num_tokens: N at the tower's own resolution.
        num_kept: K unless a call says otherwise.
        width: C.
    """

    #: Whether another K than `num_kept`, and another N than `num_tokens`, may be asked for.
    any_budget = True
    any_resolution = True

    def __init__(self, num_tokens: int, num_kept: int, width: int) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.num_kept = num_kept
        self.width = width

    def check(self, num_tokens: int, num_kept: int) -> None:
        """Checks that K of N tokens can be asked for.

        Raises:
            ValueError: If not.
        """
        name = type(self).__name__
        if not 1 <= num_kept <= num_tokens:
            raise ValueError(
                f"num_visual_tokens must lie between 1 and the {num_tokens} patches of a frame, got {num_kept}"
            )
        if num_kept != self.num_kept and not self.any_budget:
            raise ValueError(
                f"num_visual_tokens={num_kept}: {name} was made for {self.num_kept} tokens a frame and gives no other "
                "number; gated, mixed and strided do"
            )
        if num_tokens != self.num_tokens and not self.any_resolution:
            raise ValueError(
                f"frames of {num_tokens} patches: {name} was made for {self.num_tokens} and takes no other number; use "
                "the tower's own resolution, or one of gated, strided and none"
            )

    def forward(self, tokens_bnc: Tensor, num_kept: int) -> tuple[Tensor, Tensor]:
        """Returns the kept tokens `(B, K, C)` and the positions `(B, K)` they come from, ascending."""
        raise TypeError(f"{type(self).__name__} is not a selector by itself; build one with build_selector")


class GatedSelector(Selector):
    """The paper's: an MLP scores each token, a softmax over the frame compares them, the K best are kept in order.

    Top-k passes no gradient to the scores, so the release's gate never learns (PROTOCOL §3). Here a kept token x is
    `x + (p - stop(p)) * (x - m)`: p is the softmax of its score, m the mean of all tokens. The value is exactly x, and
    the gradient of p is what the loss would gain if x gave way to a token that says nothing (straight-through). p is
    not scaled to a mean of one: times N, the gate's gradients through the tower outweigh all others, and clipping the
    norm of all gradients leaves those others little (`benchmarks/gate.py`).
    Scaling x instead, `x * (1 + p - stop(p))`, tells next to nothing: language models normalise what they read, and a
    token of half the length is the same token to them. Training keeps the K best as inference does: noise on the scores
    (Gumbel top-k; Kool et al., 2019) brought nothing. `benchmarks/estimators.py` compares this estimator with others.
    """

    def __init__(self, num_tokens: int, num_kept: int, width: int) -> None:
        super().__init__(num_tokens, num_kept, width)
        self.gate = nn.Sequential(nn.Linear(width, width // 2), nn.GELU(), nn.Linear(width // 2, 1))

    def forward(self, tokens_bnc: Tensor, num_kept: int) -> tuple[Tensor, Tensor]:
        """Returns the K tokens with the highest scores, in order of position."""
        return self._keep(tokens_bnc, self.score(tokens_bnc), num_kept)

    def score(self, tokens_bnc: Tensor) -> Tensor:
        """Returns the gate's score of each token, `(B, N)`; tokens of all frames are scored by the same measure."""
        scores: Tensor = self.gate(tokens_bnc).squeeze(-1)
        return scores

    def share(self, tokens_bnc: Tensor, num_kept: int) -> tuple[Tensor, Tensor, Tensor]:
        """Spends the budget of a whole clip where the clip needs it; every frame keeps its best token at least.

        Args:
            tokens_bnc: Of the clip's B frames.
            num_kept: K; B x K tokens are kept in all.

        Returns:
            The kept tokens `(B, K, C)` in reading order, their positions `(B, K)` and their frames `(B, K)`.
        """
        frames, count, width = tokens_bnc.shape
        scores = self.score(tokens_bnc)
        best = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, scores.argmax(-1, keepdim=True), True)
        kept, places = self._keep(
            tokens_bnc.reshape(1, frames * count, width), scores.reshape(1, -1), frames * num_kept, best.reshape(1, -1)
        )
        places = places.reshape(frames, num_kept)
        return kept.reshape(frames, num_kept, width), places % count, places // count

    def _keep(
        self, tokens_bnc: Tensor, scores: Tensor, num_kept: int, always: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        ranking = scores.detach().float()
        if always is not None:
            ranking = ranking.masked_fill(always, torch.inf)
        positions = ranking.topk(num_kept, dim=-1).indices.sort(dim=-1).values
        kept = take(tokens_bnc, positions)
        if torch.is_grad_enabled():
            share = torch.gather(scores.float().softmax(-1), 1, positions).unsqueeze(-1)
            gain = (kept - tokens_bnc.mean(1, keepdim=True)).detach()
            kept = kept + (share - share.detach()).to(kept.dtype) * gain
        return kept, positions


def take(tokens_bnc: Tensor, positions: Tensor) -> Tensor:
    """Returns the tokens `(B, K, C)` at positions `(B, K)`."""
    return torch.gather(tokens_bnc, 1, positions.unsqueeze(-1).expand(-1, -1, tokens_bnc.shape[-1]))
