"""What to read of a source: options, and which frames they choose."""

from __future__ import annotations

from dataclasses import dataclass, field

from elysium.data.limits import Limits
from elysium.errors import UsageError


@dataclass(frozen=True)
class ReadOptions:
    """How a source is read; the same for all kinds.

    Attributes:
        start: Number of the first frame.
        stop: Number of the frame to stop before; None reads to the end.
        stride: Takes every so many-th frame, counted from `start`.
        fps: Takes, for every tick of `1 / fps` seconds from `start` on, the first frame at or after it. A frame comes
            once, however many ticks it covers: where the source is slower, all its frames come. Not with a stride.
        limits: How much one video may ask of this machine.
        s3_endpoint: URL of the S3 server; None is AWS.
        allow_private_hosts: Lets http(s) addresses lead into private networks.
        buffer: Live only: frames that may wait to be taken. It bounds memory, and the delay to `buffer` frames.
        drop: Live only: whether the oldest waiting frame goes when another comes; if not, the producer waits. None
            drops for cameras and network streams and waits for pipes.
        timeout: Live only: seconds without data after which a camera or network stream is given up.
    """

    start: int = 0
    stop: int | None = None
    stride: int = 1
    fps: float | None = None
    limits: Limits = field(default_factory=Limits)
    s3_endpoint: str | None = None
    allow_private_hosts: bool = False
    buffer: int = 8
    drop: bool | None = None
    timeout: float = 10

    def __post_init__(self) -> None:
        if self.start < 0:
            raise UsageError(f"--start is the number of a frame, from 0; got {self.start}")
        if self.stop is not None and self.stop <= self.start:
            raise UsageError(f"--stop comes after --start {self.start}; got {self.stop}")
        if self.stride < 1:
            raise UsageError(f"--stride is at least 1; got {self.stride}")
        if self.fps is not None and not 0 < self.fps < float("inf"):
            raise UsageError(f"--fps is more than 0; got {self.fps:g}")
        if self.fps is not None and self.stride != 1:
            raise UsageError(f"--fps {self.fps:g} and --stride {self.stride} both choose frames: give one of the two")
        if self.buffer < 1:
            raise UsageError(f"--buffer holds at least 1 frame; got {self.buffer}")
        if not self.timeout > 0:
            raise UsageError(f"--timeout is more than 0 seconds; got {self.timeout:g}")

    def rate(self, frame_rate: float) -> float:
        """Returns the frames a second that come of so many."""
        return frame_rate / self.stride if self.fps is None else min(self.fps, frame_rate)

    def count(self, num_frames: int | None) -> int | None:
        """Returns how many frames come of so many; None where that depends on their times."""
        if num_frames is None or self.fps is not None:
            return None
        end = num_frames if self.stop is None else min(self.stop, num_frames)
        return len(range(self.start, end, self.stride))


class FrameChoice:
    """Chooses frames as they pass; of no use for a second video."""

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._origin: float | None = None
        self._last = 0.0
        self._next_tick = 0

    def is_over(self, number: int) -> bool:
        """Tells whether this frame and all later ones are beyond the range."""
        return self._options.stop is not None and number >= self._options.stop

    def takes(self, number: int, timestamp: float) -> bool:
        """Tells whether a frame is chosen; to be asked once for each frame, in order."""
        if number < self._options.start or self.is_over(number):
            return False
        if self._options.fps is None:
            return (number - self._options.start) % self._options.stride == 0
        if self._origin is None or timestamp < self._last:  # the clock was set back: begin anew from here
            self._origin, self._next_tick = timestamp, 0
        self._last = timestamp
        # Times are rounded to the container's units: a frame on a tick must not miss it by a rounding error.
        tick = (timestamp - self._origin) * self._options.fps + 1e-3
        if tick < self._next_tick:
            return False
        self._next_tick = int(tick) + 1
        return True
