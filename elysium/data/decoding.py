"""Decoding with PyAV, one frame at a time: limits against bombs, and errors that keep the frames before them.

Frames are as stored, turned upright: a sample aspect ratio is ignored, so that boxes are in stored pixels; transparent
parts are seen before black; more than 8 bits are rounded to 8, without tone mapping.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from elysium.data.limits import LengthError, Limits, NoVideoError, VideoError
from elysium.data.pictures import over_black
from elysium.data.seeking import keyframe_before, seek
from elysium.data.truncation import missing_bytes

Image = npt.NDArray[np.uint8]

# What may be inside a file. Playlists (HLS, DASH, concat, SDP, IMF) are not among it: they make the reader open
# whatever files and addresses they name.
_FORMATS = (
    "aac,ac3,aiff,amr,apng,asf,av1,avi,bmp_pipe,caf,cavsvideo,dirac,dnxhd,dv,evc,f4v,flac,flv,gif,gxf,h261,h263,h264,"
    "hevc,ivf,jpeg_pipe,jpegxl_pipe,live_flv,m4v,matroska,mjpeg,mov,mp3,mp4,mpeg,mpegts,mpegvideo,mpjpeg,mxf,nut,obu,"
    "ogg,png_pipe,ppm_pipe,rm,swf,tiff_pipe,vc1,vvc,w64,wav,webm,webp_pipe,wtv,yuv4mpegpipe"
)
# Broadcasts are cut out of a running stream: they begin in the middle of a group of pictures.
_STREAMS = frozenset({"mpegts", "mpeg", "mpegvideo", "h264", "hevc", "rtsp", "flv", "live_flv"})
# One damaged header may claim any size; when so many frames in a row are too large, they really are.
_TOO_LARGE = 10
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<MPD", b"v=0", b"[playlist]")


class StreamError(VideoError):
    """A live stream that cannot be read any further; the cause is what the reader said."""


@dataclass(frozen=True)
class DecodedFrame:
    """A frame that is not yet converted: one that is skipped costs no conversion.

    Attributes:
        number: In the video, from 0.
        timestamp: Presentation time in seconds.
        frame: PyAV's.
    """

    number: int
    timestamp: float
    frame: Any

    def image(self, longest: int | None = None) -> Image:
        """Returns the pixels, shape `(height, width, 3)`, uint8, RGB, upright.

        Args:
            longest: Scales a frame down whose longer side exceeds so many pixels, as it is converted; None never does.
        """
        parts, size = self.frame.format, _fitted(self.frame.width, self.frame.height, longest)
        if parts.has_palette or any(component.is_alpha for component in parts.components):
            pixels = over_black(self.frame.to_ndarray(format="rgba", **size))
        else:
            pixels = self.frame.to_ndarray(format="rgb24", **size)
        quarters = round(self.frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels


def _fitted(width: int, height: int, longest: int | None) -> dict[str, Any]:
    """Returns the arguments that make PyAV scale a frame; none where it is small enough."""
    if longest is None or max(width, height) <= longest:
        return {}
    factor = longest / max(width, height)
    return {
        "width": max(1, round(width * factor)),
        "height": max(1, round(height * factor)),
        "interpolation": "AREA",
    }


class FrameReader:
    """The frames of one open stream, numbered.

    Decoding is threaded by slice and not by frame: with several frames in flight the decoder reports damage late, at
    the wrong frame or not at all, and loses the frames before it.

    Attributes:
        damaged: Frames left out so far because they could not be decoded.
    """

    def __init__(
        self, container: Any, stream: Any, name: str, limits: Limits | None = None, *, tolerant: bool = False
    ) -> None:
        """Prepares to read from where the container stands.

        Args:
            container: From `open_video`, or opened with `options_for`.
            stream: Which one, from `video_stream`.
            name: What messages call the video.
            limits: None takes the defaults.
            tolerant: Leaves damaged frames out, as is right for a live stream, and does not end at them. Neither time
                nor bytes are limited then.
        """
        self.damaged = 0
        self._container, self._stream, self._name = container, stream, name
        self._limits = limits or Limits()
        self._tolerant = tolerant
        self._lenient = container.format.name in _STREAMS
        self._codec_limit = int(options_for(self._limits)["max_pixels"])
        stream.codec_context.options = {"max_pixels": str(self._codec_limit)}
        stream.thread_type = "SLICE"

    def frames(self, first: int = 0) -> Iterator[DecodedFrame]:
        """Yields the frames in presentation order.

        Args:
            first: Number of the frame that comes next.

        Raises:
            VideoError: If a frame cannot be decoded or a limit is exceeded; all frames before it have been yielded.
        """
        rate, count, decoded_bytes, began = frame_rate(self._stream), first, 0, None
        too_large = 0
        for frame in self._decode():
            if isinstance(frame, Exception) or frame.is_corrupt:
                if self._tolerant or (self._lenient and count == 0):
                    too_large = too_large + 1 if self._is_too_large() else 0
                    if too_large == _TOO_LARGE:
                        self._check_codec(count)
                    self.damaged += 1
                    count += self._tolerant
                    continue
                if isinstance(frame, Exception):
                    self._check_codec(count)
                    raise VideoError(f"{self._name}: frame {count} cannot be decoded: {reason(frame)}") from frame
                raise VideoError(f"{self._name}: frame {count} is damaged")
            too_large = 0
            self._limits.check_size(frame.width, frame.height, f"{self._name}: frame {count}")
            timestamp = self._time_of(frame, count / rate)
            began = timestamp if began is None else began
            decoded_bytes += 3 * frame.width * frame.height
            if not self._tolerant:
                self._check_amount(count, timestamp - began, decoded_bytes)
            yield DecodedFrame(count, timestamp, frame)
            count += 1

    def _decode(self) -> Iterator[Any]:
        """Yields frames, and what goes wrong as exceptions in their place; ends after one unless it may be left out."""
        packets, begun = self._container.demux(self._stream), False
        while True:
            try:
                packet = next(packets, None)
            except _errors() as error:
                # Nothing more can be read; what was read before is still in the decoder.
                yield from self._drain(None)
                if self._tolerant:
                    raise StreamError(f"{self._name}: the stream broke off: {reason(error)}") from error
                yield error
                return
            if packet is None:
                return
            try:
                # A transport stream marks packets after any loss, also whole ones: the decoder knows better.
                if packet.is_corrupt and not (self._lenient or self._tolerant):
                    raise ValueError("it is incomplete in the file")
                frames = packet.decode()
            except _errors() as error:
                may_go_on = self._tolerant or (self._lenient and not begun)
                if not may_go_on:
                    yield from self._drain(packet.pts)
                yield error
                if not may_go_on:
                    return
                continue
            for frame in frames:
                begun = begun or not frame.is_corrupt
                yield frame

    def _drain(self, before: int | None) -> Iterator[Any]:
        """Yields the frames that wait in the decoder, those shown before a time."""
        try:
            frames = self._stream.codec_context.decode(None)
        except _errors():
            return
        for frame in frames:
            if before is None or (frame.pts is not None and frame.pts < before):
                yield frame

    def _time_of(self, frame: Any, otherwise: float) -> float:
        """Returns a frame's presentation time; one that was drained from the decoder knows no unit of time itself."""
        if frame.pts is None:
            return otherwise
        unit = frame.time_base or self._stream.time_base
        # As exact as the product of fractions, and ten times as fast.
        return float(frame.pts * unit.numerator / unit.denominator)

    def _check_codec(self, count: int) -> None:
        """Says so if the decoder gave up because of the size, or may have."""
        codec = self._stream.codec_context
        if codec.width * codec.height == 0:
            raise VideoError(
                f"{self._name}: frame {count} cannot be decoded; it has no size, or one over the limit of "
                f"{self._limits.max_pixels} pixels (--max-pixels)"
            )
        if self._is_too_large():
            self._limits.check_size(codec.width, codec.height, f"{self._name}: frame {count}")

    def _is_too_large(self) -> bool:
        codec = self._stream.codec_context
        return bool(codec.width * codec.height > self._codec_limit)

    def _check_amount(self, count: int, seconds: float, decoded_bytes: int) -> None:
        if seconds > self._limits.max_seconds:
            raise LengthError(
                f"{self._name}: frame {count} comes {seconds:.1f} s after the first, over the limit of "
                f"{self._limits.max_seconds:g} s (--max-seconds)"
            )
        if decoded_bytes > self._limits.max_decoded_bytes:
            raise VideoError(
                f"{self._name}: with frame {count} the video has unfolded to {decoded_bytes / 2**20:.0f} MiB, over the "
                f"limit of {self._limits.max_decoded_bytes / 2**20:g} MiB (--max-decoded-bytes)"
            )


def decode_file(path: str | Path, limits: Limits | None = None, start: int = 0) -> Iterator[DecodedFrame]:
    """Yields the frames of a file's first video stream from number `start` on; memory does not grow with its length.

    Args:
        path: The file.
        limits: None takes the defaults.
        start: Number of the first frame that is wanted. Where the file tells which key frame comes before it, decoding
            begins there.

    Raises:
        VideoError: If it cannot be read or a limit is exceeded; the message names file and frame, and all frames before
            have been yielded. Also if the file ends early, by its own account, or before `start`.
    """
    count = 0
    try:
        for decoded in _decode_from(path, limits or Limits(), start):
            count = decoded.number + 1
            if decoded.number >= start:
                yield decoded
    except VideoError as error:
        missing = missing_bytes(path) if Path(path).is_file() else 0
        if missing and "cut off" not in str(error):
            raise VideoError(f"{error}; the file is cut off, {missing} bytes are missing at its end") from error
        raise
    missing = missing_bytes(path)
    if missing:
        raise VideoError(f"{path}: frame {count} is not there: the file is cut off, {missing} bytes are missing")
    if count == 0:
        raise VideoError(f"{path}: the video stream holds no frame")
    if count <= start:
        raise VideoError(f"{path} has {count} frames: there is none from number {start} on (--start)")


def _decode_from(path: str | Path, limits: Limits, start: int) -> Iterator[DecodedFrame]:
    if start > 0:
        with open_video(path, limits) as (container, stream):
            key = keyframe_before(container, stream, start)
            if key is not None:
                seek(container, stream, key)
                frames = FrameReader(container, stream, str(path), limits).frames(key.number)
                first = next(frames, None)
                # Where the reader landed is seen from the first frame's time; elsewhere numbers would be wrong.
                if first is not None and first.frame.pts == key.pts:
                    yield first
                    yield from frames
                    return
    with open_video(path, limits) as (container, stream):
        yield from FrameReader(container, stream, str(path), limits).frames()


@contextmanager
def open_video(path: str | Path, limits: Limits | None = None) -> Iterator[tuple[Any, Any]]:
    """Opens a file and gives its container and its first video stream.

    Raises:
        VideoError: If the file is missing, empty, no video, a playlist, sound only, or its frames are too large.
    """
    import av

    path, limits = Path(path), limits or Limits()
    if not path.is_file():
        raise VideoError(f"{path} does not exist")
    if path.stat().st_size == 0:
        raise VideoError(f"{path} is empty (0 bytes)")
    try:
        container = av.open(f"file:{path}", metadata_errors="replace", options=options_for(limits))
    except _errors() as error:
        raise VideoError(f"{path} is not a video that can be read: {_why_unreadable(path, error)}") from error
    with container:
        yield container, video_stream(container, str(path), limits)


def options_for(limits: Limits) -> dict[str, str]:
    """Returns the options to open any container with: no playlists, no other files, no oversized frames."""
    # A decoder counts the padding to whole blocks too, hence the margin; the exact check is made per frame.
    return {
        "format_whitelist": _FORMATS,
        "protocol_whitelist": "file",
        "max_pixels": str(min(limits.max_pixels + limits.max_pixels // 4 + (1 << 16), (1 << 31) - 1)),
    }


def video_stream(container: Any, name: str, limits: Limits) -> Any:
    """Returns the first stream that moves: the cover picture of a song is none.

    Raises:
        VideoError: If there is none, or its frames are too large.
    """
    from av.stream import Disposition

    pictures = container.streams.video
    for stream in pictures:
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is None:
                raise VideoError(f"{name} has a video codec that this build cannot decode")
            limits.check_size(stream.width, stream.height, name)
            return stream
    sound = "only sound" if container.streams.audio else "no video stream"
    raise NoVideoError(f"{name} holds {sound}{' and a cover picture' if pictures else ''}; a video stream is needed")


def frame_rate(stream: Any) -> float:
    """Returns a stream's mean frames a second, 25 where the file does not say."""
    return float(stream.average_rate or stream.guessed_rate or 25)


def reason(error: Exception) -> str:
    """Returns what went wrong, without PyAV's numbers."""
    return str(getattr(error, "strerror", None) or error)


def _errors() -> tuple[type[Exception], ...]:
    import av

    return av.FFmpegError, OSError, ValueError


def _why_unreadable(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        head = file.read(64).lstrip()
    if head.startswith(_PLAYLISTS):
        return "it is a playlist of other files; name one of those"
    missing = missing_bytes(path)
    if missing:
        return f"{reason(error)}; the file is cut off, {missing} bytes are missing at its end"
    return reason(error)
