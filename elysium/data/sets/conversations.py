"""Conversations: turns paired, placeholders of images taken out, boxes in the text brought into one form."""

from __future__ import annotations

import re
from collections.abc import Iterable

from elysium.boxes import BoxCodec
from elysium.data.sets.objects import from_normalised
from elysium.data.sets.schema import Turn
from elysium.data.sets.source import BrokenSample

# What a caption answers to where the set puts no question.
DESCRIBE = "Describe what you see in detail."
_ASKS, _ANSWERS = ("human", "user"), ("gpt", "assistant")
_PLACEHOLDER = re.compile(r"\s*<(?:image|video|ImageHere|VideoHere)>\s*", re.IGNORECASE)
_THOUSANDTHS = r"\d{1,4}\s*,\s*\d{1,4}\s*,\s*\d{1,4}\s*,\s*\d{1,4}"
_SHARE = r"(?:[01]?\.\d+|[01])"
_BOXES = re.compile(
    # CogVLM: [[x1,y1,x2,y2]] or [[x1,y1,x2,y2;x1,y1,x2,y2]] in thousandths of the sides.
    rf"\[\[\s*(?P<thousandths>{_THOUSANDTHS}(?:\s*;\s*{_THOUSANDTHS})*)\s*\]\]"
    # LLaVA: [0.12, 0.3, 0.5, 0.64] in shares of the sides; one point at least, or it may be any list of 0 and 1.
    rf"|\[\s*(?=[^\]]*\.)(?P<shares>{_SHARE}(?:\s*,\s*{_SHARE}){{3}})\s*\]"
)


def pair_turns(lines: Iterable[tuple[str, str]], codec: BoxCodec) -> list[Turn]:
    """Returns a conversation as questions with their answers.

    Args:
        lines: Who speaks (`human` or `user`, `gpt` or `assistant`) and what is said, in turn.
        codec: How boxes are written.

    Raises:
        BrokenSample: If nobody speaks, they do not take turns, a question or an answer is empty, or a box in the text
            is none.
    """
    lines = list(lines)
    if not lines:
        raise BrokenSample("the conversation is empty")
    if len(lines) % 2 or any(
        speaker not in (_ANSWERS if number % 2 else _ASKS) for number, (speaker, _) in enumerate(lines)
    ):
        raise BrokenSample("question and answer do not take turns")
    return [
        turn(lines[number][1], lines[number + 1][1], codec) for number in range(0, len(lines), 2)
    ]  # fmt: skip


def turn(question: str, answer: str, codec: BoxCodec) -> Turn:
    """Returns one question with its answer, both cleaned.

    Raises:
        BrokenSample: If either is empty, or a box in the text is none.
    """
    question = write_boxes(_PLACEHOLDER.sub("\n", question).strip(), codec)
    answer = write_boxes(answer.strip(), codec)
    if not question or not answer:
        raise BrokenSample("a question is empty" if not question else "an answer is empty")
    return Turn(question=question, answer=answer)


def write_boxes(text: str, codec: BoxCodec) -> str:
    """Returns a text with the boxes that other models' data writes in it brought into PROTOCOL's form.

    Raises:
        BrokenSample: If one lies outside the image or has no area.

    Example:
        >>> write_boxes("A cat [[100,200,300,400]] and a dog [0.5, 0.25, 0.75, 1.0].", BoxCodec())
        'A cat [10,20,30,40] and a dog [50,25,75,99].'
    """

    def rewrite(match: re.Match[str]) -> str:
        if match["shares"] is not None:
            groups, steps = [match["shares"]], 1
        else:
            groups, steps = match["thousandths"].split(";"), 1000
        boxes = [[float(number) / steps for number in group.split(",")] for group in groups]
        return ", ".join(codec.encode(from_normalised(box)) for box in boxes)

    return _BOXES.sub(rewrite, text)
