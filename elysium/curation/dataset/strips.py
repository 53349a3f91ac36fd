"""A track in one picture: some of its frames side by side, with the box drawn in."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from elysium.data.records import TrackRecord
from elysium.data.stored_frames import read_all_stored
from elysium.errors import ElysiumError
from elysium.evaluation.report.clips import outline

_COLOUR = "#ffe94d"
_GAP = 4
_BACKGROUND = "#10161d"
_QUALITY = 62
_TALLEST = 1.2  # height over width of a frame that is given all its width


def choose(count: int, most: int) -> list[int]:
    """Returns up to `most` frame numbers, evenly spread, the first and the last among them.

    Example:
        >>> choose(24, 5), choose(3, 5)
        ([0, 6, 12, 17, 23], [0, 1, 2])
    """
    return sorted({int(number) for number in np.linspace(0, count - 1, min(count, most)).round()})


def draw_strip(
    record: TrackRecord, root: Path, *, frames: int = 5, width: int = 200, columns: int | None = None
) -> bytes:
    """Returns a WebP of a track: frames from first to last, left to right and then downwards.

    Args:
        record: The track.
        root: What its frames are relative to.
        frames: How many at most.
        width: Of one frame in pixels; tall ones are narrower.
        columns: Frames in a row; by default all.

    Raises:
        ElysiumError: If a frame cannot be read; the message names record and frame.
    """
    numbers = choose(len(record.frames), frames)
    try:
        images = read_all_stored([root / record.frames[number] for number in numbers])
    except ElysiumError as error:
        raise ElysiumError(f"record {record.id}: {error}") from error
    cells = [
        _cell(Image.fromarray(image), record.box[number], width) for image, number in zip(images, numbers, strict=True)
    ]
    across = min(columns or len(cells), len(cells))
    down = -(-len(cells) // across)
    wide, high = max(cell.width for cell in cells), max(cell.height for cell in cells)
    sheet = Image.new("RGB", (across * (wide + _GAP) - _GAP, down * (high + _GAP) - _GAP), _BACKGROUND)
    for place, cell in enumerate(cells):
        sheet.paste(cell, (place % across * (wide + _GAP), place // across * (high + _GAP)))
    target = io.BytesIO()
    sheet.save(target, format="WEBP", quality=_QUALITY, method=4)
    return target.getvalue()


def strip_times(record: TrackRecord, frames: int = 5) -> list[float]:
    """Returns the times of the frames that a strip shows, in seconds of the source video."""
    return [record.metadata.timestamps[number] for number in choose(len(record.frames), frames)]


def _cell(image: Image.Image, box: tuple[float, float, float, float], width: int) -> Image.Image:
    scale = min(width / image.width, width * _TALLEST / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    cell = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    outline(ImageDraw.Draw(cell), box, _COLOUR, cell.size, width=2)
    return cell
