"""Following objects through videos of any length: clip after clip, many objects and videos side by side (PROTOCOL §5).

Clip `c` covers frames `[(C-1)c, (C-1)c + C)`; the last box of a clip is the given box of the next, and a frame that has
its box is not asked about again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from elysium.boxes import FloatArray, normalise, to_pixels
from elysium.errors import ElysiumError, UsageError
from elysium.inference.decoding import ClipJob, Decoder
from elysium.inference.drafts import MotionDraft
from elysium.inference.engine import Encoded, Engine, Prompt
from elysium.inference.looks import Followed, Look, settle
from elysium.inference.multi import find_all
from elysium.inference.presence import Seen
from elysium.inference.reading import Chunk, ReadAhead, Shown
from elysium.inference.results import FrameResult, PixelBox, Source, TrackedObject
from elysium.inference.tracks import ClipResult, Target, TrackOptions, TrackState, VideoEnd, VideoTask
from elysium.inference.zoom import Window, choose_window
from elysium.model import VisualTokens
from elysium.prompts import Task, ask

_NOWHERE = np.full(4, np.nan)
# Seconds after which a run that waits for frames looks whether it was stopped.
_PATIENCE = 0.2


class Tracker:
    """Follows objects.

    Args:
        engine: With the model.
        options: What goes beyond the paper.

    Example:
        >>> from elysium.config import ModelSettings
        >>> from elysium.inference.memory import FrameSource
        >>> from elysium.model import build_model
        >>> tracker = Tracker(Engine(*build_model(ModelSettings(), seed=0)))
        >>> frames = FrameSource([np.zeros((48, 64, 3), np.uint8)] * 3)
        >>> [found.frame for found in tracker.follow(frames, [Target(box=(6, 5, 32, 24))])]
        [0, 1, 2]
    """

    def __init__(self, engine: Engine, options: TrackOptions | None = None) -> None:
        self.engine = engine
        self.options = options or TrackOptions()
        self._stopped = False

    def follow(self, source: Source, targets: Sequence[Target]) -> Iterator[FrameResult]:
        """Yields the results of one video, frame by frame as clips are answered.

        Raises:
            ElysiumError: If the video cannot be read to its end, after the frames before that.
        """
        for event in self.run([VideoTask(source, targets)]):
            if isinstance(event, ClipResult):
                yield from event.frames
            elif event.error is not None:
                raise event.error

    def stop(self) -> None:
        """Ends a run after the pass that it is in; may be called from a signal handler or another thread."""
        self._stopped = True

    def run(self, tasks: Iterable[VideoTask]) -> Iterator[ClipResult | VideoEnd]:
        """Follows objects in many videos; tasks are taken as earlier ones end.

        A video that fails ends early, and the others go on.

        Yields:
            Clips as they are answered, in order within a video; and each video's end.
        """
        session = _Session(self.engine, self.options)
        self._stopped = False
        try:
            for event in session.run(iter(tasks), lambda: self._stopped):
                yield event
                if self._stopped:
                    return
        finally:
            session.close()


class _Video:
    """One video on its way."""

    def __init__(self, task: VideoTask, reader: ReadAhead) -> None:
        self.task = task
        self.reader = reader
        self.objects: list[Followed] | None = None
        # The clip at hand: its frames, the first of which may be known from the clip before, and what is asked.
        self.frames: list[Shown] = []
        self.encoded: Encoded | None = None
        self.known = 0
        self.looks: list[Look] = []
        self.glances: list[Look] = []
        self.open: dict[ClipJob, list[Look]] = {}
        self.zoomed = False


class _Session:
    def __init__(self, engine: Engine, options: TrackOptions) -> None:
        self._engine = engine
        self._options = options
        self._decoder: Decoder = engine.decoder()
        on_cpu = engine.model.device.type == "cpu"
        self._encoder = None if on_cpu else ThreadPoolExecutor(1, "elysium-encode")
        self._videos: list[_Video] = []
        self._news = threading.Event()

    def run(self, tasks: Iterator[VideoTask], stopped: Callable[[], bool]) -> Iterator[ClipResult | VideoEnd]:
        more = True
        while (more or self._videos) and not stopped():
            while more and len(self._videos) < self._options.max_videos:
                task = next(tasks, None)
                more = task is not None
                if task is not None:
                    self._videos.append(_Video(task, self._open(task)))
            self._news.clear()
            progress = False
            for video in list(self._videos):
                if video.open:
                    continue
                chunk = video.reader.take()
                if chunk is not None:
                    progress = True
                    try:
                        result = self._ask(video, chunk)
                    except (ElysiumError, ValueError) as error:
                        # What this video asks for cannot be: its boxes lie outside, or its clips are too long.
                        yield self._end(video, error)
                        continue
                    if result is not None:
                        yield result
                elif video.reader.over:
                    progress = True
                    yield self._end(video, video.reader.error)
            if self._decoder.num_asks:
                for job in self._decoder.step():
                    video = next(video for video in self._videos if job in video.open)
                    result = self._take(video, job)
                    if result is not None:
                        yield result
            elif self._videos and not progress:
                # Not for ever: whoever stops the run from a signal handler must not touch the event's lock.
                self._news.wait(_PATIENCE)

    def _end(self, video: _Video, error: Exception | None) -> VideoEnd:
        self._videos.remove(video)
        video.reader.close()
        return VideoEnd(video.task, error)

    def close(self) -> None:
        for video in self._videos:
            video.reader.close()
        if self._encoder is not None:
            self._encoder.shutdown(wait=True, cancel_futures=True)

    def _open(self, task: VideoTask) -> ReadAhead:
        everything = self._options.keep_images or self._options.zoom_below is not None
        keep = None if everything else 1 if any(target.every for target in task.targets) else 0
        return ReadAhead(task.source, self._engine, self._encoder, keep, self._news.set)

    def _ask(self, video: _Video, chunk: Chunk) -> ClipResult | None:
        """Asks about the clip that a chunk completes; returns its result where there is nothing to ask."""
        fresh = chunk.encode()
        if video.objects is None:
            video.objects = self._objects(video.task, chunk.frames[0])
            resumed = video.task.state is not None and video.task.state.frame is not None
            video.known = int(resumed)
            video.frames, video.encoded = chunk.frames, fresh
        else:
            video.known = 1
            video.frames = [video.frames[-1], *chunk.frames]
            last = len(video.frames) - len(chunk.frames)
            video.encoded = _join(_last(video.encoded), fresh) if last else fresh
        video.zoomed = False
        # What was lost is no place to go on from: it is looked for frame by frame.
        followed = [target for target in video.objects if not (target.lost and self._is_glanced_at(target))]
        video.looks = [self._look(target, len(video.frames)) for target in followed]
        video.glances = []
        asked = [look for look in video.looks if not look.answer.over and not self._is_given(look, video)]
        self._submit(video, asked, video.encoded)
        self._glance(video, video.objects, video.encoded)
        return None if video.open else self._result(video)

    def _is_glanced_at(self, target: Followed) -> bool:
        return self._options.absent_below is not None and target.expression is not None

    def _glance(
        self, video: _Video, targets: Sequence[Followed], encoded: Encoded, window: Window | None = None
    ) -> None:
        """Asks for named objects in each new frame by itself, where absence may be said."""
        named = [target for target in targets if self._is_glanced_at(target)]
        given = {look.target for look in video.looks if look.first is not None}
        for frame in range(video.known, len(video.frames)):
            glances = [
                Look(target, self._engine.grammars.boxes(1).start(), None, window, frame)
                for target in named
                if frame > 0 or target not in given
            ]
            video.glances += glances
            self._submit(video, glances, encoded[slice(frame, frame + 1)])

    def _is_given(self, look: Look, video: _Video) -> bool:
        """Tells whether a clip of one frame has its box already."""
        return len(video.frames) == 1 and look.first is not None

    def _look(self, target: Followed, num_frames: int, window: Window | None = None) -> Look:
        by_name = target.expression is not None and (target.box is None or target.lost)
        first = None if by_name or target.box is None else target.box
        if first is not None and window is not None:
            first = window.inside(first)
        given = None if first is None else first.tolist()
        return Look(target, self._engine.grammars.boxes(num_frames).start(given), first, window)

    def _submit(self, video: _Video, looks: Sequence[Look], encoded: Encoded) -> None:
        """Asks about the frames that are given encoded."""
        num_frames = len(encoded)
        codec = self._engine.processor.codec
        for start in range(0, len(looks), self._engine.batch_size):
            part = looks[start : start + self._engine.batch_size]
            prompts = []
            for look in part:
                if look.first is not None:
                    text = ask(Task.SOT, num_frames, box=look.first, codec=codec)
                else:
                    task = Task.REC if num_frames == 1 else Task.RSOT
                    text = ask(task, num_frames, expression=look.target.expression)
                prompts.append(Prompt(text, look.answer, self._draft(look)))
            job = self._engine.job(encoded, prompts)
            video.open[job] = list(part)
            self._decoder.submit(job)

    def _draft(self, look: Look) -> MotionDraft | None:
        if look.frame is not None:
            return None
        if look.window is not None or look.target.draft is None or look.target.lost:
            draft = self._engine.new_draft()
            if look.window is None:
                look.target.draft = draft
        else:
            draft = look.target.draft
        if draft is not None and look.first is not None:
            draft.anchor(look.answer.grammar.steps(look.first.tolist()))
        return draft

    def _take(self, video: _Video, job: ClipJob) -> ClipResult | None:
        """Takes the answers of a job; returns the clip's result when it was the last one."""
        for look, answered in zip(video.open.pop(job), job.asks, strict=True):
            look.take(answered.chosen)
        if video.open:
            return None
        if self._options.zoom_below is not None and not video.zoomed:
            video.zoomed = True
            self._look_closer(video, self._options.zoom_below)
            if video.open:
                return None
        return self._result(video)

    def _look_closer(self, video: _Video, zoom_below: float) -> None:
        num_frames = len(video.frames)
        images = [frame.image for frame in video.frames if frame.image is not None]
        for look in list(video.looks):
            window = choose_window(look.boxes, video.frames[0].size, zoom_below) if len(look.boxes) else None
            if window is None or len(images) < num_frames or self._is_given(look, video):
                continue
            closer = self._look(look.target, num_frames, window)
            video.looks.append(closer)
            encoded = self._engine.encode([window.crop(image) for image in images])
            self._submit(video, [closer], encoded)
            self._glance(video, [look.target], encoded, window)

    def _result(self, video: _Video) -> ClipResult:
        """Returns the clip's result and moves the objects on to its last frame."""
        shown, objects, least = video.frames[video.known :], video.objects or [], self._options.absent_below
        found: dict[Followed, list[Seen]] = {}
        for target in objects:
            looks, glances = ([a for a in asked if a.target is target] for asked in (video.looks, video.glances))
            found[target] = settle(target, looks, glances, range(video.known, len(video.frames)), least)
        frames = []
        for number, frame in enumerate(shown):
            tracked = tuple(_as_tracked(target, found[target][number], frame.size) for target in objects)
            image = frame.image if self._options.keep_images else None
            frames.append(FrameResult(frame.index, frame.timestamp, frame.size, tracked, image))
        video.looks = []
        # Only what the next clip needs stays.
        last = video.frames[-1]
        video.frames, video.encoded = [last], _last(video.encoded)
        exact = [
            [(_NOWHERE if seen.box is None else seen.box, seen.sure) for seen in found[target]] for target in objects
        ]
        state = TrackState(last.index, tuple(target.state() for target in objects))
        return ClipResult(video.task, frames, exact, state)

    def _objects(self, task: VideoTask, first: Shown) -> list[Followed]:
        if task.state is not None:
            return [
                Followed(
                    entry.id,
                    entry.label,
                    entry.expression,
                    None if entry.box is None else np.array(entry.box, dtype=np.float64),
                    lost=entry.lost,
                )
                for entry in task.state.objects
            ]
        found: list[tuple[str | None, FloatArray | None]] = []
        for target in task.targets:
            if target.every and target.expression is not None and first.image is not None:
                boxes = find_all(self._engine, first.image, target.expression, self._options.max_every)
                found += [(target.expression, box) for box, _ in boxes]
            else:
                found.append((target.expression, _checked(target.box, first.size)))
        named = [name for name, _ in found]
        return [
            Followed(
                number,
                (f"{name} {number}" if named.count(name) > 1 else name) if name else f"object {number}",
                name,
                box,
            )
            for number, (name, box) in enumerate(found, start=1)
        ]


def _checked(box: PixelBox | None, size: tuple[int, int]) -> FloatArray | None:
    """Returns a box in pixels normalised.

    Raises:
        UsageError: If it lies outside of the frame.
    """
    if box is None:
        return None
    x1, y1, x2, y2 = box
    width, height = size
    if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
        raise UsageError(
            f"the box {','.join(f'{value:g}' for value in box)} lies outside of the first frame, which has {width}x"
            f"{height} pixels"
        )
    return normalise(np.array(box, dtype=np.float64), size)


def _as_tracked(target: Followed, seen: Seen, size: tuple[int, int]) -> TrackedObject:
    if seen.box is None:
        return TrackedObject(target.id, target.label, None, seen.sure, visible=False)
    x1, y1, x2, y2 = to_pixels(seen.box, size).tolist()
    return TrackedObject(target.id, target.label, (x1, y1, x2, y2), seen.sure)


def _last(encoded: Encoded | None) -> Encoded:
    if encoded is None:
        raise ValueError("there is no frame before this one")
    return encoded[-1:] if isinstance(encoded, torch.Tensor) else encoded[slice(-1, None)]


def _join(first: Encoded, second: Encoded) -> Encoded:
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return torch.cat([first, second])
    if isinstance(first, VisualTokens) and isinstance(second, VisualTokens):
        return VisualTokens.join([first, second])
    raise TypeError("clips of one model are encoded in one way")
