"""What a phase trains, and whether its samples fit the model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from elysium.boxes import BoxCodec
from elysium.config import Part, PhaseSettings
from elysium.errors import UsageError
from elysium.model import ElysiumForConditionalGeneration, ElysiumProcessor
from elysium.prompts import PHRASINGS, Task, ask, boxes_answer, build_prompt, description_answer
from elysium.training.questions import CONVERSATION

PARTS: tuple[Part, ...] = ("vision", "selector", "projector", "llm")
_LONG_EXPRESSION = " ".join(["something"] * 20)


@dataclass(frozen=True)
class Lengths:
    """Longest sample of a phase, in tokens.

    Attributes:
        text: Of prompt and answer without the frames.
        visual: Of the frames.
        limit: What the language model takes.
        shared: Of `total`, those up to the last frame, which all questions about the same frames share.
    """

    text: int
    visual: int
    limit: int
    shared: int = 0

    @property
    def total(self) -> int:
        """Text and frames together."""
        return self.text + self.visual

    def row(self, questions: int) -> int:
        """Returns the tokens of a training row with so many questions; the positions stay within `total`."""
        return self.shared + questions * (self.total - self.shared)


def freeze(model: ElysiumForConditionalGeneration, phase: PhaseSettings) -> int:
    """Lets only the phase's parts train; returns the number of parameters that do."""
    for name in PARTS:
        model.part(name).requires_grad_(name in phase.trains)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def set_token_budget(model: ElysiumForConditionalGeneration, processor: ElysiumProcessor, count: int | None) -> None:
    """Makes model and processor keep `count` tokens of each frame; None leaves them as they are.

    Raises:
        UsageError: If the model's selector keeps a number of tokens that cannot change, or a frame has fewer.
    """
    config = model.config
    if count is None or count == config.tokens_per_frame:
        return
    try:
        model.selector.check(config.num_patches, count)
    except ValueError as error:
        raise UsageError(f"num_visual_tokens={count}: {error}") from error
    config.num_visual_tokens = count
    model.selector.num_kept = count
    processor.tokens_per_frame = count


def longest_sample(
    processor: ElysiumProcessor, phase: PhaseSettings, limit: int, positions_per_frame: int | None = None
) -> Lengths:
    """Returns the lengths of the longest sample that the phase can draw; arguments as of `check_lengths`."""
    longest, each = Lengths(0, 0, limit), positions_per_frame or processor.tokens_per_frame
    for name, weight in phase.mixture.items():
        task = Task(name)
        if weight == 0:
            continue
        if task is Task.VQA:
            found = _longest_conversation(processor, phase, limit, each)
            longest = max(longest, found, key=lambda lengths: lengths.total)
            continue
        count = 1 if task in (Task.REC, Task.REG) else phase.clip_frames[1]
        box = [0.11, 0.22, 0.33, 0.44]
        describes = task in (Task.REG, Task.VIDEO_REG)
        answer = description_answer(_LONG_EXPRESSION) if describes else boxes_answer([box] * count, BoxCodec(100, 99))
        answered = len(processor.encode_answer(answer))
        for phrasing in range(len(PHRASINGS[task])):
            prompt = ask(task, count, expression=_LONG_EXPRESSION, box=box, phrasing=phrasing)
            visual = count * processor.tokens_per_frame
            ids = processor.encode_prompt(prompt)
            shared = len(ids) - ids[::-1].index(processor.image_token_id)
            found = Lengths(len(ids) - visual + answered, visual, limit, shared)
            longest = max(longest, found, key=lambda lengths: lengths.total)
    return longest


def _longest_conversation(processor: ElysiumProcessor, phase: PhaseSettings, limit: int, each: int) -> Lengths:
    """Returns the lengths of the longest conversation: what is longer than the model takes is cut (`Collator`)."""
    count = phase.clip_frames[1]
    visual = count * processor.tokens_per_frame
    ids = processor.encode_prompt(build_prompt("", count))
    shared = len(ids) - ids[::-1].index(processor.image_token_id)
    words = len(processor.encode_answer(_LONG_EXPRESSION)) / len(_LONG_EXPRESSION.split())
    text = len(ids) - visual + math.ceil(words * CONVERSATION)
    # Without room for the frames there is none for an answer either, and the phase is refused.
    return Lengths(max(min(text, limit - count * each), shared - visual + 1), visual, limit, shared)


def check_lengths(
    processor: ElysiumProcessor, phase: PhaseSettings, name: str, limit: int, positions_per_frame: int | None = None
) -> Lengths:
    """Returns `longest_sample`, if the model takes it.

    Args:
        processor: Of the model.
        phase: Mixture and clip sampling.
        name: Of the phase.
        limit: Positions that the language model has.
        positions_per_frame: That a frame takes up, where it is more than its tokens (`position_ids="grid"`).

    Raises:
        UsageError: If a sample of the phase can be longer than the model's context (PROTOCOL §2, lengths).
    """
    longest = longest_sample(processor, phase, limit, positions_per_frame)
    visual = longest.visual // processor.tokens_per_frame * (positions_per_frame or processor.tokens_per_frame)
    if longest.text + visual > limit:
        raise UsageError(
            f"training.{name}: a clip of {phase.clip_frames[1]} frames takes {longest.text} text and {visual} "
            f"visual positions, {longest.text + visual} in all, but the model takes {limit}; lower clip_frames or "
            "num_visual_tokens, or raise model.llm.max_position_embeddings"
        )
    return longest
