"""What decoding costs: passes and tokens, and the operations and bytes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from elysium.model.cost import CostModel
from elysium.model.roofline import Meter


@dataclass
class DecodingStats:
    """What decoding cost.

    Attributes:
        passes: Forward passes of the language model, prompts included.
        prompts: Passes that read prompts.
        chosen: Tokens that the model chose.
        fixed: Tokens that the grammar wrote without asking it.
        guessed: Choices that were guessed and that the model came to.
        agreed: Those of them that it made the same way.
        tokens: Tokens that the model read, guesses included.
    """

    passes: int = 0
    prompts: int = 0
    chosen: int = 0
    fixed: int = 0
    guessed: int = 0
    agreed: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Work:
    """Adds up what a run costs, in the model's own operations and bytes.

    Attributes:
        costs: Of the model.
        meter: Where it is added up.
    """

    costs: CostModel
    meter: Meter

    def add_frames(self, count: int) -> None:
        """Adds the encoding of frames."""
        self.meter.add("encode", self.costs.encode(count))

    def add_pass(self, first: bool, counts: Sequence[int], used: Sequence[int], logits: int, choices: int) -> None:
        """Adds a pass of the language model.

        Args:
            first: Whether it reads prompts.
            counts: Of each row, tokens that are read.
            used: Of each row, tokens in the cache behind the pass.
            logits: Places where the model chooses.
            choices: Rows of the head that are multiplied.
        """
        pairs = sum(count * length for count, length in zip(counts, used, strict=True))
        cost = self.costs.work(sum(counts), pairs, sum(used) - sum(counts), logits, choices)
        self.meter.add("prefill" if first else "decode", cost)
