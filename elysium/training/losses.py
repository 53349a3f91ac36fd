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


class AnswerLoss:
    """Cross-entropy of answers, in which a coordinate's target may be a bell around it instead of one token.

    Plain cross-entropy calls 41 for 42 as wrong as 99, so a new model has to learn a hundred unrelated words before it
    can point. The bell's own entropy is taken off: the loss is 0 for an answer that could not be better, and where no
    coordinate is asked for it is plain cross-entropy. Where the label is `ANYWHERE`, all coordinates are the target,
    each as much as any other.

    Args:
        processor: Of the model; with smoothing its tokenizer must write each coordinate as one token.
        smoothing: Standard deviation of the bell, in steps of the box text; 0 is plain cross-entropy.

    Raises:
        UsageError: If the tokenizer splits coordinates that are to be smoothed.
    """

    def __init__(self, processor: ElysiumProcessor, smoothing: float) -> None:
        self._numbers: tuple[Tensor, Tensor, Tensor] | None = None
        if smoothing:
            tokens = torch.tensor(coordinate_tokens(processor, f"coordinate_smoothing={smoothing}"))
            steps = torch.arange(len(tokens), dtype=torch.float32)
            bells = torch.softmax(-((steps[:, None] - steps) ** 2) / (2 * smoothing**2), dim=1)
            self._numbers = tokens, bells, -(bells * bells.clamp(min=1e-12).log()).sum(1)

    def __call__(self, logits: Tensor, labels: Tensor, count: Tensor | int | None = None) -> Tensor:
        """Returns the loss.

        Args:
            logits: Shape `(B, L, V)`.
            labels: Shape `(B, L)`, -100 where the loss does not look, `ANYWHERE` where no coordinate is right.
            count: What the sum is divided by; by default the number of labels looked at.
        """
        each = self.of_labels(logits, labels)
        total: Tensor = each.sum() / (len(each) if count is None else count)
        return total

    def of_labels(self, logits: Tensor, labels: Tensor, exact: Tensor | None = None) -> Tensor:
        """Returns the loss of each label that is looked at, in the order of the rows.

        Args:
            logits: As of a call.
            labels: As of a call.
            exact: Labels of free answers, shape `(B, L)`, bool: their numbers are counts and not coordinates, so that
                two is as far from three as from nine.
        """
        wanted = labels[:, 1:] != IGNORED
        targets = labels[:, 1:][wanted]
        shares = logits[:, :-1][wanted].float().log_softmax(-1)
        if self._numbers is None:
            return nn.functional.nll_loss(shares, targets, reduction="none")
        tokens, bells, entropies = (value.to(targets.device) for value in self._numbers)
        places = torch.full((shares.shape[1],), -1, device=targets.device)
        places[tokens] = torch.arange(len(tokens), device=targets.device)
        anywhere = targets == ANYWHERE
        number = torch.where(anywhere, -1, places[targets.clamp(min=0)])
        is_number = number >= 0
        if exact is not None:
            is_number &= ~exact[:, 1:][wanted]
        is_word = ~is_number & ~anywhere
        told = number[is_number]
        each = torch.zeros_like(shares[:, 0])
        each[is_word] = nn.functional.nll_loss(shares[is_word], targets[is_word], reduction="none")
        each[is_number] = -(bells[told] * shares[is_number][:, tokens]).sum(1) - entropies[told]
        each[anywhere] = -shares[anywhere][:, tokens].mean(1) - math.log(len(tokens))
        return each
