"""Animated clips with predicted and true boxes, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy.typing as npt
from PIL import Image, ImageDraw

from elysium.boxes import to_pixels
from elysium.data.records import TrackRecord

TRUE_COLOUR, PREDICTED_COLOUR = "#2fbf71", "#ff7a1a"
_SIDE = 288
_MILLISECONDS = 140


def write_clip(path: Path, data: Path, record: TrackRecord, boxes: Sequence[npt.ArrayLike]) -> None:
    """Writes an animated WebP of a record's first frames: true boxes green, predicted ones orange.

    Args:
        path: Where to.
        data: The folder that the record's frame paths are relative to.
        record: With the true boxes.
        boxes: Predicted, normalised `(x1, y1, x2, y2)`, one for each frame that is drawn.
    """
    drawn = []
    for name, true, predicted in zip(record.frames, record.box, boxes, strict=False):
        with Image.open(data / name) as image:
            scale = _SIDE / max(image.size)
            size = (round(image.width * scale), round(image.height * scale))
            frame = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
        draw = ImageDraw.Draw(frame)
        for box, colour in ((true, TRUE_COLOUR), (predicted, PREDICTED_COLOUR)):
            x1, y1, x2, y2 = to_pixels(box, size).tolist()
            draw.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=colour, width=3)
        drawn.append(frame)
    drawn[0].save(path, save_all=True, append_images=drawn[1:], duration=_MILLISECONDS, loop=0, quality=80)
