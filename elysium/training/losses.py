"""A loss that knows coordinates are numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from elysium.errors import UsageError
from elysium.model import ElysiumProcessor
from elysium.model.processor import IGNORED

# Stands for a coordinate's token in labels where the object is gone and no coordinate is right.
ANYWHERE = -101


def coordinate_tokens(processor: ElysiumProcessor, setting: str) -> list[int]:
    """Returns the token of each number of box text.

    Args:
        processor: Of the model.
        setting: That needs them, for the error.

    Raises:
        UsageError: If the tokenizer splits coordinates.
    """
    numbers = range(processor.coordinate_maximum + 1)
    pieces: list[list[int]] = [
        processor.tokenizer(str(number), add_special_tokens=False)["input_ids"] for number in numbers
    ]
    if any(len(piece) != 1 for piece in pieces):
        raise UsageError(
            f"{setting} needs a tokenizer that writes each coordinate as one token, and this model's splits some; set "
            "it to 0"
        )
    return [piece[0] for piece in pieces]


class CoordinateSmoothing:
    """Cross-entropy in which a coordinate's target is a bell around it instead of one token.

    Plain cross-entropy calls 41 for 42 as wrong as 99, so a new model has to learn a hundred unrelated words before it
    can point. The bell's own entropy is taken off: the loss is 0 for an answer that could not be better, and where no
    coordinate is asked for it is plain cross-entropy. Where the label is `ANYWHERE`, all coordinates are the target,
    each as much as any other.

    Args:
        processor: Of the model; its tokenizer must write each coordinate as one token.
        deviation: Standard deviation of the bell, in steps of the box text, above 0.

    Raises:
        UsageError: If the tokenizer splits coordinates.
    """

    def __init__(self, processor: ElysiumProcessor, deviation: float) -> None:
        self._tokens = torch.tensor(coordinate_tokens(processor, f"coordinate_smoothing={deviation}"))
        steps = torch.arange(len(self._tokens), dtype=torch.float32)
        bells = torch.softmax(-((steps[:, None] - steps) ** 2) / (2 * deviation**2), dim=1)
        self._bells = bells
        self._entropies = -(bells * bells.clamp(min=1e-12).log()).sum(1)

    def __call__(self, logits: Tensor, labels: Tensor, count: Tensor | int | None = None) -> Tensor:
        """Returns the loss.

        Args:
            logits: Shape `(B, L, V)`.
            labels: Shape `(B, L)`, -100 where the loss does not look, `ANYWHERE` where no coordinate is right.
            count: What the sum is divided by; by default the number of labels looked at.
        """
        wanted = labels[:, 1:] != IGNORED
        targets = labels[:, 1:][wanted]
        shares = logits[:, :-1][wanted].float().log_softmax(-1)
        tokens, bells, entropies = (value.to(targets.device) for value in (self._tokens, self._bells, self._entropies))
        places = torch.full((shares.shape[1],), -1, device=targets.device)
        places[tokens] = torch.arange(len(tokens), device=targets.device)
        anywhere = targets == ANYWHERE
        number = torch.where(anywhere, -1, places[targets.clamp(min=0)])
        is_number = number >= 0
        is_word = ~is_number & ~anywhere
        plain = nn.functional.nll_loss(shares[is_word], targets[is_word], reduction="sum")
        told = number[is_number]
        smooth = -(bells[told] * shares[is_number][:, tokens]).sum() - entropies[told].sum()
        unsure = -(shares[anywhere][:, tokens].mean(1) + math.log(len(tokens))).sum()
        total: Tensor = (plain + smooth + unsure) / (len(targets) if count is None else count)
        return total
