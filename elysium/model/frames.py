"""Frames in whatever form people have them: a video file, a folder or list of images, arrays, tensors, PIL images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from elysium.data.pictures import SUFFIXES

Pixels = npt.NDArray[np.uint8]
Frame = Pixels | Tensor | Image.Image | str | Path
Clip = str | Path | Pixels | Tensor | Sequence[Frame]

_PICTURES = SUFFIXES | {".gif"}


def read_clip(clip: Clip, num_frames: int | None = None) -> list[Pixels]:
    """Returns a clip's frames, each `(height, width, 3)`, uint8, RGB.

    Args:
        clip: A video file, a folder of pictures, a list of frames, or one array or tensor `(T, height, width, 3)`.
        num_frames: Takes so many, evenly spread from the first to the last; by default all. A clip with fewer is taken
            whole.

    Raises:
        ValueError: If it is none of these, or holds no frame.
        VideoError: If a video file cannot be read.
    """
    if isinstance(clip, (str, Path)):
        return _read_path(Path(clip), num_frames)
    if isinstance(clip, (np.ndarray, Tensor)):
        if clip.ndim != 4:
            raise ValueError(f"a clip in one array has shape (frames, height, width, 3), got {tuple(clip.shape)}")
    elif not isinstance(clip, Sequence):
        raise ValueError(
            f"a clip is a video file, a folder, an array or a list of frames, got {type(clip).__name__}; put a single "
            "picture into a list"
        )
    if len(clip) == 0:
        raise ValueError("a clip needs at least one frame, got none")
    return [read_frame(clip[index]) for index in spread(len(clip), num_frames)]


def read_frame(frame: Frame) -> Pixels:
    """Returns one frame as `(height, width, 3)`, uint8, RGB.

    Raises:
        ValueError: If it is not 8-bit RGB; the message says what would be.
    """
    if isinstance(frame, (str, Path)):
        try:
            with Image.open(frame) as image:
                return np.asarray(image.convert("RGB"))
        except OSError as error:
            raise ValueError(f"the picture {frame} cannot be read: {error}") from error
    if isinstance(frame, Image.Image):
        return np.asarray(frame.convert("RGB"))
    pixels: Any = frame.numpy(force=True) if isinstance(frame, Tensor) else frame
    if not isinstance(pixels, np.ndarray):
        raise ValueError(f"a frame is a picture's path, a PIL image, an array or a tensor, got {type(frame).__name__}")
    if pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8:
        return pixels
    message = f"a frame has shape (height, width, 3) and dtype uint8, got {pixels.shape}, {pixels.dtype}"
    if pixels.ndim == 3 and pixels.shape[0] == 3 and pixels.shape[2] != 3:
        message += "; move the channels last, as in frame.permute(1, 2, 0)"
    if pixels.dtype != np.uint8:
        message += "; scale values to 0..255 and convert them to uint8"
    raise ValueError(message)


def resize_frame(frame: Frame, side: int) -> Pixels:
    """Returns one frame as `(side, side, 3)`, uint8; one of that size comes back as it is.

    Bilinear and antialiased, the aspect ratio is not kept (PROTOCOL §2).

    Raises:
        ValueError: If the frame is not 8-bit RGB.
    """
    pixels = read_frame(frame)
    if pixels.shape[:2] == (side, side):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR))


def is_picture(path: str | Path) -> bool:
    """Tells whether a path names a still picture."""
    return Path(path).suffix.lower() in SUFFIXES


def spread(length: int, count: int | None) -> list[int]:
    """Returns the numbers of `count` frames evenly spread over `length`, the first and the last among them.

    Example:
        >>> spread(9, 3)
        [0, 4, 8]
        >>> spread(3, 8)
        [0, 1, 2]
    """
    if count is None or count >= length:
        return list(range(length))
    return [round(place) for place in np.linspace(0, length - 1, count).tolist()]


def _read_path(path: Path, num_frames: int | None) -> list[Pixels]:
    if path.is_dir():
        names = sorted(child for child in path.iterdir() if child.suffix.lower() in _PICTURES)
        if not names:
            raise ValueError(f"the folder {path} holds no picture")
        return [read_frame(names[index]) for index in spread(len(names), num_frames)]
    if is_picture(path):
        return [read_frame(path)]
    # PyAV is not among what the model needs.
    from elysium.data.video import iterate_video, probe

    if num_frames is None:
        return [frame.image for frame in iterate_video(path)]
    chosen = set(spread(probe(path).num_frames, num_frames))
    return [frame.image for number, frame in enumerate(iterate_video(path)) if number in chosen]
