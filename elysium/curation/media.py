"""Stand-in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2

from elysium.config import CurateSettings
from elysium.curation.protocols import Frame


def media_folder(settings: CurateSettings) -> str:
    """Returns the name of the folder that media lie in."""
    return "frames"


def frame_paths(vid: str, count: int, shard: int, settings: CurateSettings) -> list[str]:
    """Returns paths."""
    return [f"frames/{shard:05d}/{vid}/{position:06d}.jpg" for position in range(count)]


def store_piece(frames: Sequence[Frame], vid: str, folder: Path, settings: CurateSettings) -> tuple[int, int]:
    """Writes frames."""
    folder = folder / vid
    folder.mkdir(parents=True, exist_ok=True)
    size = (0, 0)
    for position, frame in enumerate(frames):
        image = frame.image
        factor = settings.max_side / max(image.shape[:2])
        if factor < 1:
            image = cv2.resize(
                image,
                (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))),
                interpolation=cv2.INTER_AREA,
            )
        size = (image.shape[1], image.shape[0])
        _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        (folder / f"{position:06d}.jpg").write_bytes(data.tobytes())
    return size
