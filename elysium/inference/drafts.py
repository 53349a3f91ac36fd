"""Guessing the next boxes from the motion so far, for the model to confirm several at once (DESIGN §5).

Speculative decoding (Leviathan et al., 2023) with a motion model in place of a small language model: what the model
does not agree with is thrown away, so a bad guess costs time and never changes an answer. What the model said behind a
wrong guess is the next guess (Jacobi decoding; Santilli et al., 2023): where a later box lies is mostly for the frames
to tell, and hardly hangs on a number of an earlier one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from elysium.inference.grammar import BoxesState

# How much of what was learned about a guesser stays after another box.
_MEMORY = 0.7
# A coordinate counts as guessed when it is exact, and half when it is one step off.
_NEAR = 0.5
# Gains of the steady-state Kalman filter for constant velocity with as much noise in the motion as in the boxes.
_ALPHA, _BETA = 0.6, 0.3
_FIRST_RATE = 0.5
# Numbers that begin as written are looked for so far around a guess.
_SEARCH = 12
# Choices that a guess of the whole answer decides, before anything is known; and how far a new answer returns to that.
_FIRST_STRIDE = 8.0
_HOPE = 0.1
# No rate is taken for more than this.
SURE = 0.999

Box = Sequence[float]


class MotionDraft:
    """Guesses one object's next boxes.

    Several simple motion models run side by side: the box stays; it keeps its last velocity; it keeps the velocity of a
    steady-state Kalman filter (alpha-beta). The one that guessed best lately is followed.

    Args:
        maximum: Largest coordinate, in steps of the box text.
        most: Choices guessed at once.
    """

    def __init__(self, maximum: int, most: int = 64) -> None:
        self._maximum = maximum
        self._most = most
        self._models: list[_MotionModel] = [_Hold(), _Velocity(), _AlphaBeta()]
        self._scores = [0.02, 0.01, 0.0]
        self._last: list[float] | None = None
        self._rate = _FIRST_RATE
        self._said: list[int] = []
        #: Choices decided lately by a pass that guessed the whole answer.
        self.stride = _FIRST_STRIDE

    def begin(self) -> None:
        """Forgets what the model said of another answer."""
        self._said = []
        self.stride += _HOPE * (_FIRST_STRIDE - self.stride)

    def hear(self, values: Sequence[int]) -> None:
        """Takes the coordinates of an answer as the model said them; the later ones behind guesses that were wrong."""
        self._said = [*values, *self._said[len(values) :]]

    def decided(self, choices: int) -> None:
        """Takes how many choices a pass decided that guessed the whole answer."""
        self.stride = _MEMORY * self.stride + (1 - _MEMORY) * choices

    @property
    def rate(self) -> float:
        """Share of guesses that were right lately; 0 before there is anything to guess from."""
        return 0.0 if self._last is None else self._rate

    @property
    def _best(self) -> _MotionModel:
        return self._models[self._scores.index(max(self._scores))]

    def anchor(self, box: Box) -> None:
        """Takes a box that is known: where the track is not there already, it begins anew."""
        values = [float(value) for value in box]
        if self._last != values:
            for model in self._models:
                model.start(values)
            self._last = values

    def observe(self, box: Box) -> None:
        """Takes the next box of the track, in steps of the box text."""
        values = [float(value) for value in box]
        if self._last is None:
            self.anchor(box)
            return
        # Four numbers at a time, for every box of every object: plain floats take a fifth of numpy's time.
        moved = _moved_along(self._best.predict(1), values)
        hits = sum(round(guess) == value for guess, value in zip(moved, values, strict=True)) / 4
        self._rate = _MEMORY * self._rate + (1 - _MEMORY) * hits
        for number, model in enumerate(self._models):
            gaps = [abs(round(guess) - value) for guess, value in zip(model.predict(1), values, strict=True)]
            score = sum(1.0 if gap < 1 else _NEAR if gap < 2 else 0.0 for gap in gaps) / 4
            self._scores[number] = _MEMORY * self._scores[number] + (1 - _MEMORY) * score
            model.update(values)
        self._last = values

    def budget(self, least_chance: float) -> int:
        """Returns how many choices are worth guessing now.

        Args:
            least_chance: A guess that is right with less probability costs more than it saves.
        """
        return 0 if least_chance > 1 else min(guesses_above(self.rate, least_chance), self._most)

    def tokens(self, state: BoxesState) -> Callable[[BoxesState], int | None]:
        """Returns what guesses the next token of a state that goes on from `state`; None where nothing fits.

        Where the box so far differs from the guess, its other corner moves along; where a number has begun
        differently, the nearest one that begins so is guessed.
        """
        best = self._best
        first = state.part

        def guess(at: BoxesState) -> int | None:
            value = self._heard(at)
            if value is None:
                predicted = best.predict(1 + at.part - first)
                place = len(at.values) % 4
                value = predicted[place]
                if place >= 2:
                    value += at.values[-2] - predicted[place - 2]
            middle = min(max(round(value), at.least), self._maximum)
            for distance in range(_SEARCH):
                for candidate in (middle + distance, middle - distance):
                    token = at.token_towards(candidate)
                    if token is not None:
                        return token
            return None

        return guess

    def _heard(self, at: BoxesState) -> float | None:
        return self._said[len(at.values)] if len(at.values) < len(self._said) else None


def guesses_above(rate: float, least_chance: float) -> int:
    """Returns how many guesses in a row are all right with at least a probability, each being right at a rate.

    Example:
        >>> guesses_above(0.9, 0.5), guesses_above(0.4, 0.5)
        (6, 0)
    """
    if rate <= 0:
        return 0
    if rate >= SURE:
        rate = SURE
    return int(math.log(least_chance) / math.log(rate))


def _moved_along(predicted: Sequence[float], written: Sequence[float]) -> list[float]:
    """Returns a predicted box whose second corner moves along with the first one as it was written."""
    x1, y1, x2, y2 = predicted
    return [x1, y1, x2 + written[0] - x1, y2 + written[1] - y1]


class _MotionModel:
    """Predicts boxes, four corners, from those before."""

    def start(self, box: list[float]) -> None:
        self.box = box
        self.velocity = [0.0] * 4

    def predict(self, steps: int) -> list[float]:
        """Returns the box `steps` frames on."""
        return [value + steps * speed for value, speed in zip(self.box, self.velocity, strict=True)]

    def update(self, box: list[float]) -> None:
        raise NotImplementedError


class _Hold(_MotionModel):
    def update(self, box: list[float]) -> None:
        self.box = box


class _Velocity(_MotionModel):
    def update(self, box: list[float]) -> None:
        self.velocity = [now - before for now, before in zip(box, self.box, strict=True)]
        self.box = box


class _AlphaBeta(_MotionModel):
    def update(self, box: list[float]) -> None:
        predicted = self.predict(1)
        gaps = [now - guess for now, guess in zip(box, predicted, strict=True)]
        self.box = [guess + _ALPHA * gap for guess, gap in zip(predicted, gaps, strict=True)]
        self.velocity = [speed + _BETA * gap for speed, gap in zip(self.velocity, gaps, strict=True)]
