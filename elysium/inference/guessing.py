"""What a question has the model read in a pass: what is decided, and as much of a guess as is worth its time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from elysium.inference.drafts import guesses_above
from elysium.inference.grammar import AnswerState, BoxesState, Options

if TYPE_CHECKING:
    from elysium.inference.decoding import Ask

# What reading one more token costs beside a whole pass over one: a pass over few tokens waits for weights to arrive
# from memory, least so on a CPU. Measured on 2 cores with 2 and 100 million parameters; an estimate for accelerators.
_TOKEN_COST = {"cpu": 0.03}
_TOKEN_COST_ACCELERATOR = 0.004
# Tokens that a guessed choice has the model read, the fixed text behind it included.
_TOKENS_PER_GUESS = 2.5
# Of a guess with all before it, what a pass may ask for; above 1, nothing is guessed; at 0, all that is left, because
# what the model says behind wrong guesses is the next guess.
NO_GUESSES, WHOLE = 2.0, 0.0
_LEAST_CHANCES = (NO_GUESSES, 0.9, 0.75, 0.6, 0.45, 0.3, 0.2, 0.1, 0.05)
# With several clips or many questions, guesses must promise so much more than none, and no answer is guessed whole:
# rows of unlike lengths are padded, and what ends at different times leaves the batch less full.
_MARGIN, _FEW = 1.6, 8


@dataclass
class Feed:
    """What one question has the model read in a pass; choices hang at the tokens before them.

    Attributes:
        ask: The question.
        ids: What is read.
        choices: Places in `ids` where the model has a choice, and among what.
        guesses: What is read for the model's choice at each of these places but the last.
        whole: Whether all of the answer that is left was guessed.
        slots: Of the cache.
    """

    ask: Ask
    ids: list[int]
    choices: list[tuple[int, Options | None]]
    guesses: list[int]
    whole: bool = False
    slots: list[int] = field(default_factory=list)


def make_feed(ask: Ask, least: float) -> Feed:
    """Returns what a question has the model read next.

    Args:
        ask: Not over.
        least: How probable a guess must be, as of `least_chance`.
    """
    answer = ask.answer
    feed = Feed(ask, list(ask.pending), [(len(ask.pending) - 1, answer.options())], [])
    if ask.draft is None or not isinstance(answer, BoxesState):
        return feed
    feed.whole = least == WHOLE and ask.draft.rate > 0
    budget = _choices_left(answer) if feed.whole else ask.draft.budget(least)
    if not budget:
        return feed
    guess, ahead = ask.draft.tokens(answer), answer.copy()
    while len(feed.guesses) < budget:
        token = guess(ahead)
        if token is None:
            break
        ahead.push(token)
        fixed = ahead.write_fixed()
        if ahead.over:
            break
        feed.guesses.append(token)
        feed.ids += [token, *fixed]
        feed.choices.append((len(feed.ids) - 1, ahead.options()))
    return feed


def least_chance(rows: Sequence[Sequence[Ask]], device: str) -> float:
    """Returns how probable guesses must be in a pass, so that most choices are made in its time.

    A pass takes longer the more tokens it reads, and all its rows take as long as the longest one.

    Args:
        rows: The open questions of each clip.
        device: Kind of device.
    """
    token = _TOKEN_COST.get(device, _TOKEN_COST_ACCELERATOR)
    crowded = len(rows) > 1 or len(rows[0]) > _FEW
    best, best_least = 0.0, NO_GUESSES
    for least in _LEAST_CHANCES if crowded else (*_LEAST_CHANCES, WHOLE):
        promises = [[_promise(ask, least) for ask in row] for row in rows]
        longest = max(sum(tokens for tokens, _ in row) for row in promises)
        choices = sum(gain for row in promises for _, gain in row)
        speed = choices / (1 + token * len(rows) * longest)
        if speed > best:
            best, best_least = speed * (_MARGIN if least == NO_GUESSES and crowded else 1.0), least
    return best_least


def as_if_right(answer: BoxesState, tokens: Sequence[int]) -> list[int]:
    """Returns an answer's coordinates if it went on, as far as it can, with what was said behind a wrong guess."""
    ahead = answer.copy()
    for token in tokens:
        if ahead.over or token not in ahead.allowed():
            break
        ahead.push(token)
        ahead.write_fixed()
    return ahead.values


def _promise(ask: Ask, least: float) -> tuple[float, float]:
    """Returns how many tokens a question has read if guesses must be so probable, and how many choices that decides."""
    pending = len(ask.pending)
    if ask.draft is None or not ask.draft.rate or least == NO_GUESSES:
        return pending, 1
    if least == WHOLE:
        left = _choices_left(ask.answer)
        return pending + _TOKENS_PER_GUESS * left, min(ask.draft.stride, left + 1)
    rate = ask.draft.rate
    guesses = guesses_above(rate, least)
    right = rate * (1 - rate**guesses) / (1 - rate) if rate < 1 else guesses
    return pending + _TOKENS_PER_GUESS * guesses, 1 + right


def _choices_left(answer: AnswerState) -> int:
    """Returns about how many choices an answer needs after the next one."""
    if not isinstance(answer, BoxesState):
        return 0
    grammar = answer.grammar
    return max((4 * grammar.num_frames - len(answer.values)) * len(grammar.numbers[grammar.maximum]) - 1, 0)
