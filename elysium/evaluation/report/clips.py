"""Moving and still pictures with true and predicted boxes, for people to look at."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from elysium.boxes import iou, to_pixels
from elysium.data.stored_frames import read_stored
from elysium.errors import ElysiumError

# Told apart by people who see no red, no green or no blue, too, and bright enough for dark video; the letters on the
# boxes say the same. In the order of a page's models.
TRUE_COLOUR = "#ffffff"
COLOURS = ("#4c97ff", "#ff8a1f", "#5fe8bd", "#ff8df5", "#ffe94d")
MAX_FRAMES = 48
# A page of twenty stays under 4 MiB.
MAX_BYTES = 150_000
_CASING = "#10161d"
_SIDE = 320
_TAG = 15
_MILLISECONDS = 160
# Of means that differ by less, one is not lower than the other.
_LEAST_FALL = 1e-6
_QUALITIES = (75, 60, 45, 30, 15)

Box = npt.ArrayLike | None
Picture = Path | npt.NDArray[np.uint8] | Image.Image
Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


@dataclass(frozen=True)
class Drawing:
    """Pictures and what is drawn into them.

    Attributes:
        frames: Paths or images of any size, `(height, width, 3)`, uint8, RGB.
        true: The true box of each frame, normalised `(x1, y1, x2, y2)`; None where there is none.
        predicted: Name on the boxes, a letter or a word, to a box a frame, likewise; None where a system has no answer
            to this item. At most five: the colours go by the order.
        numbers: Of each frame in its video, from 1; empty where there is one frame.
        length: Frames of the video.
    """

    frames: Sequence[Picture]
    true: Sequence[Box]
    predicted: Mapping[str, Sequence[Box] | None] = field(default_factory=dict)
    numbers: Sequence[int] = ()
    length: int = 0


def choose_frames(overlaps: Sequence[float], *, around_loss: bool, most: int = MAX_FRAMES) -> list[int]:
    """Returns which frames of a video to show, in order.

    Args:
        overlaps: IoU of each frame, 0 where there is no box.
        around_loss: The span in which the object is lost, in place of frames from the whole video; where it is never
            lost, or never found, the whole video all the same.
        most: Number of frames.

    Example:
        >>> choose_frames([1.0] * 5, around_loss=False, most=3)
        [0, 2, 4]
        >>> choose_frames([0.9] * 50 + [0.0] * 50, around_loss=True, most=4)
        [48, 49, 50, 51]
    """
    count = len(overlaps)
    if count <= most:
        return list(range(count))
    whole = [round(number * (count - 1) / (most - 1)) for number in range(most)]
    if not around_loss:
        return whole
    values = np.asarray(overlaps, dtype=np.float64)
    before = np.cumsum(values)[:-1] / np.arange(1, count)
    after = (values.sum() - np.cumsum(values)[:-1]) / np.arange(count - 1, 0, -1)
    # Where the overlap falls most from one mean to the other, weighed by how long both last.
    lengths = np.arange(1, count) * np.arange(count - 1, 0, -1)
    falls = (before - after) * np.sqrt(lengths)
    if falls.max() < _LEAST_FALL:
        return whole
    lost = int(np.argmax(falls)) + 1
    start = min(max(lost - most // 2, 0), count - most)
    return list(range(start, start + most))


def overlap_of(predicted: Box, true: Box) -> float:
    """Returns the IoU of two boxes; 0 where one of them is missing."""
    return 0.0 if predicted is None or true is None else float(iou(predicted, true))


def draw(drawing: Drawing, *, most_bytes: int = MAX_BYTES) -> bytes:
    """Returns a WebP with all boxes: moving where there are several frames, at the best quality that fits.

    Args:
        drawing: What to draw.
        most_bytes: The size aimed at; a picture that does not fit at the least quality is larger.

    Raises:
        ElysiumError: If a frame cannot be read.
        ValueError: If there is no frame, or there are more names than colours.
    """
    if len(drawing.predicted) > len(COLOURS):
        raise ValueError(f"at most {len(COLOURS)} predictions have a colour, got {len(drawing.predicted)}")
    font = ImageFont.load_default(12)
    frames = [_drawn(drawing, index, picture, font) for index, picture in enumerate(shrunk(drawing.frames))]
    return encode(frames, most_bytes=most_bytes)


def shrunk(frames: Sequence[Picture]) -> list[Image.Image]:
    """Returns pictures at the size of clips: the longer side 320 pixels.

    Raises:
        ElysiumError: If one cannot be read.
    """
    return [_shrunk(picture) for picture in frames]


def encode(frames: Sequence[Image.Image], *, most_bytes: int = MAX_BYTES) -> bytes:
    """Returns a WebP of pictures of one size, at the best quality that fits into so many bytes, or the least one.

    Raises:
        ValueError: If there is no picture.
    """
    if not frames:
        raise ValueError("there is no frame to draw")
    content = b""
    for quality in _QUALITIES:
        target = io.BytesIO()
        frames[0].save(
            target,
            format="WEBP",
            save_all=True,
            append_images=list(frames[1:]),
            duration=_MILLISECONDS,
            loop=0,
            quality=quality,
        )
        content = target.getvalue()
        if len(content) <= most_bytes:
            break
    return content


def decode(content: bytes, count: int) -> list[Image.Image]:
    """Returns the pictures of a WebP that `encode` made of `count` pictures."""
    frames = []
    with Image.open(io.BytesIO(content)) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            frame = image.convert("RGB")
            # The encoder joins pictures that are the same into one that lasts longer.
            frames += [frame] * max(1, round(image.info.get("duration", 0) / _MILLISECONDS))
    return (frames + frames[-1:] * count)[:count]


def picture_size(content: bytes) -> tuple[int, int]:
    """Returns width and height of a WebP."""
    with Image.open(io.BytesIO(content)) as image:
        return image.size


def _shrunk(picture: Picture) -> Image.Image:
    if isinstance(picture, Path):
        try:
            picture = read_stored(picture)
        except ValueError as error:
            raise ElysiumError(f"the frame {picture} cannot be drawn: {error}") from error
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    scale = _SIDE / max(image.size)
    size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
    return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)


def _drawn(drawing: Drawing, index: int, frame: Image.Image, font: Font) -> Image.Image:
    image = frame.convert("RGB")
    draw = ImageDraw.Draw(image)
    true = _at(drawing.true, index)
    answered = [
        (name, _at(boxes, index), colour)
        for (name, boxes), colour in zip(drawing.predicted.items(), COLOURS, strict=False)
        if boxes is not None
    ]
    shown = [("true" if answered else "given", true, TRUE_COLOUR), *answered]
    for _, box, colour in shown:
        if box is not None:
            outline(draw, box, colour, image.size)
    for place, (name, box, colour) in enumerate(shown):
        if box is not None:
            _label(draw, font, box, name, colour, image.size, place=place)
    if drawing.numbers:
        _tag(draw, font, (4, 4), f"{drawing.numbers[index]}/{drawing.length}", "white", _CASING)
    if true is not None:
        _overlaps(draw, font, answered, true, image.height)
    return image


def _at(boxes: Sequence[Box], index: int) -> Box:
    return boxes[index] if index < len(boxes) else None


def _overlaps(
    draw: ImageDraw.ImageDraw, font: Font, answered: Sequence[tuple[str, Box, str]], true: npt.ArrayLike, height: int
) -> None:
    """Writes every system's overlap at the lower edge."""
    x = 4.0
    for name, box, colour in answered:
        overlap = overlap_of(box, true)
        alone = len(answered) == 1
        text = f"IoU {overlap:.2f}" if alone else f"{name} {overlap:.2f}"
        _tag(draw, font, (x, height - _TAG - 4), text, "white" if alone else colour, _CASING)
        x += _width(draw, font, text) + 2


def outline(draw: ImageDraw.ImageDraw, box: npt.ArrayLike, colour: str, size: tuple[int, int], width: int = 3) -> None:
    """Draws a box that stands out from whatever is behind it.

    Args:
        draw: Into what.
        box: Normalised `(x1, y1, x2, y2)`.
        colour: Of the line, which has a dark casing.
        size: `(width, height)` of the picture in pixels.
        width: Of the line in pixels; the casing adds one on each side.
    """
    x1, y1, x2, y2 = to_pixels(box, size).tolist()
    x2, y2 = max(x1, x2), max(y1, y2)
    draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=_CASING, width=width + 2)
    draw.rectangle((x1, y1, x2, y2), outline=colour, width=width)


def _label(
    draw: ImageDraw.ImageDraw,
    font: Font,
    box: npt.ArrayLike,
    text: str,
    colour: str,
    size: tuple[int, int],
    *,
    place: int,
) -> None:
    """Writes what a box is: the true one (place 0) above it, right; the others below, each a step further right."""
    x1, y1, x2, y2 = to_pixels(box, size).tolist()
    width = _width(draw, font, text)
    if place == 0:
        x, y = x2 - width, y1 - _TAG if y1 >= _TAG else y1
    else:
        x, y = x1 + (place - 1) * (width + 1), y2 + 1 if y2 + _TAG < size[1] else y2 - _TAG
    _tag(draw, font, (min(max(x, 0), max(size[0] - width, 0)), max(y, 0)), text, _CASING, colour)


def _tag(draw: ImageDraw.ImageDraw, font: Font, corner: tuple[float, float], text: str, ink: str, fill: str) -> None:
    x, y = corner
    draw.rectangle((x, y, x + _width(draw, font, text), y + _TAG), fill=fill)
    draw.text((x + 4, y), text, fill=ink, font=font)


def _width(draw: ImageDraw.ImageDraw, font: Font, text: str) -> float:
    return draw.textlength(text, font=font) + 8
