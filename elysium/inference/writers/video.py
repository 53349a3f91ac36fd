"""Results drawn into their frames: MP4, GIF and WebP, encoded with PyAV as they come."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pictures

from elysium.data.video import H264_OPTIONS
from elysium.errors import ElysiumError
from elysium.inference.drawing import Annotator, DrawOptions
from elysium.inference.results import FrameResult, Image, SourceInfo
from elysium.inference.writers.base import part_path, publish

logger = logging.getLogger(__name__)

# Each frame of a GIF gets the 256 colours that suit it best. Nothing waits for the end of the video.
_PALETTE, _DITHER = "stats_mode=single", "new=1:dither=bayer:bayer_scale=3"


@dataclass(frozen=True)
class _Kind:
    """What a file format asks of the encoder; `animation` is for small pictures with few frames a second."""

    codec: str
    pixels: str
    time_base: Fraction
    animation: bool
    options: dict[str, str] = field(default_factory=dict)
    container: dict[str, str] = field(default_factory=dict)


# Without B-frames packets are in the order of presentation: with them a file of uneven times gets a wrong duration.
_H264 = {**H264_OPTIONS, "bf": "0"}
_MP4 = {"movflags": "+faststart", "fflags": "+bitexact"}

_KINDS = {
    "mp4": _Kind("libx264", "yuv420p", Fraction(1, 90_000), False, _H264, _MP4),
    "gif": _Kind("gif", "pal8", Fraction(1, 100), True, {}, {"loop": "0"}),
    "webp": _Kind("libwebp_anim", "yuv420p", Fraction(1, 1000), True, {"quality": "75"}, {"loop": "0"}),
}


class VideoWriter:
    """Annotated frames at the times they were shown at, so that playback has the source's own pace.

    The first frame is at time 0. GIF and WebP are scaled down and their frames thinned out as the options say. With no
    frame at all there is no file, and a warning. WebP's encoder holds the compressed pictures until the end.

    Args:
        path: Where to.
        kind: `mp4`, `gif` or `webp`.
        info: Of the source.
        options: What is drawn.
    """

    needs_images = True

    def __init__(self, path: Path, kind: str, info: SourceInfo, options: DrawOptions) -> None:
        self._path, self._part, self._name, self._kind = path, part_path(path), kind, _KINDS[kind]
        self._rate = info.frame_rate if info.frame_rate > 0 else 25.0
        self._options = options
        self._annotator = Annotator(options)
        self._encoder: _Encoder | None = None
        self._first = self._next = 0.0
        self._done = False

    def write(self, result: FrameResult) -> None:
        """Draws a frame and encodes it.

        Raises:
            ValueError: If the result carries no image.
        """
        if result.image is None:
            raise ValueError(f"frame {result.frame} carries no image, and {self._name} is made of images")
        if self._encoder is None:
            self._first = self._next = result.timestamp
            self._encoder = self._open(result.image)
        size = self._encoder.size
        if self._kind.animation:
            # Half a frame's time of grace: 25 frames a second thinned out to 12.5 are every other one.
            if result.timestamp < self._next - 0.5 / self._rate:
                self._annotator.follow(result, size)
                return
            self._next = max(self._next, result.timestamp - 1 / self._rate) + 1 / self._options.animation_rate
        image = self._annotator.annotate(result, _resized(result.image, size))
        self._encoder.encode(image, result.timestamp - self._first)

    def finish(self) -> None:
        """Ends the file and puts it in its place."""
        if self._done:
            return
        self._done = True
        if self._encoder is None:
            logger.warning("%s is not written: no frame was tracked", self._path)
            return
        encoder, self._encoder = self._encoder, None
        encoder.close()
        publish(self._part, self._path)

    def abort(self) -> None:
        """Removes the unfinished file."""
        self._done = True
        if self._encoder is not None:
            with contextlib.suppress(OSError, ValueError):
                self._encoder.close()
            self._encoder = None
        self._part.unlink(missing_ok=True)

    def _open(self, image: Image) -> _Encoder:
        height, width = image.shape[:2]
        rate = self._rate
        if self._kind.animation:
            scale = min(self._options.animation_side / max(width, height), 1)
            width, height = max(round(width * scale), 1), max(round(height * scale), 1)
            rate = min(rate, self._options.animation_rate)
        try:
            return _Encoder(self._part, self._name, (width, height), rate)
        except (OSError, ValueError) as error:
            self._part.unlink(missing_ok=True)
            raise ElysiumError(f"{self._path} cannot be written as {self._name}: {error}") from error


class _Encoder:
    """A container with one video stream. Frames go in with their times; GIF's pass through a palette filter first."""

    def __init__(self, path: Path, name: str, size: tuple[int, int], rate: float) -> None:
        import av

        kind = _KINDS[name]
        self.size = size
        # H.264 in yuv420p has even sides.
        self._padding = (size[0] % 2, size[1] % 2) if name == "mp4" else (0, 0)
        self._time_base = kind.time_base
        self._duration = max(round(1 / rate / kind.time_base), 1)
        self._last = -1
        self._container = av.open(str(path), "w", format=name, options=kind.container)
        shape = (size[0] + self._padding[0], size[1] + self._padding[1])
        self._stream = _add_stream(self._container, kind, shape, rate)
        self._graph = _palette_graph(size, kind.time_base) if name == "gif" else None

    def encode(self, image: Image, seconds: float) -> None:
        """Adds a frame that is shown from `seconds` on; one that is not later than the last follows it at once."""
        import av

        right, below = self._padding
        if right or below:
            image = np.pad(image, ((0, below), (0, right), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        self._last = max(round(seconds / self._time_base), self._last + 1)
        frame.pts, frame.time_base, frame.duration = self._last, self._time_base, self._duration
        if self._graph is None:
            self._container.mux(self._stream.encode(frame))
            return
        self._graph.push(frame)
        self._drain()

    def close(self) -> None:
        """Writes what the encoder holds back, and the container's end."""
        try:
            if self._graph is not None:
                self._graph.push(None)
                self._drain()
            self._container.mux(self._stream.encode())
        finally:
            self._container.close()

    def _drain(self) -> None:
        for frame in _pull(self._graph):
            self._container.mux(self._stream.encode(frame))


def _add_stream(container: Any, kind: _Kind, size: tuple[int, int], rate: float) -> Any:
    stream = container.add_stream(kind.codec, rate=Fraction(rate).limit_denominator(1001))
    stream.width, stream.height = size
    stream.pix_fmt = kind.pixels
    stream.codec_context.time_base = kind.time_base
    stream.options = kind.options
    return stream


def _palette_graph(size: tuple[int, int], time_base: Fraction) -> Any:
    """Returns a filter that gives each frame a palette of its own."""
    import av

    graph = av.filter.Graph()
    source = graph.add_buffer(width=size[0], height=size[1], format=av.VideoFormat("rgb24"), time_base=time_base)
    split, palette = graph.add("split"), graph.add("palettegen", _PALETTE)
    use, sink = graph.add("paletteuse", _DITHER), graph.add("buffersink")
    source.link_to(split)
    split.link_to(palette, 0, 0)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph


def _pull(graph: Any) -> Iterator[Any]:
    import av

    with contextlib.suppress(av.BlockingIOError, av.EOFError):
        while True:
            yield graph.pull()


def _resized(image: Image, size: tuple[int, int]) -> Image:
    """Returns the image in `size`: animations are smaller, and a stream may change its size on the way."""
    if (image.shape[1], image.shape[0]) == size:
        return image
    return np.asarray(Pictures.fromarray(image).resize(size, Pictures.Resampling.BOX, reducing_gap=None))
