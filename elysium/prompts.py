"""The five tasks, and the conversations that put them to the language model (PROTOCOL §2)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from elysium.boxes import BoxCodec

IMAGE_TOKEN = "<image>"
# Stands for a whole clip in prompts that people write; the processor knows how many frames it has.
VIDEO_TOKEN = "<video>"
SYSTEM_TEXT = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
)


class Task(StrEnum):
    """What the model is asked.

    SOT follows a given box, RSOT a named object; REC finds a named object in one frame; REG and VIDEO_REG describe
    the object in a given box; VQA answers a free question.
    """

    SOT = "sot"
    RSOT = "rsot"
    REC = "rec"
    REG = "reg"
    VIDEO_REG = "video-reg"
    VQA = "vqa"


# The first phrasing of each task is the one used for evaluation; training draws from all of them.
PHRASINGS: dict[Task, tuple[str, ...]] = {
    Task.SOT: (
        "This is a video showing an object with coordinates {box} in Frame 1. "
        "Provide the detailed coordinates of the object in each frame.",
        "The object at {box} in Frame 1 moves through this video. Give its coordinates in every frame.",
        "Follow the object whose box is {box} in Frame 1 and list its coordinates frame by frame.",
    ),
    Task.RSOT: (
        "Please find {expression} in the initial frame and provide the detailed coordinates in each frame.",
        "Where is {expression}? Locate it in Frame 1 and give its coordinates in every frame.",
        "Track {expression} from the first frame on and list its coordinates frame by frame.",
    ),
    Task.REC: (
        "Please find {expression} and provide its coordinates.",
        "Where is {expression}? Answer with its coordinates.",
        "Give the bounding box of {expression}.",
    ),
    Task.REG: (
        "Describe the object with coordinates {box}.",
        "What is the object at {box}?",
        "Name the object inside the box {box}.",
    ),
    Task.VIDEO_REG: (
        "This is a video showing an object with coordinates {box} in Frame 1. Describe the object.",
        "What is the object that stands at {box} in Frame 1 of this video?",
        "Name the object whose box is {box} in Frame 1.",
    ),
    Task.VQA: ("{question}",),
}
# Behind a free question whose answer is a word or two, so that it is told from one that wants sentences.
SHORT_ANSWER = (
    "Answer with a word or a short phrase.",
    "Give a short answer.",
    "Reply in one or two words.",
)


@dataclass(frozen=True)
class Conversation:
    """One turn of question and answer, as plain text.

    Attributes:
        prompt: System text, frames (one `<image>` each) and question, up to and including `ASSISTANT:`.
        answer: What the model should say; empty when it is to be asked. The end-of-sequence token is not part of it.
        num_frames: How many `<image>` placeholders the prompt holds.
    """

    prompt: str
    answer: str
    num_frames: int


def frames_text(num_frames: int, *, number_single_frame: bool = False) -> str:
    r"""Returns the placeholders of a clip's frames, ending in a newline.

    Args:
        num_frames: At least 1.
        number_single_frame: Writes `Frame 1: <image>` for a single frame too, as the release's evaluation does.

    Example:
        >>> frames_text(2)
        'Frame 1: <image>, Frame 2: <image>\n'
    """
    if num_frames < 1:
        raise ValueError(f"a conversation shows at least one frame, got {num_frames}")
    if num_frames == 1 and not number_single_frame:
        return f"{IMAGE_TOKEN}\n"
    return ", ".join(f"Frame {i}: {IMAGE_TOKEN}" for i in range(1, num_frames + 1)) + "\n"


def build_prompt(question: str, num_frames: int, *, number_single_frame: bool = False) -> str:
    """Returns the prompt of one question about `num_frames` frames, ready for the tokenizer."""
    frames = frames_text(num_frames, number_single_frame=number_single_frame)
    return f"{SYSTEM_TEXT}USER: {frames}{question}ASSISTANT:"


def build_turn(question: str) -> str:
    """Returns the prompt of a further question about what was shown before, ready for the tokenizer."""
    return f"USER: {question}ASSISTANT:"


def ask(
    task: Task,
    num_frames: int,
    *,
    expression: str | None = None,
    box: npt.ArrayLike | None = None,
    question: str | None = None,
    phrasing: int = 0,
    codec: BoxCodec | None = None,
) -> str:
    """Returns the prompt that puts `task` to the model.

    Args:
        task: Which of the tasks.
        num_frames: Number of frames shown.
        expression: The object's name, for RSOT and REC.
        box: The object's box in Frame 1, normalised `(x1, y1, x2, y2)`, for SOT, REG and VIDEO_REG.
        question: The free question of VQA.
        phrasing: Which of the task's phrasings, modulo their number; 0 is the one used for evaluation.
        codec: How boxes are written; the paper's by default.

    Raises:
        ValueError: If the task's expression, box or question is missing.

    Example:
        >>> ask(Task.REC, 1, expression="the red car").endswith("the red car and provide its coordinates.ASSISTANT:")
        True
    """
    texts = PHRASINGS[task]
    template = texts[phrasing % len(texts)]
    given = {
        "expression": expression,
        "box": None if box is None else (codec or BoxCodec()).encode(box),
        "question": question,
    }
    for name, value in given.items():
        if "{" + name + "}" in template and value is None:
            raise ValueError(f"task {task.value!r} needs {name}=…, got None")
    return build_prompt(template.format(**given), num_frames)


def boxes_answer(boxes: npt.ArrayLike, codec: BoxCodec | None = None, *, full_stop: bool = True) -> str:
    """Returns the answer that gives one box a frame, from normalised boxes `(T, 4)`.

    Example:
        >>> boxes_answer([[0.1, 0.2, 0.3, 0.4], [0.2, 0.2, 0.4, 0.4]])
        'Frame 1: [10,20,30,40], Frame 2: [20,20,40,40].'
        >>> boxes_answer([[0.1, 0.2, 0.3, 0.4]])
        '[10,20,30,40].'
    """
    codec = codec or BoxCodec()
    texts = [codec.encode(box) for box in np.asarray(boxes, dtype=np.float64).reshape(-1, 4)]
    if not texts:
        raise ValueError("an answer needs at least one box, got none")
    body = texts[0] if len(texts) == 1 else ", ".join(f"Frame {i}: {text}" for i, text in enumerate(texts, start=1))
    return body + "." if full_stop else body


def description_answer(description: str) -> str:
    """Returns the answer of REG and VIDEO_REG: the description and a full stop.

    Example:
        >>> description_answer("a red car")
        'a red car.'
    """
    return description.strip().rstrip(".") + "."
