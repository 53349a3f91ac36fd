"""Sources that do not wait: cameras, network streams and pipes, read in a thread into a buffer of bounded size."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from elysium.data.decoding import DecodedFrame, FrameReader, StreamError, frame_rate, reason, video_stream
from elysium.data.limits import VideoError
from elysium.inference.choice import FrameChoice, ReadOptions
from elysium.inference.results import SourceFrame, SourceInfo

# How long `close` waits for the reading thread. One that hangs inside a driver ends at its own timeout; it is a daemon
# and holds nobody up.
_PATIENCE = 2.0


class LiveSource:
    """Frames at the producer's pace.

    A thread reads ahead. When nobody takes the frames, at most `buffer` wait: then, as the options say, the oldest goes
    for each that comes, and what is taken is never older than `buffer` frames; or the producer has to wait.

    Attributes:
        dropped: Frames that went because nobody took them in time; they are missing in the frame numbers.
    """

    def __init__(
        self,
        open_container: Callable[[], Any],
        options: ReadOptions,
        name: str,
        *,
        drop: bool,
        shown: str,
        pipe: PipeFile | None = None,
    ) -> None:
        """Opens the stream and reads its header; frames are read from the first iteration on.

        Args:
            open_container: Gives PyAV's container.
            options: What to read of it.
            name: What result files are called after.
            drop: Whether late frames go, where the options do not say.
            shown: What messages call the stream; no passwords.
            pipe: What the container reads, if it is a pipe.

        Raises:
            VideoError: If it cannot be opened, or its frames are too large.
        """
        import av

        self.dropped = 0
        self._options, self._shown, self._pipe = options, shown, pipe
        self._drop = drop if options.drop is None else options.drop
        self._buffer: deque[DecodedFrame] = deque()
        self._changed = threading.Condition()
        self._ended = self._closed = False
        self._error: VideoError | None = None
        self._thread: threading.Thread | None = None
        self._container: Any = None
        began = time.monotonic()
        try:
            self._container = open_container()
            stream = video_stream(self._container, shown, options.limits)
            if pipe is not None and pipe.interrupt is not None:
                raise pipe.interrupt
        except BaseException as error:
            self.close()
            if pipe is not None and pipe.interrupt is not None:
                raise pipe.interrupt from None
            if isinstance(error, av.FFmpegError | OSError | ValueError):
                # Some protocols turn the end of the patience into an error of their own.
                waited = pipe is None and time.monotonic() - began >= options.timeout
                why = self._explain(av.error.ExitError(0, "") if waited else error)
                raise VideoError(f"{shown} cannot be opened: {why}") from error
            raise
        self._reader = FrameReader(self._container, stream, shown, options.limits, tolerant=True)
        self._info = SourceInfo(name, options.rate(frame_rate(stream)), None, live=True)

    @property
    def info(self) -> SourceInfo:
        """What the stream's beginning tells; its length is unknown."""
        return self._info

    @property
    def damaged(self) -> int:
        """Frames that could not be decoded; they too are missing in the frame numbers."""
        return self._reader.damaged

    def __iter__(self) -> Iterator[SourceFrame]:
        """Yields frames until the stream ends or the source is closed.

        Raises:
            VideoError: If the stream breaks off or sends frames that are too large.
        """
        with self._changed:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._read, name=f"read {self._info.name}", daemon=True)
                self._thread.start()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._buffer or self._ended or self._closed)
                if self._closed:
                    return
                if not self._buffer:
                    break
                decoded = self._buffer.popleft()
                self._changed.notify_all()
            yield SourceFrame(decoded.number, decoded.timestamp, decoded.image())
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Ends the iteration and the thread, also while the stream is silent."""
        with self._changed:
            self._closed = True
            self._buffer.clear()
            self._changed.notify_all()
        if self._pipe is not None:
            self._pipe.hang_up()
        if self._thread is None:
            self._release()  # nobody ever read: there is no thread that would
        elif self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE)

    def _read(self) -> None:
        choice, began = FrameChoice(self._options), False
        try:
            for decoded in self._reader.frames():
                if self._closed or choice.is_over(decoded.number):
                    break
                if choice.takes(decoded.number, decoded.timestamp):
                    self._put(decoded)
                began = True
                if choice.is_over(decoded.number + 1):
                    break  # the frame after it may never come
        except StreamError as error:
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            self._error = VideoError(f"{self._shown}: the stream broke off: {self._explain(cause, began)}")
        except VideoError as error:
            self._error = error
        except Exception as error:  # a thread has nobody above it: whoever iterates is told
            self._error = VideoError(f"{self._shown} cannot be read: {reason(error)}")
        finally:
            self._release()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _release(self) -> None:
        """Closes what is open; while the thread lives only it may, for it could be in the middle of a read."""
        if self._container is not None:
            self._container.close()
        if self._pipe is not None:
            self._pipe.close()

    def _explain(self, error: Exception, began: bool = False) -> str:
        """Returns what went wrong and what can be done about it; `began` tells that frames came before."""
        import av

        if isinstance(error, av.error.ExitError):
            hint = "" if began else "; does the sender run, and is the address right?"
            return f"nothing came for {self._options.timeout:g} s (--timeout){hint}"
        if isinstance(error, av.error.ProtocolNotFoundError):
            return "FFmpeg, as it was built for this PyAV, does not speak this protocol"
        if self._pipe is not None and not began:
            return f"{reason(error)}; a pipe needs a format that can be read as it comes, such as mpegts"
        return reason(error)

    def _put(self, decoded: DecodedFrame) -> None:
        with self._changed:
            if not self._drop:
                self._changed.wait_for(lambda: len(self._buffer) < self._options.buffer or self._closed)
            elif len(self._buffer) == self._options.buffer:
                self._buffer.popleft()
                self.dropped += 1
            if not self._closed:
                self._buffer.append(decoded)
                self._changed.notify_all()


class PipeFile:
    """The reading end of a pipe as a file whose `read` can be hung up from another thread.

    Attributes:
        interrupt: What interrupted `read`, if it was: PyAV passes on errors, but not this.
    """

    def __init__(self, descriptor: int, *, owned: bool) -> None:
        """Takes a file descriptor; `owned` ones are closed at the end."""
        self._descriptor, self._owned = descriptor, owned
        self._wake, self._waker = os.pipe()
        self._lock = threading.Lock()
        self._open = True
        self.interrupt: KeyboardInterrupt | None = None

    def read(self, size: int) -> bytes:
        """Returns what has come, at most `size` bytes; nothing at the end or once hung up."""
        while self._open:
            try:
                ready, _, _ = select.select([self._descriptor, self._wake], [], [])
            except KeyboardInterrupt as error:
                self.interrupt = error
                self.hang_up()
                break
            if self._wake in ready:
                break
            try:
                return os.read(self._descriptor, size)
            except BlockingIOError:  # a pipe without waiting, of which somebody else took the data
                continue
        return b""

    def hang_up(self) -> None:
        """Makes `read` return nothing, also one that waits; may be called twice."""
        with self._lock:
            if self._open:
                self._open = False
                os.write(self._waker, b"x")

    def close(self) -> None:
        """Closes the descriptors; to be called when nobody reads any more."""
        self.hang_up()
        with self._lock:
            for descriptor in (self._wake, self._waker, *([self._descriptor] if self._owned else [])):
                if descriptor >= 0:
                    os.close(descriptor)
            self._wake = self._waker = self._descriptor = -1
