"""Runs of `elysium track`: many videos into files, to be stopped and resumed at any moment."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any, Literal

import torch

from elysium.data.limits import VideoError
from elysium.errors import ElysiumError, UsageError
from elysium.inference.drawing import DrawOptions
from elysium.inference.engine import Engine
from elysium.inference.journal import Journal, identify, journal_path
from elysium.inference.planning import STDOUT, Job
from elysium.inference.progress import Progress
from elysium.inference.results import FrameResult, Source, SourceFrame, SourceInfo
from elysium.inference.sources import ReadOptions, open_source
from elysium.inference.tracker import Tracker
from elysium.inference.tracks import ClipResult, TrackOptions, TrackState, VideoTask
from elysium.inference.writers import IMAGE_FORMATS, Writer, open_writer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunOptions:
    """What is the same for all videos of a run.

    Attributes:
        read: How sources are read.
        track: What goes beyond the paper.
        draw: How results are drawn.
        resume: Goes on with a run that was cut off.
        facts: What else decides the results, as plain data: the checkpoint, say.
    """

    read: ReadOptions = field(default_factory=ReadOptions)
    track: TrackOptions = field(default_factory=TrackOptions)
    draw: DrawOptions = field(default_factory=DrawOptions)
    resume: bool = False
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of one video.

    Attributes:
        job: Which one.
        status: `stopped` and `failed` keep the frames before, and `--resume` goes on from them; `skipped` was whole
            already.
        num_frames: That are in the result files.
        error: Why it failed.
    """

    job: Job
    status: Literal["done", "failed", "stopped", "skipped"]
    num_frames: int
    error: Exception | None = None

    def as_json(self) -> dict[str, Any]:
        """Returns plain data."""
        return {
            "source": self.job.uri,
            "status": self.status,
            "frames": self.num_frames,
            "outputs": [str(output.path) for output in self.job.outputs],
            "error": None if self.error is None else str(self.error),
        }


class TrackRun:
    """A run over many videos.

    Args:
        engine: With the model.
        jobs: From `plan`.
        options: The same for all videos.
        progress: Is told how far the run is.

    Attributes:
        num_new_frames: Followed by this run, without those of the one that it resumes.
        reader_left: Whether standard output was closed by who reads it.
    """

    def __init__(self, engine: Engine, jobs: Sequence[Job], options: RunOptions, progress: Progress) -> None:
        draws = any(output.format in IMAGE_FORMATS for job in jobs for output in job.outputs)
        self._tracker = Tracker(engine, replace(options.track, keep_images=draws))
        self._jobs, self._options, self._progress = jobs, options, progress
        self._open: dict[VideoTask, _Video] = {}
        self._outcomes: list[Outcome] = []
        self._opening = False
        self.num_new_frames = 0
        self.reader_left = False

    def run(self) -> list[Outcome]:
        """Follows everything; a video that fails is told of and the others go on.

        A first SIGINT or SIGTERM ends the run cleanly: every file is whole as far as it goes, and can be resumed.

        Returns:
            What became of each video that was begun, in the order in which they ended.

        Raises:
            ElysiumError: If a result file cannot be written.
        """
        with self._progress, _signals(self._stop):
            try:
                for event in self._tracker.run(self._tasks()):
                    video = self._open[event.task]
                    if isinstance(event, ClipResult):
                        video.take(event)
                        self.num_new_frames += len(event.frames)
                        self._progress.advance(video.job.name, len(event.frames))
                    else:
                        self._close(event.task, event.error)
            except BrokenPipeError:
                # Who reads standard output has seen enough.
                self.reader_left = True
            except torch.OutOfMemoryError as error:
                raise ElysiumError(
                    f"the device's memory is not enough: {str(error).splitlines()[0]} A smaller --batch-size, "
                    "--max-videos or --clip-frames needs less; --resume goes on"
                ) from error
            finally:
                for task in list(self._open):
                    self._close(task, None, stopped=True)
        return self._outcomes

    def _tasks(self) -> Iterator[VideoTask]:
        for job in self._jobs:
            self._opening = True
            try:
                video = _open(job, self._options)
            except (ElysiumError, OSError) as error:
                self._tell(Outcome(job, "failed", 0, error))
                continue
            finally:
                self._opening = False
            if video is None:
                self._tell(Outcome(job, "skipped", 0))
                continue
            done = max(video.num_frames - 1, 0)
            total = video.source.info.num_frames
            self._progress.begin(job.name, None if total is None else total + video.num_left_out, done)
            self._open[video.task] = video
            yield video.task

    def _close(self, task: VideoTask, error: Exception | None, *, stopped: bool = False) -> None:
        video = self._open.pop(task)
        video.finish(done=error is None and not stopped)
        status: Literal["done", "failed", "stopped"] = "stopped" if stopped else "failed" if error else "done"
        self._tell(Outcome(video.job, status, video.num_frames, error))

    def _tell(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        self._progress.end(outcome.job.name)
        if outcome.status == "failed" and len(self._jobs) > 1:
            text = str(outcome.error)
            logger.error("%s", text if outcome.job.uri in text else f"{outcome.job.uri}: {text}")

    def _stop(self) -> None:
        if self._opening:
            # Opening may wait for a stream that never comes: there is nothing yet to be finished.
            raise KeyboardInterrupt
        self._tracker.stop()


class _Video:
    """A video that is being followed, with its files."""

    def __init__(self, job: Job, task: VideoTask, journal: Journal | None, writers: list[Writer]) -> None:
        self.job, self.task, self.source = job, task, task.source
        self._journal, self._writers = journal, writers
        self.num_frames = 0 if journal is None else journal.num_frames
        # Frames at the beginning that the source, opened at the resumed one, does not count.
        self.num_left_out = 0

    def take(self, event: ClipResult) -> None:
        """Writes a clip; the journal comes first, so that no file ever holds more than it.

        Raises:
            BrokenPipeError: If standard output was closed.
            ElysiumError: If a file cannot be written.
        """
        if self._journal is not None:
            self._journal.append(event.frames, event.state.as_json())
        for result in event.frames:
            self.write(result)
        self.num_frames += len(event.frames)

    def write(self, result: FrameResult) -> None:
        """Writes a frame into every file."""
        for output, writer in zip(self.job.outputs, self._writers, strict=True):
            try:
                writer.write(result)
            except BrokenPipeError:
                raise
            except OSError as error:
                again = "; --resume goes on from there" if self._journal else ""
                message = f"{output.path} cannot be written: {error.strerror or error}"
                raise ElysiumError(f"{message}; {self.num_frames} frames are done{again}") from error

    def finish(self, *, done: bool) -> None:
        """Makes the files whole; a journal that is not `done` stays for the next run."""
        for writer in self._writers:
            try:
                writer.finish()
            except OSError as error:
                done = False
                logger.error("%s: a result file cannot be finished: %s", self.job.uri, error)
        if self._journal is not None:
            self._journal.close(done)


class _Rest:
    """What is left of a source whose first frames have been read; begins with one of them."""

    def __init__(self, source: Source, first: SourceFrame, frames: Iterator[SourceFrame]) -> None:
        self._source, self._first, self._frames = source, first, frames

    @property
    def info(self) -> SourceInfo:
        return self._source.info

    def __iter__(self) -> Iterator[SourceFrame]:
        yield self._first
        yield from self._frames

    def close(self) -> None:
        self._source.close()


def _open(job: Job, options: RunOptions) -> _Video | None:
    """Opens a source and its result files, and writes what an earlier run found; None where all is whole already."""
    if options.resume and _is_whole(job):
        logger.info("%s: whole already, nothing to do", job.uri)
        return None
    journal = _open_journal(job, options)
    state = TrackState.from_json(journal.state) if journal is not None and journal.state is not None else None
    draws = any(output.format in IMAGE_FORMATS for output in job.outputs)
    read, left_out = options.read, 0
    if journal is not None and state is not None and state.frame is not None and not draws and read.fps is None:
        # Nobody needs the images of what is done; ticks of --fps are counted from the first frame.
        read, left_out = replace(read, start=state.frame), journal.num_frames - 1
    source: Source | None = None
    writers: list[Writer] = []
    try:
        source = open_source(job.uri, read)
        for output in job.outputs:
            writers.append(
                open_writer(output.path, output.format, source.info, options=options.draw, resume=state is not None)
            )
        if source.info.live and journal is not None:
            journal.close(done=True)
            journal = None
            if options.resume:
                raise UsageError(f"{job.uri}: what was live is over and cannot be resumed; leave --resume out")
        video = _Video(job, VideoTask(source, job.targets, state), journal, writers)
        if journal is not None and state is not None and state.frame is not None:
            video.task = VideoTask(_replay(video, journal, source, state.frame), job.targets, state)
            video.num_left_out = left_out
    except BaseException:
        for writer in writers:
            with contextlib.suppress(OSError):
                writer.abort()
        if source is not None:
            source.close()
        if journal is not None:
            journal.close(done=state is None)
        raise
    return video


def _open_journal(job: Job, options: RunOptions) -> Journal | None:
    files = [output.path for output in job.outputs if output.path != STDOUT]
    if not files:
        if options.resume:
            raise UsageError("a run that writes to standard output cannot be resumed; name a file with --output")
        return None
    read, track = options.read, options.track
    facts = {
        "source": identify(job.uri),
        "objects": [vars(target) for target in job.targets],
        "read": {name: getattr(read, name) for name in ("start", "stop", "stride", "fps")},
        "track": {name: getattr(track, name) for name in ("absent_below", "zoom_below", "max_every")},
        **options.facts,
    }
    files[0].parent.mkdir(parents=True, exist_ok=True)
    journal = Journal.open(files[0], facts, resume=options.resume)
    if journal.note is not None:
        logger.info("%s: %s", job.uri, journal.note)
    return journal


def _replay(video: _Video, journal: Journal, source: Source, last: int) -> Source:
    """Writes the frames that are done; returns a source that goes on with the last of them."""
    frames = iter(source)
    draws = any(output.format in IMAGE_FORMATS for output in video.job.outputs)
    frame: SourceFrame | None = None
    for result in journal.replay():
        if draws:
            frame = next(frames, None)
            if frame is None or frame.index != result.frame:
                raise VideoError(f"{video.job.uri}: frame {result.frame} is not there any more; run without --resume")
            result = replace(result, image=frame.image)
        video.write(result)
    while frame is None or frame.index < last:
        frame = next(frames, None)
        if frame is None:
            raise VideoError(f"{video.job.uri}: frame {last} is not there any more; run without --resume")
    return _Rest(source, frame, frames)


def _is_whole(job: Job) -> bool:
    """Tells whether an earlier run put all files of a job in their places."""
    files = [output.path for output in job.outputs if output.path != STDOUT]
    if not files or journal_path(files[0]).exists():
        return False
    # Several objects in files of one object each are numbered.
    return all(path.exists() or path.with_name(f"{path.stem}_1{path.suffix}").exists() for path in files)


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """Calls `stop` at the first SIGINT or SIGTERM; the second one interrupts whatever runs."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    seen = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        if seen:
            raise KeyboardInterrupt
        seen = True
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
