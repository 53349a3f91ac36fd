"""Objects to follow in frames that are in memory: what evaluation asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from elysium.boxes import FloatArray
from elysium.inference.engine import Engine
from elysium.inference.results import Image, SourceFrame, SourceInfo
from elysium.inference.tracker import Tracker
from elysium.inference.tracks import ObjectState, TrackOptions, TrackState, VideoEnd, VideoTask


@dataclass(frozen=True)
class TrackRequest:
    """One object to follow.

    Attributes:
        frames: Each `(height, width, 3)`, uint8, RGB. Requests with the very same list share all work on its frames.
        box: The object's box in the first frame, normalised `(x1, y1, x2, y2)`; or give the expression.
        expression: The object's name.
    """

    frames: Sequence[Image]
    box: npt.ArrayLike | None = None
    expression: str | None = None

    def __post_init__(self) -> None:
        if (self.box is None) == (self.expression is None):
            raise ValueError("a track begins with a box or an expression: give one of the two")
        if len(self.frames) == 0:
            raise ValueError("a track needs at least one frame, got none")


@dataclass(frozen=True)
class TrackAnswer:
    """One object, followed.

    Attributes:
        boxes: Shape `(T, 4)`, normalised `(x1, y1, x2, y2)`; a given first box comes back as it was given. NaN where
            the object is said to be absent, which needs an option.
        confidence: Shape `(T,)`, in [0, 1], as `elysium.inference.engine.confidence_of` defines it; 1 for a given box.
        num_failures: Frames whose answer was no box; with guided decoding always 0.
    """

    boxes: FloatArray
    confidence: FloatArray
    num_failures: int = 0


class FrameSource:
    """Frames in memory, as a source.

    Args:
        frames: Each `(height, width, 3)`, uint8, RGB.
        frame_rate: Frames a second.
        name: What result files are called after.
    """

    def __init__(self, frames: Sequence[Image], frame_rate: float = 25.0, name: str = "frames") -> None:
        self._frames = frames
        self._info = SourceInfo(name, frame_rate, len(frames))

    @property
    def info(self) -> SourceInfo:
        """Name, rate and number."""
        return self._info

    def __iter__(self) -> Iterator[SourceFrame]:
        """Yields the frames."""
        for index, image in enumerate(self._frames):
            yield SourceFrame(index, index / self._info.frame_rate, image)

    def close(self) -> None:
        """There is nothing to let go of."""


def track(engine: Engine, requests: Sequence[TrackRequest], options: TrackOptions | None = None) -> list[TrackAnswer]:
    """Follows objects through frames in memory, all requests side by side.

    Args:
        engine: With the model.
        requests: What to follow.
        options: What goes beyond the paper.

    Returns:
        One answer a request, in order.

    Example:
        >>> from elysium.config import ModelSettings
        >>> from elysium.model import build_model
        >>> engine = Engine(*build_model(ModelSettings(), seed=0))
        >>> frames = [np.zeros((64, 64, 3), np.uint8)] * 3
        >>> engine.track([TrackRequest(frames, box=[0.1, 0.1, 0.5, 0.5])])[0].boxes.shape
        (3, 4)
    """
    answers: dict[int, TrackAnswer] = {}
    for number, answer, error in track_each(engine, requests, options):
        if error is not None:
            raise error
        answers[number] = answer
    return [answers[number] for number in range(len(requests))]


def track_each(
    engine: Engine, requests: Sequence[TrackRequest], options: TrackOptions | None = None
) -> Iterator[tuple[int, TrackAnswer, Exception | None]]:
    """Follows as `track` does, but gives each answer when it is there; later videos take the place of those that ended.

    Yields:
        The request's number; its answer; and what cut it short, where something did: its boxes are NaN from there on.
    """
    groups: dict[int, list[int]] = {}
    for number, request in enumerate(requests):
        groups.setdefault(id(request.frames), []).append(number)
    numbers: dict[VideoTask, list[int]] = {}
    rows: dict[VideoTask, list[list[tuple[FloatArray, float]]]] = {}

    def tasks() -> Iterator[VideoTask]:
        for members in groups.values():
            task = _task(requests, members)
            numbers[task], rows[task] = members, [[] for _ in members]
            yield task

    for event in Tracker(engine, options).run(tasks()):
        if isinstance(event, VideoEnd):
            for number, row in zip(numbers.pop(event.task), rows.pop(event.task), strict=True):
                yield number, _answer(row, requests[number]), event.error
        else:
            for row, found in zip(rows[event.task], event.normalised, strict=True):
                row += found


def _task(requests: Sequence[TrackRequest], members: Sequence[int]) -> VideoTask:
    objects = []
    for place, number in enumerate(members, start=1):
        request = requests[number]
        given = None if request.box is None else _four(request.box)
        objects.append(ObjectState(place, request.expression or "object", request.expression, given))
    return VideoTask(FrameSource(requests[members[0]].frames), (), TrackState(None, tuple(objects)))


def _answer(row: Sequence[tuple[FloatArray, float]], request: TrackRequest) -> TrackAnswer:
    boxes, confidence = np.full((len(request.frames), 4), np.nan), np.zeros(len(request.frames))
    if request.box is not None:
        boxes[0], confidence[0] = _four(request.box), 1.0
    for frame, (box, figure) in enumerate(row):
        boxes[frame], confidence[frame] = box, figure
    return TrackAnswer(boxes, confidence)


def _four(box: npt.ArrayLike) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = np.asarray(box, dtype=np.float64).reshape(4).tolist()
    return x1, y1, x2, y2
