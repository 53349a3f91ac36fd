"""Which tokens may come next in an answer that is mostly fixed text (DESIGN §5).

The grammar works on token ids, taken from how the tokenizer really splits a whole answer: the fixed text between
coordinates is whatever is the same for every coordinate, and a coordinate is what stands between.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Protocol

from transformers import PreTrainedTokenizerBase

from elysium.boxes import BoxCodec
from elysium.errors import UsageError
from elysium.prompts import boxes_answer


class AnswerState(Protocol):
    """An answer in the making."""

    @property
    def part(self) -> int:
        """Which of the answer's boxes is being written, from 0; 0 where there are none."""

    def allowed(self) -> list[int] | None:
        """Returns the ids that may come next; None for any; empty when the answer is over."""

    def push(self, token: int) -> None:
        """Takes the next id."""


class BoxesGrammar:
    """The answer that gives one box a frame, for one tokenizer and number of frames.

    Every answer it lets through reads back as boxes with `x1 <= x2` and `y1 <= y2`.

    Args:
        tokenizer: Of the model.
        codec: How boxes are written.
        num_frames: Boxes in the answer.

    Raises:
        UsageError: If the tokenizer joins coordinates with the text around them, so that no fixed text is left.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, codec: BoxCodec, num_frames: int) -> None:
        self.num_frames = num_frames
        self.scale = codec.scale
        self._codec = codec
        self.eos: int = tokenizer.eos_token_id

        def split(value: int) -> list[int]:
            text = boxes_answer([[value / codec.scale] * 4] * num_frames, codec)
            return list(tokenizer(text, add_special_tokens=False)["input_ids"])

        self.fixed = _fixed_text(split(11), split(22), 4 * num_frames)
        self.numbers = {value: self._number(split(value)) for value in range(codec.maximum + 1)}
        self.fixed[-1] = [*self.fixed[-1], self.eos]

    def start(self, given: Sequence[float] | None = None) -> BoxesState:
        """Returns an answer with nothing written yet.

        Args:
            given: The first frame's box, normalised, where it is known: the answer repeats it, the model is not asked.
        """
        if given is None:
            return BoxesState(self)
        return BoxesState(self, [int(number) for number in re.findall(r"\d+", self._codec.encode(given))])

    def _number(self, ids: list[int]) -> tuple[int, ...]:
        """Returns the ids of the number that a whole answer repeats in all its places."""
        start = len(self.fixed[0])
        length = (len(ids) - sum(map(len, self.fixed))) // (4 * self.num_frames)
        number = tuple(ids[start : start + length])
        rebuilt = list(self.fixed[0])
        for text in self.fixed[1:]:
            rebuilt += [*number, *text]
        if rebuilt != ids or not number:
            raise UsageError(
                "this tokenizer joins coordinates with the text around them; guided decoding cannot use it"
            )
        return number


class BoxesState:
    """One answer under a `BoxesGrammar`: fixed text and numbers in turn.

    Args:
        grammar: Of the answer.
        given: Coordinates that the answer begins with.

    Attributes:
        values: The coordinates written so far.
    """

    def __init__(self, grammar: BoxesGrammar, given: Sequence[int] = ()) -> None:
        self.values: list[int] = []
        self._given = tuple(given)
        self._grammar = grammar
        self._slot = 0
        self._fixed_at = 0
        self._prefix: tuple[int, ...] = ()
        self._in_number = False
        self._settle()

    @property
    def part(self) -> int:
        """Which of the boxes is being written, from 0."""
        return len(self.values) // 4

    def allowed(self) -> list[int] | None:
        """Returns the ids that may come next; a single one is fixed text."""
        texts = self._grammar.fixed
        if not self._in_number:
            return [texts[self._slot][self._fixed_at]] if self._slot < len(texts) else []
        length = len(self._prefix)
        following: dict[int, None] = {}
        for ids in map(self._grammar.numbers.__getitem__, self._candidates()):
            if len(ids) == length:
                following[texts[self._slot][0]] = None
            elif len(ids) > length:
                following[ids[length]] = None
        return list(following)

    def push(self, token: int) -> None:
        """Takes the next id, which must be an allowed one."""
        if token not in (self.allowed() or ()):
            raise ValueError(f"token {token} is not allowed here")
        if not self._in_number:
            self._fixed_at += 1
            self._settle()
            return
        whole = [value for value in self._candidates() if self._grammar.numbers[value] == self._prefix]
        if whole and token == self._grammar.fixed[self._slot][0]:
            self._end_number(whole[0], fixed_at=1)
            return
        self._prefix = (*self._prefix, token)
        candidates = self._candidates()
        if len(candidates) == 1 and self._grammar.numbers[candidates[0]] == self._prefix:
            self._end_number(candidates[0], fixed_at=0)

    def boxes(self) -> list[list[float]]:
        """Returns the boxes of a finished answer, normalised `(x1, y1, x2, y2)`."""
        scale = self._grammar.scale
        return [[value / scale for value in self.values[i : i + 4]] for i in range(0, len(self.values), 4)]

    def _candidates(self) -> list[int]:
        """Returns the numbers that fit what is written: of x2 and y2 none below x1 and y1."""
        if len(self.values) < len(self._given):
            value = self._given[len(self.values)]
            return [value] if self._grammar.numbers[value][: len(self._prefix)] == self._prefix else []
        place = len(self.values) % 4
        least = self.values[-2] if place >= 2 else 0
        known = self._grammar.numbers
        length = len(self._prefix)
        return [value for value, ids in known.items() if value >= least and ids[:length] == self._prefix]

    def _end_number(self, value: int, fixed_at: int) -> None:
        self.values.append(value)
        self._prefix, self._in_number, self._fixed_at = (), False, fixed_at
        self._settle()

    def _settle(self) -> None:
        """Moves on to the next number where a fixed text has been written to its end."""
        texts = self._grammar.fixed
        if self._slot < len(texts) and self._fixed_at == len(texts[self._slot]):
            self._slot, self._fixed_at = self._slot + 1, 0
            self._in_number = self._slot < len(texts)


class FreeState:
    """An answer in the model's own words, up to the end-of-sequence token or a number of tokens."""

    def __init__(self, eos: int, max_tokens: int) -> None:
        self.ids: list[int] = []
        self._eos = eos
        self._max_tokens = max_tokens
        self._over = False

    @property
    def part(self) -> int:
        """Always 0: there are no boxes."""
        return 0

    def allowed(self) -> list[int] | None:
        """Returns None while the answer goes on."""
        return [] if self._over else None

    def push(self, token: int) -> None:
        """Takes the next id."""
        if token != self._eos:
            self.ids.append(token)
        self._over = token == self._eos or len(self.ids) >= self._max_tokens


class GrammarCache:
    """The grammars of one tokenizer, each made once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, codec: BoxCodec) -> None:
        self._make = functools.cache(lambda num_frames: BoxesGrammar(tokenizer, codec, num_frames))

    def boxes(self, num_frames: int) -> BoxesGrammar:
        """Returns the grammar of an answer with so many boxes."""
        return self._make(num_frames)


def _fixed_text(first: Sequence[int], second: Sequence[int], num_slots: int) -> list[list[int]]:
    """Returns the `num_slots + 1` runs of ids that two answers with other numbers in all places have in common."""
    runs: list[list[int]] = [[]]
    inside = False
    for a, b in zip(first, second, strict=False):
        if a == b:
            if inside:
                runs.append([])
            runs[-1].append(a)
        inside = a != b
    if len(first) != len(second) or len(runs) != num_slots + 1 or inside:
        raise UsageError("this tokenizer joins coordinates with the text around them; guided decoding cannot use it")
    return runs
