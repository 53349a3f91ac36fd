"""Asking the engine so that one question that breaks it costs one answer, not the evaluation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from elysium.boxes import FloatArray
from elysium.inference import Engine, TrackAnswer, TrackRequest

Image = npt.NDArray[np.uint8]
Question = TypeVar("Question")
Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


def track(engine: Engine, requests: Sequence[TrackRequest]) -> list[TrackAnswer]:
    """Returns the engine's tracks; one that cannot be made holds NaN boxes after a given first box."""
    return _ask(engine.track, requests, _lost)


def ground(engine: Engine, images: Sequence[Image], expressions: Sequence[str]) -> FloatArray:
    """Returns one box an image, shape `(n, 4)`, normalised `(x1, y1, x2, y2)`; NaN where there is no answer."""

    def answer(questions: Sequence[tuple[Image, str]]) -> list[FloatArray]:
        return list(engine.ground([image for image, _ in questions], [name for _, name in questions]))

    boxes = _ask(answer, list(zip(images, expressions, strict=True)), lambda _: np.full(4, np.nan))
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def describe(engine: Engine, clips: Sequence[Sequence[Image]], boxes: Sequence[npt.ArrayLike]) -> list[str]:
    """Returns one description a clip; empty where there is no answer."""

    def answer(questions: Sequence[tuple[Sequence[Image], npt.ArrayLike]]) -> list[str]:
        return engine.describe([clip for clip, _ in questions], [box for _, box in questions])

    return _ask(answer, list(zip(clips, boxes, strict=True)), lambda _: "")


def _ask(
    answer: Callable[[Sequence[Question]], list[Answer]],
    questions: Sequence[Question],
    failed: Callable[[Question], Answer],
) -> list[Answer]:
    """Returns the answers to all questions; one that breaks the engine gets the failed answer.

    Raises:
        Exception: What the engine raised, if not one question can be answered: then it is no matter of the records.
    """
    try:
        return answer(questions)
    except (RuntimeError, ValueError, IndexError) as error:
        logger.warning("asking %d questions together failed (%s); asking one by one", len(questions), error)
        first = error
    answers: list[Answer] = []
    num_failed = 0
    for question in questions:
        try:
            answers += answer([question])
        except (RuntimeError, ValueError, IndexError) as error:
            logger.warning("a question cannot be answered and counts as failed: %s", error)
            answers.append(failed(question))
            num_failed += 1
    if num_failed == len(questions):
        raise first
    return answers


def _lost(request: TrackRequest) -> TrackAnswer:
    boxes = np.full((len(request.frames), 4), np.nan)
    if request.box is not None:
        boxes[0] = request.box
    return TrackAnswer(boxes, np.zeros(len(boxes)))
