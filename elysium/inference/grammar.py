"""Which tokens may come next in an answer that is mostly fixed text (DESIGN §5).

The grammar works on token ids, taken from how the tokenizer really splits a whole answer: the fixed text between
coordinates is whatever is the same for every coordinate, and a coordinate is what stands between.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from elysium.boxes import BoxCodec
from elysium.errors import UsageError
from elysium.prompts import boxes_answer

_JOINED = "this tokenizer joins coordinates with the text around them; guided decoding cannot use it"


class Options(NamedTuple):
    """What may come next, where there is a choice.

    Attributes:
        ids: The tokens, two at least.
        columns: Where the vocabulary of choices has them.
    """

    ids: tuple[int, ...]
    columns: npt.NDArray[np.int64]


class AnswerState(Protocol):
    """An answer in the making."""

    @property
    def part(self) -> int:
        """Which of the answer's boxes is being written, from 0; 0 where there are none."""

    @property
    def over(self) -> bool:
        """Whether nothing can follow."""

    def options(self) -> Options | None:
        """Returns what may come next; None for any token. Only asked where there is a choice."""

    def allowed(self) -> list[int] | None:
        """Returns the ids that may come next; None for any; empty when the answer is over."""

    def push(self, token: int) -> None:
        """Takes the next id."""

    def write_fixed(self) -> list[int]:
        """Takes, and returns, the ids that the grammar fixes from here up to the next choice or the end."""

    def copy(self) -> Self:
        """Returns a state that goes its own way from here."""


class ChoiceVocabulary:
    """The few tokens among which boxes are chosen: the model's head is asked for these rows alone.

    Attributes:
        ids: Of the tokens; grows when a grammar with others joins.
    """

    def __init__(self) -> None:
        self.ids: list[int] = []
        self._columns: dict[int, int] = {}
        self._options: dict[tuple[int, ...], Options] = {}

    def options(self, ids: tuple[int, ...]) -> Options:
        """Returns the choice among some tokens, the same object for the same tokens."""
        found = self._options.get(ids)
        if found is None:
            for token in ids:
                if token not in self._columns:
                    self._columns[token] = len(self.ids)
                    self.ids.append(token)
            found = Options(ids, np.array([self._columns[token] for token in ids]))
            self._options[ids] = found
        return found


class BoxesGrammar:
    """The answer that gives one box a frame, for one tokenizer and number of frames.

    Every answer it lets through reads back as boxes with `x1 <= x2` and `y1 <= y2`.

    Args:
        tokenizer: Of the model.
        codec: How boxes are written.
        num_frames: Boxes in the answer.
        vocabulary: Shared by grammars whose answers are decoded together; by default one of its own.

    Raises:
        UsageError: If the tokenizer joins coordinates with the text around them, so that no fixed text is left.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        codec: BoxCodec,
        num_frames: int,
        vocabulary: ChoiceVocabulary | None = None,
    ) -> None:
        self.num_frames = num_frames
        self.scale = codec.scale
        self.maximum = codec.maximum
        self.vocabulary = vocabulary or ChoiceVocabulary()
        self._codec = codec
        self._following: dict[tuple[tuple[int, ...], int, int], tuple[int, ...]] = {}

        def split(value: int) -> list[int]:
            text = boxes_answer([[value / codec.scale] * 4] * num_frames, codec)
            return list(tokenizer(text, add_special_tokens=False)["input_ids"])

        self.fixed = _fixed_text(split(11), split(22), 4 * num_frames)
        self.numbers = {value: self._number(split(value)) for value in range(codec.maximum + 1)}
        self.values = {ids: value for value, ids in self.numbers.items()}
        self.fixed[-1] = [*self.fixed[-1], int(tokenizer.eos_token_id)]
        # Of the longest answer.
        self.max_tokens = sum(map(len, self.fixed)) + 4 * num_frames * max(map(len, self.numbers.values()))

    def start(self, given: Sequence[float] | None = None) -> BoxesState:
        """Returns an answer with nothing written yet.

        Args:
            given: The first frame's box, normalised, where it is known: the answer repeats it, the model is not asked.
        """
        return BoxesState(self, [] if given is None else self.steps(given))

    def steps(self, box: Sequence[float]) -> list[int]:
        """Returns a normalised box in steps of the box text."""
        return [int(number) for number in re.findall(r"\d+", self._codec.encode(box))]

    def following(self, prefix: tuple[int, ...], least: int, separator: int) -> tuple[int, ...]:
        """Returns the ids that may follow a number's beginning.

        Args:
            prefix: The number's ids so far.
            least: The smallest number that may come out.
            separator: The id after a whole number.
        """
        key = (prefix, least, separator)
        found = self._following.get(key)
        if found is None:
            length = len(prefix)
            ids: dict[int, None] = {}
            for value in range(least, self.maximum + 1):
                number = self.numbers[value]
                if number[:length] == prefix:
                    ids[separator if len(number) == length else number[length]] = None
            found = self._following[key] = tuple(ids)
        return found

    def _number(self, ids: list[int]) -> tuple[int, ...]:
        """Returns the ids of the number that a whole answer repeats in all its places."""
        start = len(self.fixed[0])
        length = (len(ids) - sum(map(len, self.fixed))) // (4 * self.num_frames)
        number = tuple(ids[start : start + length])
        rebuilt = list(self.fixed[0])
        for text in self.fixed[1:]:
            rebuilt += [*number, *text]
        if rebuilt != ids or not number:
            raise UsageError(_JOINED)
        return number


class BoxesState:
    """One answer under a `BoxesGrammar`: fixed text and numbers in turn.

    Args:
        grammar: Of the answer.
        given: Coordinates that the answer begins with.

    Attributes:
        values: The coordinates written so far, in steps of the box text.
    """

    def __init__(self, grammar: BoxesGrammar, given: Sequence[int] = ()) -> None:
        self.grammar = grammar
        self.values: list[int] = []
        self._given = tuple(given)
        self._slot = 0
        self._fixed_at = 0
        self._prefix: tuple[int, ...] = ()
        self._in_number = False
        self._settle()

    @property
    def part(self) -> int:
        """Which of the boxes is being written, from 0."""
        return len(self.values) // 4

    @property
    def over(self) -> bool:
        """Whether the last fixed text has been written."""
        return self._slot >= len(self.grammar.fixed)

    def copy(self) -> BoxesState:
        """Returns a state that goes its own way from here."""
        twin = copy.copy(self)
        twin.values = list(self.values)
        return twin

    def options(self) -> Options:
        """Returns what may come next; asked where there is a choice."""
        return self.grammar.vocabulary.options(self._next())

    def allowed(self) -> list[int]:
        """Returns the ids that may come next; a single one is fixed text."""
        return list(self._next())

    def push(self, token: int) -> None:
        """Takes the next id, which must be an allowed one."""
        if token not in self._next():
            raise ValueError(f"token {token} is not allowed here")
        if not self._in_number:
            self._fixed_at += 1
            self._settle()
            return
        value = self.grammar.values.get(self._prefix)
        if value is not None and token == self.grammar.fixed[self._slot][0]:
            self._end_number(value, fixed_at=1)
            return
        self._prefix = (*self._prefix, token)
        value = self.grammar.values.get(self._prefix)
        if value is not None and self._next() == (self.grammar.fixed[self._slot][0],):
            self._end_number(value, fixed_at=0)

    def write_fixed(self) -> list[int]:
        """Takes, and returns, the ids that are fixed from here up to the next choice or the end."""
        written: list[int] = []
        while not self.over:
            if self._in_number:
                following = self._next()
                if len(following) > 1:
                    break
                self.push(following[0])
                written.append(following[0])
            else:
                text = self.grammar.fixed[self._slot]
                written += text[self._fixed_at :]
                self._fixed_at = len(text)
                self._settle()
        return written

    def token_towards(self, value: int) -> int | None:
        """Returns the next id on the way to a coordinate, or None where it does not fit what is written."""
        number, length = self.grammar.numbers.get(value, ()), len(self._prefix)
        if not self._in_number or number[:length] != self._prefix or value < self.least:
            return None
        return self.grammar.fixed[self._slot][0] if len(number) == length else number[length]

    @property
    def least(self) -> int:
        """The smallest number that may come out: x2 and y2 are not below x1 and y1."""
        return self.values[-2] if len(self.values) % 4 >= 2 else 0

    def boxes(self) -> list[list[float]]:
        """Returns the boxes written so far, normalised `(x1, y1, x2, y2)`."""
        whole = len(self.values) // 4 * 4
        return [[value / self.grammar.scale for value in self.values[i : i + 4]] for i in range(0, whole, 4)]

    def _next(self) -> tuple[int, ...]:
        texts = self.grammar.fixed
        if not self._in_number:
            return (texts[self._slot][self._fixed_at],) if self._slot < len(texts) else ()
        separator = texts[self._slot][0]
        if len(self.values) < len(self._given):
            number, length = self.grammar.numbers[self._given[len(self.values)]], len(self._prefix)
            return (separator if len(number) == length else number[length],)
        return self.grammar.following(self._prefix, self.least, separator)

    def _end_number(self, value: int, fixed_at: int) -> None:
        self.values.append(value)
        self._prefix, self._in_number, self._fixed_at = (), False, fixed_at
        self._settle()

    def _settle(self) -> None:
        """Moves on to the next number where a fixed text has been written to its end."""
        texts = self.grammar.fixed
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

    @property
    def over(self) -> bool:
        """Whether the answer has ended or has its full length."""
        return self._over

    def copy(self) -> FreeState:
        """Returns a state that goes its own way from here."""
        twin = copy.copy(self)
        twin.ids = list(self.ids)
        return twin

    def options(self) -> None:
        """Any token may come."""

    def allowed(self) -> list[int] | None:
        """Returns None while the answer goes on."""
        return [] if self._over else None

    def push(self, token: int) -> None:
        """Takes the next id."""
        if token != self._eos:
            self.ids.append(token)
        self._over = token == self._eos or len(self.ids) >= self._max_tokens

    def write_fixed(self) -> list[int]:
        """Nothing is fixed."""
        return []


class GrammarCache:
    """The grammars of one tokenizer, each made once, with one vocabulary of choices."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, codec: BoxCodec) -> None:
        self.vocabulary = ChoiceVocabulary()
        self._tokenizer = tokenizer
        self._codec = codec
        self._made: dict[int, BoxesGrammar] = {}

    def boxes(self, num_frames: int) -> BoxesGrammar:
        """Returns the grammar of an answer with so many boxes."""
        if num_frames not in self._made:
            self._made[num_frames] = BoxesGrammar(self._tokenizer, self._codec, num_frames, self.vocabulary)
        return self._made[num_frames]


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
        raise UsageError(_JOINED)
    return runs
