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
        self._chunks: deque[Chunk] = deque()
        # What waits grows old: of a live source, no more than the clip that is next.
        self._room = threading.Semaphore(1 if source.info.live else _AHEAD)
        self._stopped = threading.Event()
        self._hungry = threading.Event()
        self._pending: list[SourceFrame] = []
        self._num_chunks = 0
        self.error: Exception | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._read, name="elysium-read", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether every chunk has been taken and no more will come."""
        return self._ended and not self._chunks

    def take(self) -> Chunk | None:
        """Returns the next chunk if it is ready."""
        if not self._chunks:
            # A live source's frames are not held back until a clip is full when the model waits for them.
            self._hungry.set()
            return None
        if not self._chunks[0].ready():
            return None
        self._hungry.clear()
        self._room.release()
        return self._chunks.popleft()

    def close(self) -> None:
        """Stops reading."""
        self._stopped.set()
        self._room.release()
        self._source.close()
        self._thread.join(timeout=10)

    def _read(self) -> None:
        live = self._source.info.live
        num_read = 0
        try:
            for frame in self._source:
                if self._stopped.is_set():
                    return
                keep = self._keep_images is None or num_read < self._keep_images
                self._pending.append(frame)
                num_read += 1
                full = len(self._pending) >= self._engine.clip_frames - (self._num_chunks > 0)
                if full or (live and self._hungry.is_set()):
                    self._flush(keep)
        except Exception as error:
            # Whoever takes the chunks hears of it, after the frames that came before it.
            self.error = error
        finally:
            if self._pending and not self._stopped.is_set():
                self._flush(self._keep_images is None or self._num_chunks == 0)
            self._ended = True
            self._source.close()
            self._wake()

    def _flush(self, keep: bool) -> None:
        frames, self._pending = self._pending, []
        side = self._engine.processor.image_size
        small = [resize_frame(frame.image, side) for frame in frames]
        shown = [
            Shown(
                frame.index,
                frame.timestamp,
                (frame.image.shape[1], frame.image.shape[0]),
                frame.image if keep else None,
            )
            for frame in frames
        ]
        del frames
        self._room.acquire()
        if self._stopped.is_set():
            return
        self._num_chunks += 1
        self._hungry.clear()
        if self._encoder is None:
            self._chunks.append(Chunk(shown, lambda: self._engine.encode(small), lambda: True))
            self._wake()
            return
        future: Future[Encoded] = self._encoder.submit(self._engine.encode, small)
        self._chunks.append(Chunk(shown, future.result, future.done))
        future.add_done_callback(lambda _: self._wake())
