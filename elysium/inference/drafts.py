"""Guessing the next boxes from the motion so far, for the model to confirm several at once (DESIGN §5).

Speculative decoding (Leviathan et al., 2023) with a motion model in place of a small language model: what the model
does not agree with is thrown away, so a bad guess costs time and never changes an answer. What the model said behind a
wrong guess is the next guess (Jacobi decoding; Santilli et al., 2023): where a later box lies is mostly for the frames
to tell, and hardly hangs on a number of an earlier one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from elysium.boxes import FloatArray
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
_SURE = 0.999

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
        self._last: FloatArray | None = None
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
        return self._models[int(np.argmax(self._scores))]

    def anchor(self, box: Box) -> None:
        """Takes a box that is known: where the track is not there already, it begins anew."""
        values = np.asarray(box, dtype=np.float64)
        if self._last is None or not np.array_equal(self._last, values):
            for model in self._models:
                model.start(values)
            self._last = values

    def observe(self, box: Box) -> None:
        """Takes the next box of the track, in steps of the box text."""
        values = np.asarray(box, dtype=np.float64)
        if self._last is None:
            self.anchor(box)
            return
        hits = float(np.mean(np.rint(_moved_along(self._best.predict(1), values)) == values))
        self._rate = _MEMORY * self._rate + (1 - _MEMORY) * hits
        for number, model in enumerate(self._models):
            gap = np.abs(np.rint(model.predict(1)) - values)
            score = float(np.mean(np.where(gap < 1, 1.0, np.where(gap < 2, _NEAR, 0.0))))
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
            middle = int(np.clip(np.rint(value), at.least, self._maximum))
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
    if rate >= _SURE:
        rate = _SURE
    return int(math.log(least_chance) / math.log(rate))


def _moved_along(predicted: FloatArray, written: FloatArray) -> FloatArray:
    """Returns a predicted box whose second corner moves along with the first one as it was written."""
    return np.concatenate([predicted[:2], predicted[2:] + written[:2] - predicted[:2]])


class _MotionModel:
    """Predicts boxes `(4,)`, corners, from those before."""

    def start(self, box: FloatArray) -> None:
        self.box = box
        self.velocity = np.zeros(4)

    def predict(self, steps: int) -> FloatArray:
        """Returns the box `steps` frames on."""
        return self.box + steps * self.velocity

    def update(self, box: FloatArray) -> None:
        raise NotImplementedError


class _Hold(_MotionModel):
    def update(self, box: FloatArray) -> None:
        self.box = box


class _Velocity(_MotionModel):
    def update(self, box: FloatArray) -> None:
        self.velocity = box - self.box
        self.box = box


class _AlphaBeta(_MotionModel):
    def update(self, box: FloatArray) -> None:
        predicted = self.predict(1)
        gap = box - predicted
        self.box = predicted + _ALPHA * gap
        self.velocity = self.velocity + _BETA * gap
