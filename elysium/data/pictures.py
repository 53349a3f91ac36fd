"""Still pictures as frames: upright, 8-bit RGB, transparent parts over black."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageOps

Image = npt.NDArray[np.uint8]

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_DIGITS = re.compile(r"(\d+)")


def natural_key(name: str) -> list[tuple[int, int | str]]:
    """Returns what to sort names by so that numbers count as numbers.

    Example:
        >>> sorted(["frame_10.png", "frame_2.png"], key=natural_key)
        ['frame_2.png', 'frame_10.png']
    """
    return [(0, int(part)) if part.isdecimal() else (1, part.casefold()) for part in _DIGITS.split(name) if part]


def list_pictures(folder: Path) -> list[Path]:
    """Returns the pictures of a folder, not of the folders in it, in natural order; hidden ones are left out."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    return sorted(found, key=lambda path: natural_key(path.name))


def read_picture(path: str | Path, max_pixels: int | None = None) -> Image:
    """Returns a picture as `(height, width, 3)`, uint8, RGB, turned upright as its EXIF says; of several, the first.

    Args:
        path: The file.
        max_pixels: Refuses a larger one before it is decoded.

    Raises:
        ValueError: If it cannot be read or is too large; the message does not name the file.
    """
    with warnings.catch_warnings():
        # Pillow's own guard warns at a size of its choice; ours is `max_pixels`, and broken EXIF is no news.
        warnings.simplefilter("ignore")
        with _open(path, max_pixels) as picture:
            return _pixels(ImageOps.exif_transpose(picture))


def read_grey(picture: str | Path | IO[bytes] | Image, side: int, max_pixels: int | None = None) -> Image:
    """Returns how bright a picture is, squeezed to `(side, side)`, uint8, without keeping its shape.

    A large JPEG is decoded at a half, a quarter or an eighth of its size: several times as fast, and nearly the same.
    Pillow's warnings are the caller's to silence, for a thread among others cannot.

    Args:
        picture: A file, an open one, or the pixels of shape `(height, width, 3)`, uint8, RGB.
        side: Pixels.
        max_pixels: As of `read_picture`.

    Raises:
        ValueError: As of `read_picture`.
    """
    if isinstance(picture, np.ndarray):
        return _grey(Pillow.fromarray(picture), side)
    with _open(picture, max_pixels) as opened:
        opened.draft("L", (2 * side, 2 * side))  # does nothing to what is no JPEG
        turned = ImageOps.exif_transpose(opened)
        plain = turned.mode in ("L", "RGB") and not turned.has_transparency_data
        return _grey(turned if plain else Pillow.fromarray(_pixels(turned)), side)


def over_black(rgba: npt.NDArray[np.uint8]) -> Image:
    """Returns the colours of shape `(height, width, 4)` weighted by their alpha, that is, seen before black.

    What lies under a transparent pixel is whatever the encoder left there: black makes it the same everywhere.
    """
    alpha = rgba[..., 3:]
    if (alpha == 255).all():
        return np.ascontiguousarray(rgba[..., :3])
    return ((rgba[..., :3].astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)


@contextmanager
def _open(path: str | Path | IO[bytes], max_pixels: int | None) -> Iterator[Pillow.Image]:
    """Opens a picture; what goes wrong, also while it is decoded, becomes a ValueError."""
    try:
        with Pillow.open(path) as picture:
            if max_pixels is not None and picture.width * picture.height > max_pixels:
                raise ValueError(
                    f"{picture.width}x{picture.height} pixels exceed the limit of {max_pixels} (--max-pixels)"
                )
            yield picture
    except Pillow.DecompressionBombError as error:
        raise ValueError(f"{error} Pillow's limit holds beside ours of {max_pixels} (--max-pixels).") from error
    except (OSError, SyntaxError) as error:
        raise ValueError(str(error)) from error


def _grey(picture: Pillow.Image, side: int) -> Image:
    return np.asarray(picture.convert("L").resize((side, side), Pillow.Resampling.BOX))


def _pixels(picture: Pillow.Image) -> Image:
    if picture.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip at 255
        grey = np.clip(np.asarray(picture, dtype=np.int64) >> 8, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if picture.has_transparency_data:
        return over_black(np.asarray(picture.convert("RGBA")))
    return np.asarray(picture.convert("RGB"))
