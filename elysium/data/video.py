"""Reading and writing video through PyAV: RGB frames with their presentation times (PROTOCOL §6, the frame rule)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from elysium.data.decoding import Image, decode_file, frame_rate, open_video, reason
from elysium.data.limits import Limits, VideoError

__all__ = [
    "Video",
    "VideoError",
    "VideoFrame",
    "VideoInfo",
    "decoder",
    "iterate_video",
    "probe",
    "read_video",
    "write_video",
]

# One thread, so that the bytes do not depend on the number of cores. x264's fast paths read memory they never wrote:
# without `cpu-independent` the same frames give other bytes the second time.
H264_OPTIONS = {"crf": "16", "preset": "veryfast", "threads": "1", "x264-params": "cpu-independent=1"}


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


def iterate_video(path: str | Path, limits: Limits | None = None) -> Iterator[VideoFrame]:
    """Yields the frames of a file's first video stream in presentation order; memory does not grow with its length.

    Args:
        path: The file.
        limits: How much it may ask of this machine; None takes the defaults.

    Raises:
        VideoError: If the file is missing, is no video, ends early, or a frame is damaged or too large; the message
            names file and frame, and the frames before have been yielded.
    """
    for decoded in decode_file(path, limits):
        yield VideoFrame(decoded.image(), decoded.timestamp)


def read_video(path: str | Path, max_frames: int | None = None) -> Video:
    """Returns a whole video.

    Args:
        path: The file.
        max_frames: Reads no more than so many frames.

    Raises:
        VideoError: As `iterate_video`, or if the frames change their size.
    """
    images: list[Image] = []
    timestamps: list[float] = []
    for frame in iterate_video(path):
        if images and frame.image.shape != images[0].shape:
            raise VideoError(
                f"{path}: frame {len(images)} has the shape {frame.image.shape}, those before it {images[0].shape}: "
                "such a video is read frame by frame"
            )
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
    with open_video(path) as (container, stream):
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
            raise VideoError(f"{path}: packet {num_frames} cannot be read: {reason(error)}") from error
        if first is None or last is None:
            raise VideoError(f"{path}: the video stream holds no frame")
        rate = frame_rate(stream)
        duration = float((last - first) * stream.time_base) or num_frames / rate
        width, height = stream.width, stream.height
        if _rotation(stream) % 180 == 90:
            width, height = height, width
        return VideoInfo(width, height, rate, num_frames, duration, stream.codec_context.name)


def write_video(
    path: str | Path,
    frames: Iterable[Image] | Image,
    frame_rate: float,
    options: Mapping[str, str] = H264_OPTIONS,
) -> None:
    """Writes an H.264 file that any browser plays; the same frames give the same bytes on the same machine.

    Args:
        path: Where to; the file appears only when it is whole.
        frames: Each of shape `(height, width, 3)`, uint8, RGB. H.264 in yuv420p has even sides: an odd one is made
            even by repeating its last row or column.
        frame_rate: Frames a second.
        options: Of the encoder.

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
                    stream.options = dict(options)
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


def _check_frame(image: Image) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"a frame has shape (height, width, 3) and dtype uint8, got {image.shape}, {image.dtype}")


def _rotation(stream: Any) -> int:
    """Returns the display rotation that the container asks for, degrees counter-clockwise."""
    try:
        stream.container.seek(0)
        frame = next(stream.container.decode(stream), None)
    except (OSError, ValueError):
        return 0  # whoever decodes the frames says what is wrong with them
    return int(frame.rotation) if frame is not None else 0
