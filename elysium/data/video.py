"""Reading and writing video through PyAV: RGB frames with their presentation times (PROTOCOL §6, the frame rule)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from elysium.errors import ElysiumError

Image = npt.NDArray[np.uint8]

# One thread, so that the bytes do not depend on the number of cores. x264's fast paths read memory they never wrote:
# without `cpu-independent` the same frames give other bytes the second time.
H264_OPTIONS = {"crf": "16", "preset": "veryfast", "threads": "1", "x264-params": "cpu-independent=1"}


class VideoError(ElysiumError):
    """A file that is not a readable video, or a frame of it that cannot be decoded."""


@dataclass(frozen=True)
class VideoFrame:
    """One frame.

    Attributes:
        image: Shape `(height, width, 3)`, uint8, RGB, upright.
        timestamp: Presentation time in seconds.
    """

    image: Image
    timestamp: float


@dataclass(frozen=True)
class Video:
    """A whole video in memory.

    Attributes:
        frames: Shape `(num_frames, height, width, 3)`, uint8, RGB, upright.
        timestamps: Presentation times in seconds, one a frame.
        frame_rate: Mean frames a second.
    """

    frames: Image
    timestamps: list[float]
    frame_rate: float


@dataclass(frozen=True)
class VideoInfo:
    """What a file says of itself, without decoding.

    Attributes:
        width: Pixels, as shown (after rotation).
        height: Pixels, as shown.
        frame_rate: Mean frames a second.
        num_frames: Number of frames in the first video stream, counted.
        duration: Seconds from the first frame's start to the last one's end.
        codec: Name of the codec, for example `h264`.
    """

    width: int
    height: int
    frame_rate: float
    num_frames: int
    duration: float
    codec: str


def decoder() -> str:
    """Returns the name and version of what decodes here, for example `av 18.1.0`."""
    import av

    return f"av {av.__version__}"


def iterate_video(path: str | Path) -> Iterator[VideoFrame]:
    """Yields the frames of a file's first video stream in presentation order; memory does not grow with its length.

    Args:
        path: The file.

    Raises:
        VideoError: If the file is missing, is no video, or a frame is damaged; the message names file and frame.
    """
    with _open(path) as (container, stream):
        stream.thread_type = "AUTO"
        rate = _rate(stream)
        count = 0
        frames = container.decode(stream)
        while True:
            try:
                frame = next(frames, None)
            except (OSError, ValueError) as error:
                raise VideoError(f"{path}: frame {count} cannot be decoded: {_reason(error)}") from error
            if frame is None:
                break
            if frame.is_corrupt:
                raise VideoError(f"{path}: frame {count} is damaged")
            timestamp = frame.time if frame.time is not None else count / rate
            yield VideoFrame(_upright(frame.to_ndarray(format="rgb24"), frame.rotation), float(timestamp))
            count += 1
    if count == 0:
        raise VideoError(f"{path}: the video stream holds no frame")


def read_video(path: str | Path, max_frames: int | None = None) -> Video:
    """Returns a whole video.

    Args:
        path: The file.
        max_frames: Reads no more than so many frames.

    Raises:
        VideoError: As `iterate_video`.
    """
    images, timestamps = [], []
    for frame in iterate_video(path):
        images.append(frame.image)
        timestamps.append(frame.timestamp)
        if max_frames is not None and len(images) >= max_frames:
            break
    return Video(np.stack(images), timestamps, probe(path).frame_rate)


def probe(path: str | Path) -> VideoInfo:
    """Returns size, length and frame rate of a file's first video stream; packets are counted, not decoded.

    Raises:
        VideoError: If the file is missing or is no video.
    """
    with _open(path) as (container, stream):
        num_frames, first, last = 0, None, None
        try:
            for packet in container.demux(stream):
                if packet.size == 0 or packet.pts is None:
                    continue
                num_frames += 1
                first = packet.pts if first is None else min(first, packet.pts)
                end = packet.pts + (packet.duration or 0)
                last = end if last is None else max(last, end)
        except OSError as error:
            raise VideoError(f"{path}: packet {num_frames} cannot be read: {_reason(error)}") from error
        if first is None or last is None:
            raise VideoError(f"{path}: the video stream holds no frame")
        rate = _rate(stream)
        duration = float((last - first) * stream.time_base) or num_frames / rate
        width, height = stream.width, stream.height
        if _rotation(stream) % 180 == 90:
            width, height = height, width
        return VideoInfo(width, height, rate, num_frames, duration, stream.codec_context.name)


def write_video(path: str | Path, frames: Iterable[Image] | Image, frame_rate: float) -> None:
    """Writes an H.264 file that any browser plays; the same frames give the same bytes on the same machine.

    Args:
        path: Where to; the file appears only when it is whole.
        frames: Each of shape `(height, width, 3)`, uint8, RGB. H.264 in yuv420p has even sides: an odd one is made
            even by repeating its last row or column.
        frame_rate: Frames a second.

    Raises:
        ValueError: If there is no frame, or frames differ in shape or are not 8-bit RGB.
    """
    import av

    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    rate = Fraction(frame_rate).limit_denominator(1001)
    shape: tuple[int, ...] | None = None
    try:
        with av.open(
            str(temporary), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}
        ) as container:
            stream: Any = None
            for image in frames:
                if shape is None:
                    _check_frame(image)
                    shape = image.shape
                    stream = container.add_stream("libx264", rate=rate)
                    stream.width, stream.height = shape[1] + shape[1] % 2, shape[0] + shape[0] % 2
                    stream.pix_fmt = "yuv420p"
                    stream.options = H264_OPTIONS
                elif image.shape != shape:
                    raise ValueError(f"all frames need the first one's shape {shape}, got {image.shape}")
                even = np.pad(image, ((0, shape[0] % 2), (0, shape[1] % 2), (0, 0)), mode="edge")
                container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
            if stream is None:
                raise ValueError("a video needs at least one frame")
            container.mux(stream.encode())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _open(path: str | Path) -> Iterator[tuple[Any, Any]]:
    import av

    path = Path(path)
    if not path.is_file():
        raise VideoError(f"{path} does not exist")
    if path.stat().st_size == 0:
        raise VideoError(f"{path} is empty (0 bytes)")
    try:
        container = av.open(str(path), metadata_errors="replace")
    except (OSError, ValueError) as error:
        raise VideoError(f"{path} is not a video that can be read: {_reason(error)}") from error
    with container:
        if not container.streams.video:
            raise VideoError(f"{path} holds no video stream")
        yield container, container.streams.video[0]


def _check_frame(image: Image) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"a frame has shape (height, width, 3) and dtype uint8, got {image.shape}, {image.dtype}")


def _rate(stream: Any) -> float:
    return float(stream.average_rate or stream.guessed_rate or 25)


def _rotation(stream: Any) -> int:
    """Returns the display rotation that the container asks for, degrees counter-clockwise."""
    try:
        stream.container.seek(0)
        frame = next(stream.container.decode(stream), None)
    except (OSError, ValueError):
        return 0  # whoever decodes the frames says what is wrong with them
    return int(frame.rotation) if frame is not None else 0


def _upright(image: Image, rotation: int) -> Image:
    quarters = round(rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, quarters)) if quarters else image


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
