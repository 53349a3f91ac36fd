"""Samples to tensors: questions about the same frames share them, and batches hold clips of like length.

A sample's row is its frames' tokens once, then each question with its answer. A question attends to the frames and to
itself, and its positions go on where the frames end: the model computes for it exactly what it would if the question
stood alone, while the frames, most of a row, are encoded and read once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from transformers import BatchFeature

from elysium.errors import UsageError
from elysium.model import ElysiumProcessor
from elysium.model.processor import IGNORED
from elysium.prompts import Task, build_turn
from elysium.training.losses import ANYWHERE, coordinate_tokens
from elysium.training.questions import Question
from elysium.training.samples import Sample, TrainingSamples

_WINDOW_STEPS = 16
# "Frame 3: , "
_TEXT_PER_FRAME = 5
_PADDING, _SHARED = -1, 0
NO_TASK, PADDED = -1, -2


class NumberedSamples(Dataset[Sample]):
    """The first `length` of the numbered samples."""

    def __init__(self, samples: TrainingSamples, length: int) -> None:
        self.samples = samples
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


class GroupedOrder(Sampler[int]):
    """Sample numbers in an order that puts samples of like length into one batch.

    Within windows of some steps, samples are sorted by length, cut into steps, and the steps shuffled: which samples a
    window has does not change, only who shares a step. Within a step they stay sorted, so that the batches that it is
    cut into, and the processes that take them, have like lengths too. The order depends on the seed and the samples of
    a step alone, and not on how many processes share them. Lengths are estimated from words, numbers and signs, for
    tokenizing everything twice would take longer than it saves.

    Args:
        samples: Numbered samples.
        length: How many.
        step_size: Samples of a step, over all processes.
        seed: Of the shuffle.
        tokens_per_frame: Visual ones.
    """

    def __init__(self, samples: TrainingSamples, length: int, step_size: int, seed: int, tokens_per_frame: int) -> None:
        self._samples = samples
        self._each = tokens_per_frame + _TEXT_PER_FRAME
        self._length = length
        self._step_size = step_size
        self._seed = seed

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        window = self._step_size * _WINDOW_STEPS
        for start in range(0, self._length, window):
            numbers = range(start, min(start + window, self._length))
            ordered = sorted(numbers, key=self._length_of)
            steps = [ordered[at : at + self._step_size] for at in range(0, len(ordered), self._step_size)]
            # A step that is not full must stay last: the loader cuts the order into batches by counting.
            full = [step for step in steps if len(step) == self._step_size]
            for number in np.random.default_rng([self._seed, start]).permutation(len(full)):
                yield from full[number]
            yield from (index for step in steps[len(full) :] for index in step)

    def _length_of(self, index: int) -> int:
        frames, pieces = self._samples.size(index)
        return frames * self._each + pieces


class Collator:
    """Makes a padded batch of samples.

    Args:
        processor: Tokenizes and normalises.
        mark_tasks: Adds `tasks` `(B, L)`: for each label, the place of its question's task in `Task`; else
            `NO_TASK`, and `PADDED` where there is no token. And `sources` `(B,)`, the data set of each row.
        limit: Positions that the language model has: a conversation ends there. None cuts nothing.
        positions_per_frame: That a frame takes up; by default as many as its tokens.
    """

    def __init__(
        self,
        processor: ElysiumProcessor,
        *,
        mark_tasks: bool = False,
        limit: int | None = None,
        positions_per_frame: int | None = None,
    ) -> None:
        self._processor = processor
        self._mark_tasks = mark_tasks
        self._limit = limit
        self._positions_per_frame = positions_per_frame

    def __call__(self, samples: list[Sample]) -> BatchFeature:
        """Returns the batch; where every sample has one question it is what the processor itself would make.

        With several, `attention_mask` is `(B, 1, L, L)`, true where a token (third axis) attends to another (fourth),
        and `position_ids` `(B, L)` is given.
        """
        single = all(len(sample.questions) == 1 for sample in samples)
        if single and all(sample.questions[0].is_plain for sample in samples):
            batch = self._processor(
                text=[sample.questions[0].prompt for sample in samples],
                videos=[sample.frames for sample in samples],
                answers=[sample.questions[0].answer for sample in samples],
            )
            answered = (batch["labels"] != IGNORED).long()
            return self._marked(batch, answered.masked_fill(batch["attention_mask"] == 0, _PADDING), samples)
        rows = [self._row(sample) for sample in samples]
        ids, labels, positions, owners = (
            _stack(column, fill)
            for column, fill in zip(
                zip(*rows, strict=True), (self._processor.pad_token_id, IGNORED, 0, _PADDING), strict=True
            )
        )
        frames = np.concatenate([sample.frames for sample in samples])
        batch = BatchFeature(
            {
                "input_ids": ids,
                # Any attention can run what has no questions beside each other.
                "attention_mask": (owners != _PADDING).long() if single else _may_attend(owners),
                **({} if single else {"position_ids": positions}),
                "pixel_values": self._processor.pixel_values(list(frames)),
                "labels": labels,
            }
        )
        return self._marked(batch, owners, samples)

    def _marked(self, batch: BatchFeature, owners: Tensor, samples: list[Sample]) -> BatchFeature:
        """Adds `tasks`, if they are asked for, from the question that each token belongs to."""
        if self._mark_tasks:
            places = {task: place for place, task in enumerate(Task)}
            of_owner = [[PADDED, NO_TASK, *(places[asked.task] for asked in sample.questions)] for sample in samples]
            tasks = _stack(of_owner, NO_TASK).gather(1, owners + 1)
            batch["sources"] = torch.tensor([sample.source for sample in samples])
            batch["tasks"] = tasks.masked_fill((batch["labels"] == IGNORED) & (owners >= 0), NO_TASK)
        return batch

    def _row(self, sample: Sample) -> tuple[list[int], list[int], list[int], list[int]]:
        """Returns a sample's ids, labels, positions, and of each token which question it belongs to, from 1."""
        image = self._processor.image_token_id
        encoded = [self._processor.encode_prompt(question.prompt) for question in sample.questions]
        cut = len(encoded[0]) - encoded[0][::-1].index(image)
        ids = encoded[0][:cut]
        labels, positions, owners = [IGNORED] * cut, list(range(cut)), [_SHARED] * cut
        for number, (question, prompt) in enumerate(zip(sample.questions, encoded, strict=True), start=1):
            answer = self._processor.encode_answer(question.answer)
            read = answer if question.history is None else self._processor.encode_answer(question.history)
            if len(read) != len(answer):
                raise UsageError(
                    f"history_noise: {question.history!r} is {len(read)} tokens and {question.answer!r} {len(answer)}; "
                    "it needs a tokenizer that writes each coordinate as one token, so set it to 0 for this model"
                )
            added = prompt[cut:] + read
            wanted = [IGNORED] * (len(prompt) - cut) + self._wanted(question, answer)
            for turn in question.more:
                asked, said = self._processor.encode_prompt(build_turn(turn.question)), turn.answer
                answer = self._processor.encode_answer(said)
                added += asked + answer
                wanted += [IGNORED] * len(asked) + answer
            room = self._room(len(sample.frames), cut)
            added, wanted = added[:room], wanted[:room]
            ids += added
            labels += wanted
            positions += range(cut, cut + len(added))
            owners += [number] * len(added)
        return ids, labels, positions, owners

    def _room(self, num_frames: int, shared: int) -> int | None:
        """Returns how many tokens may follow those that questions share."""
        if self._limit is None:
            return None
        beyond = (self._positions_per_frame or self._processor.tokens_per_frame) - self._processor.tokens_per_frame
        return max(self._limit - shared - num_frames * beyond, 0)

    def _wanted(self, question: Question, answer: list[int]) -> list[int]:
        """Returns an answer's labels: its tokens, and `ANYWHERE` for the coordinates of frames without the object."""
        if not any(question.gone):
            return answer
        numbers = set(coordinate_tokens(self._processor, "camera_motion"))
        places = np.array([at for at, token in enumerate(answer) if token in numbers]).reshape(len(question.gone), -1)
        labels = np.array(answer)
        # The numbers before the last four of a frame are the frame's own.
        labels[places[np.array(question.gone), -4:]] = ANYWHERE
        return [int(label) for label in labels]


def _may_attend(owners: Tensor) -> Tensor:
    """Returns which token attends to which, `(B, 1, L, L)`, from each token's question `(B, L)`."""
    length = owners.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool).tril()
    reader, read = owners.unsqueeze(2), owners.unsqueeze(1)
    # Padding attends to padding: a row of nothing at all would be not a number.
    return (earlier & ((read == _SHARED) | (read == reader))).unsqueeze(1)


def _stack(rows: Sequence[list[int]], fill: int) -> Tensor:
    length = max(map(len, rows))
    return torch.tensor([row + [fill] * (length - len(row)) for row in rows])
