"""What judging costs, and a limit that is kept before it is crossed."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

from elysium.errors import ElysiumError, UsageError
from elysium.evaluation.videoqa.prompt import Conversation

_MILLION = 1_000_000
# Per message and per conversation: the marks that a chat template puts around them.
_MARKS = 16


class PriceLimitReached(ElysiumError):
    """The next question could cost more than is allowed; what was answered is kept."""


@dataclass(frozen=True)
class Prices:
    """What a million tokens cost, in any one currency.

    Attributes:
        read: A million tokens of questions.
        written: A million tokens of answers.
    """

    read: float
    written: float

    @classmethod
    def parse(cls, text: str) -> Prices:
        """Returns the prices of `IN,OUT`.

        Raises:
            UsageError: If they are no prices.

        Example:
            >>> Prices.parse("0.5,1.5")
            Prices(read=0.5, written=1.5)
        """
        try:
            read, written = (float(part) for part in text.split(","))
        except ValueError:
            read = written = math.nan
        if not (0 <= read < math.inf and 0 <= written < math.inf):
            raise UsageError(f"{text!r}: prices are IN,OUT for a million tokens read and written, for example 0.5,1.5")
        return cls(read, written)

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Returns what so many tokens cost."""
        return (prompt_tokens * self.read + completion_tokens * self.written) / _MILLION


@dataclass(frozen=True)
class JudgeLimits:
    """What judging may cost.

    Attributes:
        prices: None where the judge costs nothing, or nobody knows.
        max_cost: Most that all answers of one result may cost, those of earlier runs included; None sets no limit.
    """

    prices: Prices | None = None
    max_cost: float | None = None

    def __post_init__(self) -> None:
        if self.max_cost is not None and self.prices is None:
            raise UsageError("a limit of the judge's cost (--judge-max-cost) needs its prices (--judge-price IN,OUT)")
        if self.max_cost is not None and not self.max_cost > 0:
            raise UsageError(f"the limit of the judge's cost (--judge-max-cost) is more than 0, got {self.max_cost}")


def most_tokens(conversation: Conversation) -> int:
    """Returns an upper bound of a conversation's tokens: no tokenizer makes more of a text than it has bytes."""
    return sum(len(text.encode()) + _MARKS for _, text in conversation) + _MARKS


class Spending:
    """Counts the cost of all threads; a question is asked only if the most that it can cost still fits.

    Args:
        limits: Prices and limit.
        spent: Cost so far.
    """

    def __init__(self, limits: JudgeLimits, spent: float = 0.0) -> None:
        self._limits = limits
        self._spent, self._reserved = spent, 0.0
        self._changed = threading.Condition()

    @property
    def spent(self) -> float:
        """Cost so far."""
        return self._spent

    def reserve(self, most: float, stop: threading.Event) -> None:
        """Sets aside what the next question can cost at most, once questions under way have left room for it.

        Raises:
            PriceLimitReached: If there is no room.
        """
        limit = self._limits.max_cost
        with self._changed:
            if limit is not None:
                while self._reserved > 0 and self._spent + self._reserved + most > limit and not stop.is_set():
                    self._changed.wait()
                if self._spent + self._reserved + most > limit:
                    raise PriceLimitReached(
                        f"the judge has cost {self._spent:.6g}, and the next question can cost up to {most:.6g}: more "
                        f"than the limit of {limit:g} (--judge-max-cost)"
                    )
            self._reserved += most

    def settle(self, most: float, cost: float) -> None:
        """Books what a question did cost in place of what was set aside."""
        with self._changed:
            self._reserved -= most
            if self._reserved < 1e-12:  # sums of fractions do not end at 0
                self._reserved = 0.0
            self._spent += cost
            self._changed.notify_all()
