"""Storing the frames of a kept piece: as JPEG files, or all in one short-keyed H.264 clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from elysium.config import CurateSettings
from elysium.curation.protocols import Frame
from elysium.data.video import H264_OPTIONS, write_video

_SHARD_DIGITS = 5


@dataclass(frozen=True)
class Stored:
    """Where a piece's frames are.

    Attributes:
        paths: One a frame, relative to the data set's root.
        size: `(width, height)` they were stored in.
    """

    paths: list[str]
    size: tuple[int, int]


def store_piece(
    frames: Sequence[Frame], vid: str, folder: Path, settings: CurateSettings, shard: int | None = None
) -> Stored:
    """Writes the frames of one piece below `folder` and returns their names; what is there already is written over.

    The same frames give the same bytes. With `store: frames` they are `frames/<shard>/<vid>/000000.jpg` and so on; with
    `store: clips` one file `clips/<shard>/<vid>.mp4`, of which `…mp4#0` is the first frame. A clip has even sides: an
    odd one is scaled down by its last pixel, so that normalised boxes stay exact.

    Args:
        frames: In time order, all of one size.
        vid: Id of the frame sequence.
        folder: The data set's root, or a temporary one that is laid out alike.
        settings: How to store.
        shard: Number of the shard; None leaves that folder out.

    Raises:
        OSError: If a file cannot be written.
        ValueError: If there is no frame.
    """
    if not frames:
        raise ValueError(f"{vid}: there is no frame to store")
    place = media_place(shard, settings)
    (folder / place).mkdir(parents=True, exist_ok=True)
    if settings.store == "clips":
        return _store_clip(frames, folder, place / f"{vid}.mp4", settings)
    return _store_pictures(frames, folder, place / vid, settings)


def media_place(shard: int | None, settings: CurateSettings) -> Path:
    """Returns the folder of a shard's frames, relative to the data set's root: `frames/00012` or `clips/00012`."""
    return Path(settings.store) if shard is None else Path(settings.store) / f"{shard:0{_SHARD_DIGITS}d}"


def frame_paths(vid: str, count: int, shard: int | None, settings: CurateSettings) -> list[str]:
    """Returns the names that `store_piece` gives to the frames of a piece."""
    place = (media_place(shard, settings) / vid).as_posix()
    if settings.store == "clips":
        return [f"{place}.mp4#{number}" for number in range(count)]
    return [f"{place}/{position:06d}.jpg" for position in range(count)]


def fit(image: npt.NDArray[np.uint8], side: int, *, even: bool = False) -> npt.NDArray[np.uint8]:
    """Returns the image, scaled down where its longer side exceeds `side`, and on request to even sides."""
    factor = min(1.0, side / max(image.shape[:2]))
    width, height = (max(1, round(image.shape[axis] * factor)) for axis in (1, 0))
    if even:
        width, height = (max(2, length - length % 2) for length in (width, height))
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _store_pictures(frames: Sequence[Frame], folder: Path, place: Path, settings: CurateSettings) -> Stored:
    (folder / place).mkdir(exist_ok=True)
    paths, size = [], (0, 0)
    for position, frame in enumerate(frames):
        image = fit(frame.image, settings.max_side)
        size = (image.shape[1], image.shape[0])
        _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, settings.jpeg_quality])
        path = place / f"{position:06d}.jpg"
        # Written by hand: OpenCV's own writer answers a full disk with silence. What a kill cuts short belongs to a
        # block that is not finished, and is written again.
        (folder / path).write_bytes(data.tobytes())
        paths.append(path.as_posix())
    return Stored(paths, size)


def _store_clip(frames: Sequence[Frame], folder: Path, path: Path, settings: CurateSettings) -> Stored:
    first = fit(frames[0].image, settings.max_side, even=True)
    images = (fit(frame.image, settings.max_side, even=True) for frame in frames)
    # Without B-frames a frame needs only those before it, back to the key frame.
    rules = f"keyint={settings.clip_key_frames}:min-keyint={settings.clip_key_frames}:scenecut=0:bframes=0"
    options = {
        **H264_OPTIONS,
        "crf": str(settings.clip_crf),
        "x264-params": f"{H264_OPTIONS['x264-params']}:{rules}",
    }
    write_video(folder / path, images, settings.frame_rate, options)
    name = path.as_posix()
    return Stored([f"{name}#{number}" for number in range(len(frames))], (first.shape[1], first.shape[0]))
