"""Questions about frames that a model learns to answer: about objects in them, and in conversations (PROTOCOL §2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from elysium.boxes import BoxCodec, FloatArray
from elysium.prompts import (
    IMAGE_TOKEN,
    PHRASINGS,
    SHORT_ANSWER,
    Task,
    ask,
    boxes_answer,
    build_turn,
    description_answer,
)
from elysium.training.camera import fill_gone
from elysium.training.sources import Turn

# Words, numbers and signs of a conversation that is asked as one; a longer one is asked in parts.
CONVERSATION = 512
# Of the answers, where there is history noise: the model must also know how to go on from what is right.
_DRIFTING = 0.5
# About what tokenizers split text into.
_PIECES = re.compile(r"\d+|[^\W\d]+|[^\w\s]")
# Shares of an object's box that must be seen: for the object to be there at all, and to be described.
_THERE, _DESCRIBED = 0.15, 0.7
# Of the objects to be followed from a box that are not in the first frame: given by a box that shows something else.
_STALE = 0.5
# An answer of so many words is asked for as a short one.
_SHORT_WORDS = 3


@dataclass(frozen=True)
class Question:
    """One conversation about a sample's frames.

    Attributes:
        task: What is asked.
        prompt: With one `<image>` a frame.
        answer: What the model should say.
        history: What it reads of its own answer while it learns to go on with it, as many tokens long; None is the
            answer itself.
        gone: Of an answer in boxes, whether the object is gone in each frame, so that no box is right; empty where it
            is in all.
        more: Further questions and answers of the same conversation, to be learnt after it.
    """

    task: Task
    prompt: str
    answer: str
    history: str | None = None
    gone: tuple[bool, ...] = ()
    more: tuple[Turn, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether it is one answer of bounded length that the model reads, and learns all of it."""
        return self.history is None and not any(self.gone) and self.task is not Task.VQA

    @property
    def num_pieces(self) -> int:
        """Words, numbers and signs behind the last frame."""
        texts = [self.prompt.rpartition(IMAGE_TOKEN)[2], self.answer]
        texts += [build_turn(turn.question) + turn.answer for turn in self.more]
        return sum(len(_PIECES.findall(text)) for text in texts)


def object_question(
    rng: np.random.Generator,
    task: Task,
    expression: str,
    boxes: FloatArray,
    seen: FloatArray,
    codec: BoxCodec,
    history_noise: float,
) -> Question:
    """Returns a question about an object.

    Args:
        rng: Draws.
        task: Is another one where the first frame does not show the object.
        expression: Names the object.
        boxes: Of what is seen of it, normalised, shape `(T, 4)`.
        seen: The share of the object that they show, shape `(T,)`.
        codec: How boxes are written.
        history_noise: As of a phase, in steps of the box text.
    """
    phrasing = int(rng.integers(len(PHRASINGS[task])))
    describes = task in (Task.REG, Task.VIDEO_REG)
    stale = task is Task.SOT and seen[0] < _THERE and rng.random() < _STALE
    if stale:
        # As a tracker asks that lost its object in the clip before. Nothing says what to follow: no box is right.
        boxes, seen = fill_gone(rng, boxes, seen < _THERE), np.append(1.0, np.zeros(len(boxes) - 1))
    elif seen[0] < (_DESCRIBED if describes else _THERE):
        # What the first frame does not show cannot be asked for by its box there.
        task, describes = (Task.REC if task in (Task.REC, Task.REG) else Task.RSOT), False
    prompt = ask(task, len(boxes), expression=expression, box=boxes[0], phrasing=phrasing, codec=codec)
    if describes:
        return Question(task, prompt, description_answer(expression))
    gone = seen < _THERE
    if gone.any():
        boxes = fill_gone(rng, boxes, gone)
    history = None
    if history_noise and rng.random() < _DRIFTING:
        history = boxes_answer(drift(rng, boxes, history_noise / codec.scale), codec)
    return Question(task, prompt, boxes_answer(boxes, codec), history, tuple(gone.tolist()) if gone.any() else ())


def conversation(rng: np.random.Generator, turns: Sequence[Turn], num_frames: int) -> Question:
    """Returns a conversation about `num_frames` frames as one question, of which all answers are learnt."""
    hint = SHORT_ANSWER[int(rng.integers(len(SHORT_ANSWER)))]
    asked = [Turn(_with_hint(turn, hint), turn.answer) for turn in turns]
    prompt = ask(Task.VQA, num_frames, question=asked[0].question)
    return Question(Task.VQA, prompt, asked[0].answer, more=tuple(asked[1:]))


def conversation_runs(turns: Sequence[Turn]) -> list[list[Turn]]:
    """Returns a conversation in parts that are each asked as one: whole if it is not too long."""
    runs: list[list[Turn]] = []
    length = 0
    for turn in turns:
        pieces = len(_PIECES.findall(turn.question)) + len(_PIECES.findall(turn.answer))
        if not runs or length + pieces > CONVERSATION:
            runs.append([])
            length = 0
        runs[-1].append(turn)
        length += pieces
    return runs


def _with_hint(turn: Turn, hint: str) -> str:
    is_short = len(turn.answer.split()) <= _SHORT_WORDS and not turn.answer.rstrip().endswith(".")
    return f"{turn.question}\n{hint}" if is_short else turn.question


def drift(rng: np.random.Generator, boxes: FloatArray, deviation: float) -> FloatArray:
    """Returns boxes as a model that loses its object little by little would have written them.

    A model that reads the true boxes of earlier frames learns to copy the last one, which is nearly right and needs no
    look at the frames; when it follows an object by itself, that is a box which never moves (exposure bias; Bengio et
    al., 2015, "Scheduled Sampling"). Errors of a tracker are alike from frame to frame, so they are drawn as a random
    walk: of the centre, and half as large of the corners. What it brings was not measured by itself.

    Args:
        rng: Draws.
        boxes: Normalised, shape `(T, 4)`.
        deviation: Of a step of the walk, in sides of the frame.
    """
    steps = rng.normal(0, deviation, size=(len(boxes), 2))
    corners = rng.normal(0, deviation / 2, size=(len(boxes), 4))
    walk = np.cumsum(np.tile(steps, 2) + corners, axis=0)
    moved = np.clip(boxes + walk, 0, 1)
    return np.concatenate([np.minimum(moved[:, :2], moved[:, 2:]), np.maximum(moved[:, :2], moved[:, 2:])], axis=1)
