"""Asking the engine so that one question that breaks it costs one answer, not the evaluation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from elysium.boxes import FloatArray
from elysium.errors import ElysiumError
from elysium.inference import Engine, TrackAnswer, TrackRequest

Image = npt.NDArray[np.uint8]
Question = TypeVar("Question")
Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Crashed:
    """Stands for an answer that could not be asked for.

    Attributes:
        reason: What the engine said.
    """

    reason: str


def track(engine: Engine, requests: Sequence[TrackRequest]) -> Iterator[tuple[int, TrackAnswer | Crashed, FloatArray]]:
    """Yields the engine's tracks as they end.

    Yields:
        The request's number; the answer; and its boxes `(T, 4)`, NaN from where it crashed on.

    Raises:
        ElysiumError: If frames cannot be read: that is no failure of the model.
    """
    ended = set()
    try:
        for number, answer, error in engine.track_each(requests):
            ended.add(number)
            yield number, _checked(answer, error), answer.boxes
    except (RuntimeError, ValueError, IndexError) as error:
        logger.warning("following %d objects together failed (%s); following one by one", len(requests), error)
    for number, request in enumerate(requests):
        if number in ended:
            continue
        try:
            _, answer, failure = next(iter(engine.track_each([request])))
            yield number, _checked(answer, failure), answer.boxes
        except (RuntimeError, ValueError, IndexError) as error:
            boxes = np.full((len(request.frames), 4), np.nan)
            if request.box is not None:
                boxes[0] = request.box
            yield number, _crashed(error), boxes


def ground(engine: Engine, images: Sequence[Image], expressions: Sequence[str]) -> list[FloatArray | Crashed]:
    """Returns one box an image, shape `(4,)`, normalised `(x1, y1, x2, y2)`."""

    def answer(questions: Sequence[tuple[Image, str]]) -> list[FloatArray]:
        return list(engine.ground([image for image, _ in questions], [name for _, name in questions]))

    return _ask(answer, list(zip(images, expressions, strict=True)))


def describe(engine: Engine, clips: Sequence[Sequence[Image]], boxes: Sequence[npt.ArrayLike]) -> list[str | Crashed]:
    """Returns one description a clip."""

    def answer(questions: Sequence[tuple[Sequence[Image], npt.ArrayLike]]) -> list[str]:
        return engine.describe([clip for clip, _ in questions], [box for _, box in questions])

    return _ask(answer, list(zip(clips, boxes, strict=True)))


def ask(engine: Engine, clips: Sequence[Sequence[Image]], questions: Sequence[str]) -> list[str | Crashed]:
    """Returns one answer a question about a clip."""

    def answer(pairs: Sequence[tuple[Sequence[Image], str]]) -> list[str]:
        return engine.ask([clip for clip, _ in pairs], [question for _, question in pairs])

    return _ask(answer, list(zip(clips, questions, strict=True)))


def _ask(answer: Callable[[Sequence[Question]], list[Answer]], questions: Sequence[Question]) -> list[Answer | Crashed]:
    """Returns the answers to all questions; those that break the engine crash alone.

    Raises:
        ElysiumError: If the data cannot be read or memory is too small: those are no failures of the model.
    """
    try:
        return list(answer(questions))
    except (RuntimeError, ValueError, IndexError) as error:
        if len(questions) > 1:
            logger.warning("asking %d questions together failed (%s); asking one by one", len(questions), error)
    answers: list[Answer | Crashed] = []
    for question in questions:
        try:
            answers += answer([question])
        except (RuntimeError, ValueError, IndexError) as error:
            answers.append(_crashed(error))
    return answers


def _checked(answer: TrackAnswer, error: Exception | None) -> TrackAnswer | Crashed:
    if error is None:
        return answer
    if not isinstance(error, ValueError):
        raise error
    return _crashed(error)


def _crashed(error: Exception) -> Crashed:
    """Returns what stands for the answer, unless it is the machine that is to blame."""
    if isinstance(error, torch.OutOfMemoryError):
        raise ElysiumError(
            f"the device's memory is not enough for one question: {str(error).splitlines()[0]} Fewer frames at once "
            "need less: --set evaluate.clip_frames=4; what is measured is kept, and the same command goes on"
        ) from error
    if _accelerator_is_lost():
        raise ElysiumError(
            f"the accelerator answers nothing any more: {str(error).splitlines()[0]} What is measured is kept, and the "
            "same command goes on in a new process"
        ) from error
    logger.warning("a question cannot be answered and counts as failed: %s", error)
    return Crashed(str(error))


def _accelerator_is_lost() -> bool:
    """Returns whether CUDA can do nothing more in this process, as after a failed assertion in one of its kernels."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return False
    try:
        torch.ones(1, device="cuda").item()
    except RuntimeError:
        return True
    return False
