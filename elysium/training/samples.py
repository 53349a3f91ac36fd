"""From scenes to conversations: which question, about which frames (PROTOCOL §2, §4)."""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from elysium.boxes import BoxCodec, FloatArray
from elysium.config import PhaseSettings
from elysium.errors import ElysiumError, UsageError
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
from elysium.training.camera import fill_gone, move_camera, sample_path, seen_boxes
from elysium.training.mixture import Mixture, mixture_shares
from elysium.training.sources import Scene, Source, Thing, Turn

logger = logging.getLogger(__name__)

_SINGLE_FRAME = (Task.REC, Task.REG)
_CLIP = (Task.SOT, Task.RSOT, Task.VIDEO_REG)
# Of the answers, where there is history noise: the model must also know how to go on from what is right.
_DRIFTING = 0.5
# About what tokenizers split text into.
_PIECES = re.compile(r"\d+|[^\W\d]+|[^\w\s]")
# Shares of an object's box that must be seen: for the object to be there at all, and to be described.
_THERE, _DESCRIBED = 0.15, 0.7
# Of the objects to be followed from a box that are not in the first frame: given by a box that shows something else.
_STALE = 0.5
# Words, numbers and signs of a conversation that is asked as one; a longer one is asked in parts.
CONVERSATION = 512
# An answer of so many words is asked for as a short one.
_SHORT_WORDS = 3
# Scenes of a set that are looked at before training: what can be asked about them.
_LOOKED_AT = 100
# For one sample, scenes that cannot be read or asked about; and of all samples, the share that may be.
_TRIES, _MOST_SKIPPED, _FEWEST_SKIPPED = 20, 0.05, 20
_LONG = 1 << 20


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


@dataclass(frozen=True)
class Sample:
    """Frames, and the questions that are asked about them, each a conversation of its own.

    Attributes:
        questions: At least one; their prompts are the same up to the last `<image>`.
        frames: Shape `(T, side, side, 3)`, uint8, RGB.
        source: Number of the data set that it comes from.
    """

    questions: tuple[Question, ...]
    frames: npt.NDArray[np.uint8]
    source: int = 0


@dataclass(frozen=True)
class _Drawn:
    """A sample before its frames are read.

    Attributes:
        source: Number of its data set.
        number: Of its scene in there.
        chosen: Numbers of the frames.
        pixels: How far the camera shifts each, x and y; None where it rests.
        questions: About them.
    """

    source: int
    number: int
    chosen: list[int]
    pixels: npt.NDArray[np.int64] | None
    questions: tuple[Question, ...]


class TrainingSamples:
    """An endless, numbered supply of training samples from a phase's data sets.

    Sample `i` depends on the seed, the phase's name and `i` alone: any worker can make any sample, and a resumed run
    sees what an undisturbed one sees. Which scene it shows, the mixture of data sets says; its first question's task is
    drawn from those that the scene can be asked, by the mixture of tasks; its others from those that can be asked about
    the same frames. They go round the objects that the frames show, and the parts of its conversation.

    A scene of an imported set that cannot be read is passed over, with a warning, for another one of its set.

    Args:
        sources: Data sets, as `open_sources` opens them.
        name: Of the phase; two phases draw different samples.
        phase: Mixtures and clip sampling.
        side: Pixels of a frame's sides.
        seed: Of the draw.
        codec: How boxes are written.

    Attributes:
        codec: How boxes are written.
        names: Of the data sets.
        shares: Of the samples that each data set gives.

    Raises:
        UsageError: If a data set has nothing to ask, no set can be asked a task of the mixture, or boxes in the text of
            a set are written in other numbers than the model's.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        name: str,
        phase: PhaseSettings,
        side: int,
        seed: int,
        codec: BoxCodec | None = None,
    ) -> None:
        self._sources = list(sources)
        self._phase = phase
        self._side = side
        self.codec = codec or BoxCodec()
        self.names = [source.name for source in sources]
        self._weights = {Task(task): weight for task, weight in phase.mixture.items() if weight > 0}
        self._key = (seed, zlib.crc32(name.encode()))
        sizes, weights = [len(source) for source in sources], [phase.sets[source.name] for source in sources]
        self.shares = mixture_shares(sizes, weights, phase.temperature)
        self._mixture = Mixture(sizes, self.shares, self._key, [source.group for source in sources])
        self._made, self._skipped = 0, 0
        self._check()

    def __getitem__(self, index: int) -> Sample:
        """Returns sample number `index`.

        Raises:
            ElysiumError: If frames of the run's own tracks cannot be read, or too many scenes of imported sets.
        """
        self._made += 1
        for attempt in range(_TRIES):
            number: tuple[int, int] | None = None
            try:
                number = self._scene_number(index, attempt)
                drawn = self._draw(index, number)
                if drawn is not None:
                    return Sample(drawn.questions, self._frames(drawn), drawn.source)
            except UsageError:
                raise
            except ElysiumError as error:
                if number is None or not self._sources[number[0]].skips:
                    raise
                self._skip(number, error)
        raise ElysiumError(
            f"sample {index}: {_TRIES} scenes of {self.names[number[0]] if number else 'a set'} in a row have nothing "
            "to ask or cannot be read; import the set anew, or leave it out of the mixture"
        )

    def size(self, index: int) -> tuple[int, int]:
        """Returns how many frames sample `index` has, and words, numbers and signs behind the last; reads no frame."""
        for attempt in range(_TRIES):
            drawn = self._draw(index, self._scene_number(index, attempt), reads=False)
            if drawn is not None:
                return len(drawn.chosen), sum(question.num_pieces for question in drawn.questions)
        return 1, 0

    def _check(self) -> None:
        """Looks at a few scenes of each data set, before any work is done."""
        asked: set[Task] = set()
        for source in self._sources:
            numbers = range(0, len(source), max(1, len(source) // _LOOKED_AT))
            scenes = [source.scene(number) for number in numbers]
            possible = [task for task in Task if any(can_ask(task, scene) for scene in scenes)]
            tasks = set(possible) & self._weights.keys()
            if not tasks:
                raise UsageError(
                    f"{source.name} can be asked {_listed(possible)}, and the mixture has {_listed(self._weights)} "
                    "alone; add one of those to the mixture, or leave the set out of sets"
                )
            asked |= tasks
            turns = any(scene.turns for scene in scenes)
            if turns and Task.VQA in tasks and source.codec is not None and source.codec != self.codec:
                raise UsageError(
                    f"the text of {source.name} writes boxes as {source.codec}, and the model as {self.codec}; import "
                    "it with the model's (import_set(..., codec=...)), or leave the set out"
                )
        missing = [task for task in self._weights if task not in asked]
        if missing:
            raise UsageError(
                f"the mixture asks for {_listed(missing)}, but {_listed(self.names)} can be asked {_listed(asked)} "
                f"alone; leave {_listed(missing)} out, or add a data set to sets"
            )

    def _scene_number(self, index: int, attempt: int) -> tuple[int, int]:
        source, number = self._mixture[index]
        if attempt:
            rng = np.random.default_rng([*self._key, index, attempt])
            number = int(rng.integers(len(self._sources[source])))
        return source, number

    def _frames(self, drawn: _Drawn) -> npt.NDArray[np.uint8]:
        source = self._sources[drawn.source]
        frames = source.frames(drawn.number, drawn.chosen)
        return frames if drawn.pixels is None else move_camera(frames, source.background(drawn.number), drawn.pixels)

    def _skip(self, number: tuple[int, int], error: ElysiumError) -> None:
        self._skipped += 1
        source = self._sources[number[0]]
        logger.warning("a scene of %s (number %d) is passed over: %s", source.name, number[1], error)
        if self._skipped >= _FEWEST_SKIPPED and self._skipped > _MOST_SKIPPED * self._made:
            raise UsageError(
                f"{self._skipped} scenes for {self._made} samples could not be read, the last one of {source.name}: "
                f"{error}. Bring the pictures back, say where they are (training.image_roots), or import the set anew"
            )

    def _draw(self, index: int, place: tuple[int, int], *, reads: bool = True) -> _Drawn | None:
        """Returns what is asked about a scene; None if there is nothing.

        Args:
            index: Of the sample.
            place: Of the scene: number of its set, and its own in there.
            reads: Looks into a video for its length if need be; else it is taken to be long enough.
        """
        rng = np.random.default_rng([*self._key, index])
        source = self._sources[place[0]]
        scene = source.scene(place[1])
        possible = [task for task in self._weights if can_ask(task, scene)]
        if not possible:
            return None
        first = self._choose(rng, possible)
        things = [scene.things[number] for number in _order(rng, scene)]
        length = scene.num_frames or (source.count(place[1]) if reads else _LONG)
        chosen = self._choose_frames(rng, first, things[0] if things and first is not Task.VQA else None, length)
        shown = [thing for thing in things if np.isfinite(thing.boxes[chosen]).all()]
        pixels, shifts = None, np.zeros((len(chosen), 2))
        if scene.moves and self._phase.camera_motion and rng.random() < self._phase.camera_motion:
            pixels = np.rint(sample_path(rng, things[0].boxes[chosen]) * self._side).astype(np.int64)
            pixels = pixels.clip(-self._side, self._side)
            shifts = pixels / self._side
        runs = conversation_runs(scene.turns) if Task.VQA in possible else []
        # Of the tasks that can be asked about these frames. A picture can be asked all that it has; a video either way.
        kind = [
            task
            for task in possible
            if (runs if task is Task.VQA else shown) and (length == 1 or _is_single(task) == _is_single(first))
        ]
        runs = [runs[number] for number in rng.permutation(len(runs))]
        questions: list[Question] = []
        for number in range(self._phase.questions):
            task = first if number == 0 else self._choose(rng, kind)
            if task is Task.VQA:
                if runs:
                    questions.append(self._conversation(rng, runs.pop(), len(chosen)))
                if not runs:
                    kind = [other for other in kind if other is not Task.VQA]
            else:
                thing = shown[number % len(shown)]
                boxes, seen = seen_boxes(thing.boxes[chosen], shifts)
                phrasing = int(rng.integers(len(PHRASINGS[task])))
                questions.append(self._question(task, thing.expression, boxes, seen, phrasing, rng))
            if not kind:
                break
        return _Drawn(*place, chosen, pixels, tuple(questions))

    def _choose(self, rng: np.random.Generator, tasks: Sequence[Task]) -> Task:
        weights = np.array([self._weights[task] for task in tasks])
        return tasks[int(rng.choice(len(tasks), p=weights / weights.sum()))]

    def _choose_frames(self, rng: np.random.Generator, task: Task, thing: Thing | None, length: int) -> list[int]:
        """Returns the frames that a task is asked about: of those that show the object, where one is asked for."""
        there = None if thing is None else np.flatnonzero(np.isfinite(thing.boxes).all(axis=1))
        if there is not None:
            length = len(there)
        if length == 1 or _is_single(task):
            chosen = [int(rng.integers(length))]
        else:
            chosen = sample_clip(rng, length, self._phase.clip_frames, self._phase.clip_interval)
        return chosen if there is None else there[chosen].tolist()

    def _conversation(self, rng: np.random.Generator, turns: Sequence[Turn], num_frames: int) -> Question:
        phrasing = int(rng.integers(len(SHORT_ANSWER)))
        asked = [Turn(_asked(turn, SHORT_ANSWER[phrasing]), turn.answer) for turn in turns]
        prompt = ask(Task.VQA, num_frames, question=asked[0].question, codec=self.codec)
        return Question(Task.VQA, prompt, asked[0].answer, more=tuple(asked[1:]))

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


def can_ask(task: Task, scene: Scene) -> bool:
    """Tells whether a task can be asked about a scene."""
    if task is Task.VQA:
        return bool(scene.turns)
    return bool(scene.things) and (task in _SINGLE_FRAME or (scene.num_frames or _LONG) > 1)


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


def _asked(turn: Turn, hint: str) -> str:
    is_short = len(turn.answer.split()) <= _SHORT_WORDS and not turn.answer.rstrip().endswith(".")
    return f"{turn.question}\n{hint}" if is_short else turn.question


def _order(rng: np.random.Generator, scene: Scene) -> list[int]:
    """Returns in which order a scene's objects are asked for."""
    count, fixed = len(scene.things), 1 if scene.leads else 0
    return [*range(fixed), *(fixed + int(number) for number in rng.permutation(count - fixed))]


def _listed(words: Collection[str]) -> str:
    return ", ".join(str(word) for word in words)


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
