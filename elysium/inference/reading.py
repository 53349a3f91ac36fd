"""Reading ahead: frames are decoded and scaled down beside the language model's work, a clip or two early.

On an accelerator they are encoded ahead, too. On a CPU there is nothing to win by that: the same cores would do both,
and a second thread that computes makes OpenMP's barriers, several in each layer, many times slower (measured: a nano
model's passes took 6 ms instead of 3).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from elysium.inference.engine import Encoded, Engine
from elysium.inference.results import Image, Source, SourceFrame
from elysium.model.frames import resize_frame

# Clips that are ready or being made ready before they are asked for: with one more the model never waits.
_AHEAD = 2


@dataclass(frozen=True)
class Shown:
    """A frame that the model has been shown.

    Attributes:
        index: As `SourceFrame`.
        timestamp: As `SourceFrame`.
        size: Width and height in pixels.
        image: In full size, where it is needed.
    """

    index: int
    timestamp: float
    size: tuple[int, int]
    image: Image | None


@dataclass(frozen=True)
class Chunk:
    """The new frames of one clip.

    Attributes:
        frames: What they are.
        encode: Returns what the model makes of them.
        ready: Tells whether that takes no waiting.
    """

    frames: list[Shown]
    encode: Callable[[], Encoded]
    ready: Callable[[], bool]


class ReadAhead:
    """One source's frames, a clip at a time, read by a thread of its own.

    Args:
        source: Closed at the end.
        engine: Encodes.
        encoder: Where encoding runs; None is whoever takes the frames.
        keep_images: How many frames keep their full size, from the first on; None is all.
        wake: Called whenever there may be something new.
    """

    def __init__(
        self,
        source: Source,
        engine: Engine,
        encoder: Executor | None,
        keep_images: int | None,
        wake: Callable[[], None],
    ) -> None:
        self._source = source
        self._engine = engine
        self._encoder = encoder
        self._keep_images = keep_images
        self._wake = wake
        self._live = source.info.live
        self._chunks: deque[Chunk] = deque()
        # What waits grows old: of a live source, no more than the clip that is next.
        self._room = threading.Semaphore(1 if self._live else _AHEAD)
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        # Frames that do not make a clip yet, and how many there were in the clips before.
        self._pending: list[SourceFrame] = []
        self._num_cut = 0
        self.error: Exception | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._read, name="elysium-read", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether every chunk has been taken and no more will come."""
        return self._ended and not self._chunks

    def take(self) -> Chunk | None:
        """Returns the next chunk if it is ready; of a live source, whatever has come."""
        if self._chunks:
            if not self._chunks[0].ready():
                return None
            self._room.release()
            return self._chunks.popleft()
        frames = self._cut() if self._live else []
        return self._prepare(frames) if frames else None

    def close(self) -> None:
        """Stops reading."""
        self._stopped.set()
        self._room.release()
        self._source.close()
        self._thread.join(timeout=10)

    def _read(self) -> None:
        try:
            for frame in self._source:
                if self._stopped.is_set():
                    return
                with self._lock:
                    self._pending.append(frame)
                    full = len(self._pending) >= self._engine.clip_frames - (self._num_cut > 0)
                if full:
                    self._flush()
                elif self._live:
                    self._wake()
        except Exception as error:
            # Whoever takes the chunks hears of it, after the frames that came before it.
            self.error = error
        finally:
            self._flush()
            self._ended = True
            self._source.close()
            self._wake()

    def _cut(self) -> list[tuple[SourceFrame, bool]]:
        """Returns the frames that wait, and whether each keeps its full size."""
        with self._lock:
            numbers = range(self._num_cut, self._num_cut + len(self._pending))
            keep = [self._keep_images is None or number < self._keep_images for number in numbers]
            frames = list(zip(self._pending, keep, strict=True))
            self._num_cut += len(frames)
            self._pending = []
        return frames

    def _flush(self) -> None:
        """Waits for room and puts the frames that wait there, unless they were taken meanwhile."""
        self._room.acquire()
        frames = [] if self._stopped.is_set() else self._cut()
        if frames:
            self._chunks.append(self._prepare(frames))
            self._wake()
        else:
            self._room.release()

    def _prepare(self, frames: list[tuple[SourceFrame, bool]]) -> Chunk:
        side = self._engine.processor.image_size
        small = [resize_frame(frame.image, side) for frame, _ in frames]
        shown = [
            Shown(
                frame.index,
                frame.timestamp,
                (frame.image.shape[1], frame.image.shape[0]),
                frame.image if keep else None,
            )
            for frame, keep in frames
        ]
        frames.clear()  # images that are not kept go now, not when the clip is answered
        if self._encoder is None:
            return Chunk(shown, lambda: self._engine.encode(small), lambda: True)
        future: Future[Encoded] = self._encoder.submit(self._engine.encode, small)
        future.add_done_callback(lambda _: self._wake())
        return Chunk(shown, future.result, future.done)
