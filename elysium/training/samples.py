"""From scenes to conversations: which question, about which frames (PROTOCOL §2, §4)."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from elysium.boxes import BoxCodec
from elysium.config import PhaseSettings
from elysium.errors import ElysiumError, UsageError
from elysium.prompts import Task
from elysium.training.camera import move_camera, sample_path, seen_boxes
from elysium.training.mixture import Mixture, mixture_shares
from elysium.training.questions import Question, conversation, conversation_runs, object_question
from elysium.training.sources import Scene, Source, Thing

logger = logging.getLogger(__name__)

_SINGLE_FRAME = (Task.REC, Task.REG)
# Scenes of a set that are looked at before training: what can be asked about them.
_LOOKED_AT = 100
# For one sample, scenes that cannot be read or asked about; and of all samples, the share that may be.
_TRIES, _MOST_SKIPPED, _FEWEST_SKIPPED = 20, 0.05, 20
_LONG = 1 << 20


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
        pixels = None
        if scene.moves and self._phase.camera_motion and rng.random() < self._phase.camera_motion:
            pixels = np.rint(sample_path(rng, things[0].boxes[chosen]) * self._side).astype(np.int64)
            pixels = pixels.clip(-self._side, self._side)
        # A picture can be asked all that it has; a video either of single frames or of clips.
        kind = [task for task in possible if length == 1 or _is_single(task) == _is_single(first)]
        return _Drawn(*place, chosen, pixels, self._questions(rng, first, kind, scene, things, chosen, pixels))

    def _questions(
        self,
        rng: np.random.Generator,
        first: Task,
        kind: Sequence[Task],
        scene: Scene,
        things: Sequence[Thing],
        chosen: Sequence[int],
        pixels: npt.NDArray[np.int64] | None,
    ) -> tuple[Question, ...]:
        """Returns questions about some frames of a scene.

        Args:
            rng: Draws.
            first: The first question's task.
            kind: The others' tasks, this one among them.
            scene: That has the frames.
            things: Its objects, in the order in which they are asked for.
            chosen: Numbers of the frames.
            pixels: How far the camera shifts each.
        """
        shifts = np.zeros((len(chosen), 2)) if pixels is None else pixels / self._side
        shown = [thing for thing in things if np.isfinite(thing.boxes[list(chosen)]).all()]
        parts = conversation_runs(scene.turns) if Task.VQA in kind else []
        parts = [parts[number] for number in rng.permutation(len(parts))]
        tasks = [task for task in kind if (parts if task is Task.VQA else shown)]
        asked: list[Question] = []
        while tasks and len(asked) < self._phase.questions:
            task = self._choose(rng, tasks) if asked else first
            if task is Task.VQA:
                asked.append(conversation(rng, parts.pop(), len(chosen)))
                if not parts:
                    tasks.remove(task)
            else:
                thing = shown[len(asked) % len(shown)]
                boxes, seen = seen_boxes(thing.boxes[list(chosen)], shifts)
                noise = self._phase.history_noise
                asked.append(object_question(rng, task, thing.expression, boxes, seen, self.codec, noise))
        return tuple(asked)

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


def can_ask(task: Task, scene: Scene) -> bool:
    """Tells whether a task can be asked about a scene."""
    if task is Task.VQA:
        return bool(scene.turns)
    return bool(scene.things) and (task in _SINGLE_FRAME or (scene.num_frames or _LONG) > 1)


def _is_single(task: Task) -> bool:
    return task in _SINGLE_FRAME


def _order(rng: np.random.Generator, scene: Scene) -> list[int]:
    """Returns in which order a scene's objects are asked for."""
    count, fixed = len(scene.things), 1 if scene.leads else 0
    return [*range(fixed), *(fixed + int(number) for number in rng.permutation(count - fixed))]


def _listed(words: Collection[str]) -> str:
    return ", ".join(str(word) for word in words)


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
