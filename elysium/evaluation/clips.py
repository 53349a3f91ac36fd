"""Animated clips with predicted and true boxes, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from elysium.boxes import iou, to_pixels
from elysium.data.records import TrackRecord

# Told apart by people who see no red or no green, too; the labels say the same in words.
TRUE_COLOUR, PREDICTED_COLOUR = "#25c9e8", "#ff8a1f"
_CASING = "#10161d"
_SIDE = 320
_TAG = 16
_MILLISECONDS = 160

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def write_clip(path: Path, data: Path, record: TrackRecord, boxes: Sequence[npt.ArrayLike | None]) -> None:
    """Writes an animated WebP of a record's first frames, with true and predicted boxes, labels and overlap.

    Args:
        path: Where to.
        data: The folder that the record's frame paths are relative to.
        record: With the true boxes.
        boxes: Predicted, normalised `(x1, y1, x2, y2)`, one for each frame that is drawn; None where there is none.
    """
    font = ImageFont.load_default(12)
    drawn = []
    for number, (name, true, predicted) in enumerate(zip(record.frames, record.box, boxes, strict=False), start=1):
        with Image.open(data / name) as image:
            scale = _SIDE / max(image.size)
            size = (round(image.width * scale), round(image.height * scale))
            frame = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
        draw = ImageDraw.Draw(frame)
        shown = [(true, TRUE_COLOUR)] + ([] if predicted is None else [(predicted, PREDICTED_COLOUR)])
        for box, colour in shown:
            _outline(draw, box, colour, size)
        for box, colour in shown:
            _label(draw, font, box, colour, size)
        overlap = 0.0 if predicted is None else float(iou(predicted, true))
        _tag(draw, font, (4, size[1] - _TAG - 4), f"{number}/{len(boxes)}  IoU {overlap:.2f}", "white", _CASING)
        drawn.append(frame)
    drawn[0].save(path, save_all=True, append_images=drawn[1:], duration=_MILLISECONDS, loop=0, quality=75)


def _outline(draw: ImageDraw.ImageDraw, box: npt.ArrayLike, colour: str, size: tuple[int, int]) -> None:
    x1, y1, x2, y2 = to_pixels(box, size).tolist()
    x2, y2 = max(x1, x2), max(y1, y2)
    draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=_CASING, width=5)
    draw.rectangle((x1, y1, x2, y2), outline=colour, width=3)


def _label(draw: ImageDraw.ImageDraw, font: Font, box: npt.ArrayLike, colour: str, size: tuple[int, int]) -> None:
    """Writes what a box is: the true one above it, right; the model's below it, left; inside where the frame ends."""
    x1, y1, x2, y2 = to_pixels(box, size).tolist()
    if colour == TRUE_COLOUR:
        x, y, text = max(x2 - _width(draw, font, "true"), 0), y1 - _TAG if y1 >= _TAG else y1, "true"
    else:
        x, y, text = x1, y2 + 1 if y2 + _TAG < size[1] else y2 - _TAG, "model"
    _tag(draw, font, (x, y), text, _CASING, colour)


def _tag(draw: ImageDraw.ImageDraw, font: Font, corner: tuple[float, float], text: str, ink: str, fill: str) -> None:
    x, y = corner
    draw.rectangle((x, y, x + _width(draw, font, text), y + _TAG), fill=fill)
    draw.text((x + 4, y + 1), text, fill=ink, font=font)


def _width(draw: ImageDraw.ImageDraw, font: Font, text: str) -> float:
    return draw.textlength(text, font=font) + 8
