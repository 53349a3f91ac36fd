"""Guessing the next boxes from the motion so far, for the model to confirm several at once (DESIGN §5).

Speculative decoding (Leviathan et al., 2023) with a motion model in place of a small language model: what the model
does not agree with is thrown away, so a bad guess costs time and never changes an answer.
"""

from __future__ import annotations

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

Box = Sequence[float]


class MotionDraft:
    """Guesses one object's next boxes.

    Several simple motion models run side by side: the box stays; it keeps its last velocity; it keeps the velocity of a
    steady-state Kalman filter (alpha-beta). The one that guessed best lately is followed.

    Args:
        maximum: Largest coordinate, in steps of the box text.
        least_gain: Goes on guessing while the whole guess is right with at least this probability.
        most: Choices guessed at once.

    Attributes:
        guessed: Choices guessed that the model came to.
        agreed: Those that it made the same way.
    """

    def __init__(self, maximum: int, least_gain: float = 0.15, most: int = 64) -> None:
        self._maximum = maximum
        self._least_gain = least_gain
        self._most = most
        self._models: list[_MotionModel] = [_Hold(), _Velocity(), _AlphaBeta()]
        self._scores = [0.02, 0.01, 0.0]
        self._last: FloatArray | None = None
        self._rate = _FIRST_RATE
        self.guessed = 0
        self.agreed = 0

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
        for number, model in enumerate(self._models):
            gap = np.abs(np.rint(model.predict(1)) - values)
            hits = float(np.mean(np.where(gap < 1, 1.0, np.where(gap < 2, _NEAR, 0.0))))
            self._scores[number] = _MEMORY * self._scores[number] + (1 - _MEMORY) * hits
            model.update(values)
        self._last = values

    def count(self, guessed: int, agreed: int) -> None:
        """Takes how many guessed choices the model came to, and how many it made the same way."""
        self.guessed += guessed
        self.agreed += agreed
        for hit in [1.0] * agreed + [0.0] * (guessed - agreed):
            self._rate = 0.8 * self._rate + 0.2 * hit
        # Never gives up for good: a track that was jumpy may become steady.
        self._rate = max(self._rate, 0.3)

    def budget(self) -> int:
        """Returns how many choices are worth guessing now."""
        if self._last is None:
            return 0
        budget, chance = 0, self._rate
        while chance >= self._least_gain and budget < self._most:
            budget, chance = budget + 1, chance * self._rate
        return budget

    def tokens(self, state: BoxesState) -> Callable[[BoxesState], int | None]:
        """Returns what guesses the next token of a state that goes on from `state`; None where nothing fits.

        Where the box so far differs from the guess, its other corner moves along; where a number has begun
        differently, the nearest one that begins so is guessed.
        """
        best = self._models[int(np.argmax(self._scores))]
        first = state.part

        def guess(at: BoxesState) -> int | None:
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
