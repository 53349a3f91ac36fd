"""From track records to conversations: which question, about which frames (PROTOCOL §2, §4)."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from elysium.boxes import BoxCodec, FloatArray
from elysium.config import PhaseSettings
from elysium.data.records import TrackRecord, read_jsonl
from elysium.errors import ElysiumError
from elysium.model.frames import resize_frame
from elysium.prompts import IMAGE_TOKEN, PHRASINGS, Task, ask, boxes_answer, description_answer
from elysium.training.camera import fill_gone, mean_background, move_camera, sample_path, seen_boxes

_SINGLE_FRAME = (Task.REC, Task.REG)
# Of the answers, where there is history noise: the model must also know how to go on from what is right.
_DRIFTING = 0.5
# About what tokenizers split text into.
_PIECES = re.compile(r"\d+|[^\W\d]+|[^\w\s]")
# Shares of an object's box that must be seen: for the object to be there at all, and to be described.
_THERE, _DESCRIBED = 0.15, 0.7
# Of the objects to be followed from a box that are not in the first frame: given by a box that shows something else.
_STALE = 0.5


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
    """

    task: Task
    prompt: str
    answer: str
    history: str | None = None
    gone: tuple[bool, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether the model reads its answer, and learns all of it."""
        return self.history is None and not any(self.gone)


@dataclass(frozen=True)
class Sample:
    """Frames, and the questions that are asked about them, each a conversation of its own.

    Attributes:
        questions: At least one; their prompts are the same up to the last `<image>`.
        frames: Shape `(T, side, side, 3)`, uint8, RGB.
    """

    questions: tuple[Question, ...]
    frames: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Drawn:
    """A sample before its frames are read.

    Attributes:
        record: Whose frames are shown.
        chosen: Their numbers.
        pixels: How far the camera shifts each, x and y; None where it rests.
        questions: About them.
    """

    record: TrackRecord
    chosen: list[int]
    pixels: npt.NDArray[np.int64] | None
    questions: tuple[Question, ...]


class TrackSamples:
    """An endless, numbered supply of training samples from a snapshot's training records.

    Sample `i` depends on the seed, the phase's name and `i` alone: any worker can make any sample, and a resumed run
    sees what an undisturbed one sees. A sample's first question decides between one frame and a clip by the mixture's
    weights; its others are drawn from the tasks of that kind, so every question's task follows the mixture. They go
    round the objects that the frames show.

    Args:
        folder: With `train.jsonl` and the frames that it names.
        name: Of the phase; two phases draw different samples.
        phase: Mixture and clip sampling.
        side: Pixels that frames are resized to when they are first read.
        seed: Of the draw.
        codec: How boxes are written.

    Attributes:
        codec: How boxes are written.

    Raises:
        ElysiumError: If the folder has no training record.
    """

    def __init__(
        self, folder: Path, name: str, phase: PhaseSettings, side: int, seed: int, codec: BoxCodec | None = None
    ) -> None:
        self.folder = folder
        self.records = list(read_jsonl(folder / "train.jsonl", TrackRecord))
        self._phase = phase
        self._side = side
        self.codec = codec or BoxCodec()
        self._key = (seed, zlib.crc32(name.encode()))
        self._tasks = [Task(task) for task, weight in phase.mixture.items() if weight > 0]
        weights = np.array([weight for weight in phase.mixture.values() if weight > 0], dtype=np.float64)
        self._weights = weights / weights.sum()
        if Task.VQA in self._tasks:
            raise ElysiumError("the mixture asks for vqa, but track records hold no questions; leave vqa out")
        self._siblings: dict[tuple[str, ...], list[TrackRecord]] = {}
        for record in self.records:
            self._siblings.setdefault(tuple(record.frames), []).append(record)
        # Decoded once and kept small: 100 clips of 24 frames at 64 pixels are 30 MB.
        self._frames: dict[str, npt.NDArray[np.uint8]] = {}

    def __getitem__(self, index: int) -> Sample:
        """Returns sample number `index`."""
        drawn = self._draw(index)
        frames = np.stack([self._frame(drawn.record.frames[frame]) for frame in drawn.chosen])
        if drawn.pixels is not None:
            frames = move_camera(frames, self._background(drawn.record), drawn.pixels)
        return Sample(drawn.questions, frames)

    def size(self, index: int) -> tuple[int, int]:
        """Returns how many frames sample `index` has, and words, numbers and signs behind the last; reads no frame."""
        drawn = self._draw(index)
        texts = (question.prompt.rpartition(IMAGE_TOKEN)[2] + question.answer for question in drawn.questions)
        return len(drawn.chosen), sum(len(_PIECES.findall(text)) for text in texts)

    def _draw(self, index: int) -> _Drawn:
        rng = np.random.default_rng([*self._key, index])
        first = self._tasks[int(rng.choice(len(self._tasks), p=self._weights))]
        record = self.records[int(rng.integers(len(self.records)))]
        if _is_single(first):
            chosen = [int(rng.integers(len(record.frames)))]
        else:
            chosen = sample_clip(rng, len(record.frames), self._phase.clip_frames, self._phase.clip_interval)
        same_kind = [number for number, task in enumerate(self._tasks) if _is_single(task) == _is_single(first)]
        shares = self._weights[same_kind] / self._weights[same_kind].sum()
        others = self._siblings[tuple(record.frames)]
        order = [record, *(others[i] for i in rng.permutation(len(others)) if others[i] is not record)]
        pixels, shifts = None, np.zeros((len(chosen), 2))
        if self._phase.camera_motion and rng.random() < self._phase.camera_motion:
            pixels = np.rint(sample_path(rng, _boxes(record, chosen)) * self._side).astype(np.int64)
            pixels = pixels.clip(-self._side, self._side)
            shifts = pixels / self._side
        questions = []
        for number in range(self._phase.questions):
            task = first if number == 0 else self._tasks[same_kind[int(rng.choice(len(same_kind), p=shares))]]
            phrasing = int(rng.integers(len(PHRASINGS[task])))
            asked = order[number % len(order)]
            boxes, seen = seen_boxes(_boxes(asked, chosen), shifts)
            questions.append(self._question(task, asked.object_description, boxes, seen, phrasing, rng))
        return _Drawn(record, chosen, pixels, tuple(questions))

    def _question(
        self, task: Task, expression: str, boxes: FloatArray, seen: FloatArray, phrasing: int, rng: np.random.Generator
    ) -> Question:
        """Returns a question about an object, from its boxes `(T, 4)` and the share of each that is seen `(T,)`."""
        describes = task in (Task.REG, Task.VIDEO_REG)
        stale = task is Task.SOT and seen[0] < _THERE and rng.random() < _STALE
        if stale:
            # As a tracker asks that lost its object in the clip before. Nothing says what to follow: no box is right.
            boxes, seen = fill_gone(rng, boxes, seen < _THERE), np.append(1.0, np.zeros(len(boxes) - 1))
        elif seen[0] < (_DESCRIBED if describes else _THERE):
            # What the first frame does not show cannot be asked for by its box there.
            task, describes = (Task.REC if _is_single(task) else Task.RSOT), False
        prompt = ask(task, len(boxes), expression=expression, box=boxes[0], phrasing=phrasing, codec=self.codec)
        if describes:
            return Question(task, prompt, description_answer(expression))
        gone = seen < _THERE
        if gone.any():
            boxes = fill_gone(rng, boxes, gone)
        history = None
        if self._phase.history_noise and rng.random() < _DRIFTING:
            drifted = drift(rng, boxes, self._phase.history_noise / self.codec.scale)
            history = boxes_answer(drifted, self.codec)
        return Question(
            task, prompt, boxes_answer(boxes, self.codec), history, tuple(gone.tolist()) if gone.any() else ()
        )

    def _background(self, record: TrackRecord) -> npt.NDArray[np.uint8]:
        frames = np.stack([self._frame(name) for name in record.frames])
        boxes = np.array([sibling.box for sibling in self._siblings[tuple(record.frames)]])
        return mean_background(frames, boxes)

    def _frame(self, name: str) -> npt.NDArray[np.uint8]:
        found = self._frames.get(name)
        if found is None:
            try:
                with Image.open(self.folder / name) as image:
                    found = resize_frame(image, self._side)
            except OSError as error:
                raise ElysiumError(f"the frame {self.folder / name} cannot be read: {error}") from error
            self._frames[name] = found
        return found


def _boxes(record: TrackRecord, chosen: list[int]) -> FloatArray:
    return np.array([record.box[frame] for frame in chosen])


def _is_single(task: Task) -> bool:
    return task in _SINGLE_FRAME


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


def sample_clip(rng: np.random.Generator, length: int, frames: tuple[int, int], interval: tuple[int, int]) -> list[int]:
    """Returns the frame numbers of one training clip (PROTOCOL §4).

    Number of frames and interval are drawn uniformly. Where clip x interval reaches the video's length, the interval
    falls to 1 and the clip starts at 0; a video shorter than the clip is taken whole.

    Args:
        rng: Draws.
        length: Frames of the video, at least 1.
        frames: Fewest and most frames of a clip.
        interval: Smallest and largest interval, in frames.
    """
    count = int(rng.integers(frames[0], frames[1] + 1))
    step = int(rng.integers(interval[0], interval[1] + 1))
    start_draw = rng.random()
    if count * step >= length:
        return list(range(min(count, length)))
    start = int(start_draw * (length - count * step))
    return list(range(start, start + count * step, step))
