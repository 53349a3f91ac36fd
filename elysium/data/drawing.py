"""Drawing simulated clips: textures, anti-aliased shapes from signed distances, and who covers whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from elysium.boxes import FloatArray

_RIM = 0.16  # width of the darker rim, in radii
_STAR_TIPS = 5
_STAR_INNER = 0.45  # radius of the star's inner corners, in radii
_RING_HOLE = 0.55  # radius of the ring's hole, in radii
_CROSS_ARM = 0.36  # half width of the cross's arms, in radii


class Drawable(Protocol):
    """What `composite` needs to know of an object; lengths are in sides of the frame."""

    @property
    def shape(self) -> str:
        """Shape word."""

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Colour."""

    @property
    def centres(self) -> FloatArray:
        """Shape `(num_frames, 2)`."""

    @property
    def radii(self) -> FloatArray:
        """Shape `(num_frames,)`."""


def texture(
    rng: np.random.Generator, side: int, colour: tuple[int, int, int], grain: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Returns smooth noise of three octaves around a colour.

    Args:
        rng: Source of the noise.
        side: Width and height in pixels.
        colour: Mean RGB.
        grain: Cells of the coarsest octave, across and down.

    Returns:
        Shape `(side, side, 3)`, float32, in [0, 255].
    """
    noise = np.zeros((side, side), dtype=np.float32)
    for octave, strength in enumerate((18.0, 10.0, 6.0)):
        cells = rng.standard_normal((grain[1] << octave, grain[0] << octave)).astype(np.float32)
        noise += strength * np.asarray(Image.fromarray(cells).resize((side, side), Image.Resampling.BICUBIC))
    tint = rng.uniform(0.92, 1.08)
    image = np.array(colour, dtype=np.float32) * np.float32(tint) + noise[..., None]
    return np.asarray(np.clip(image, 0, 255), dtype=np.float32)


def composite(
    canvas: npt.NDArray[np.float32], actors: Sequence[Drawable]
) -> tuple[npt.NDArray[np.uint8], list[FloatArray]]:
    """Draws objects over a background, the first of them in front.

    Args:
        canvas: Shape `(side, side, 3)`, float, in [0, 255].
        actors: Nearest first.

    Returns:
        The frames, shape `(num_frames, side, side, 3)`, uint8; and for each object, in their order, the share of its
        pixels that is seen in each frame, shape `(num_frames,)`, in [0, 1].
    """
    side = canvas.shape[0]
    num_frames = len(actors[0].radii)
    frames = np.repeat(canvas[None], num_frames, axis=0)
    free = np.ones((num_frames, side, side), dtype=np.float32)
    stamps = [_stamp(actor, side) for actor in actors]
    shares = []
    for coverage, _, corners in stamps:
        total = coverage.sum(axis=(1, 2))
        seen = np.zeros(num_frames)
        for t, inside, window in _windows(corners, coverage.shape[1], side):
            part = coverage[t][inside]
            seen[t] = float((part * free[t][window]).sum())
            free[t][window] *= 1 - part
        shares.append(seen / np.maximum(total, 1e-6))
    for actor, (coverage, shade, corners) in reversed(list(zip(actors, stamps, strict=True))):
        colour = np.array(actor.rgb, dtype=np.float32)
        for t, inside, window in _windows(corners, coverage.shape[1], side):
            alpha = coverage[t][inside][..., None]
            painted = shade[t][inside][..., None] * colour
            frames[t][window] += alpha * (painted - frames[t][window])
    return np.rint(frames).clip(0, 255).astype(np.uint8), shares


def half_extents(shape: str) -> FloatArray:
    """Returns how far a shape of radius 1 reaches left, up, right and down from its centre, shape `(4,)`."""
    if shape == "star":
        tips = np.pi * (0.5 + 2 * np.arange(_STAR_TIPS) / _STAR_TIPS)
        return np.array([-np.cos(tips).min(), 1.0, np.cos(tips).max(), -np.sin(tips).min()])
    if shape == "triangle":
        return np.array([np.sqrt(3) / 2, 1.0, np.sqrt(3) / 2, 0.5])
    if shape == "square":
        return np.full(4, 0.88)  # a square of the same extent looks larger than a circle
    return np.ones(4)


def _stamp(
    actor: Drawable, side: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Draws one object alone, in a window that just holds it.

    Returns:
        Coverage and brightness, both `(num_frames, n, n)`, and the window's top-left corners, `(num_frames, 2)`
        in whole pixels.
    """
    centres, radii = actor.centres * side, actor.radii * side
    reach = int(np.ceil(radii.max())) + 2
    corners = np.floor(centres).astype(np.int64) - reach
    offsets = np.arange(2 * reach + 1) + 0.5
    x = (corners[:, 0, None] + offsets - centres[:, 0, None])[:, None, :].astype(np.float32)
    y = (corners[:, 1, None] + offsets - centres[:, 1, None])[:, :, None].astype(np.float32)
    radius = radii[:, None, None].astype(np.float32)
    # Signed distances in pixels: coverage of a pixel falls from 1 to 0 over one pixel around the edge.
    distance = _DISTANCES[actor.shape](x / radius, y / radius) * radius
    coverage = np.clip(0.5 - distance, 0, 1)
    shade = np.where(distance > -_RIM * radius, np.float32(0.72), np.float32(1))
    return coverage, shade, corners


def _windows(
    corners: npt.NDArray[np.int64], size: int, side: int
) -> list[tuple[int, tuple[slice, slice], tuple[slice, slice]]]:
    """Returns, for frames where window and frame overlap, the frame's index and the overlap in both."""
    found = []
    for t, (left, top) in enumerate(corners.tolist()):
        x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + size, side), min(top + size, side)
        if x1 < x2 and y1 < y2:
            inside = (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))
            found.append((t, inside, (slice(y1, y2), slice(x1, x2))))
    return found


Plane = npt.NDArray[np.float32]


def _circle(x: Plane, y: Plane) -> Plane:
    return np.asarray(np.hypot(x, y) - 1)


def _square(x: Plane, y: Plane) -> Plane:
    return np.maximum(np.abs(x), np.abs(y)) - np.float32(half_extents("square")[0])


def _triangle(x: Plane, y: Plane) -> Plane:
    # Three half planes at distance 1/2 from the centre; y grows downwards and the tip points up.
    slope = np.float32(np.sqrt(3) / 2)
    return np.asarray(np.maximum(y, slope * np.abs(x) - y / 2) - np.float32(0.5))


def _star(x: Plane, y: Plane) -> Plane:
    # The plane is folded into half a tip, whose edge runs from (1, 0) to an inner corner.
    step = 2 * np.pi / _STAR_TIPS
    angle = np.arctan2(x, -y)
    folded = np.abs(angle - step * np.rint(angle / step))
    radius = np.hypot(x, y)
    inner = _STAR_INNER * np.array([np.cos(step / 2), np.sin(step / 2)])
    normal = np.array([inner[1], 1 - inner[0]])
    normal /= np.linalg.norm(normal)
    edge = normal[0] * (radius * np.cos(folded) - 1) + normal[1] * radius * np.sin(folded)
    return np.asarray(edge.astype(np.float32))


def _diamond(x: Plane, y: Plane) -> Plane:
    return np.asarray((np.abs(x) + np.abs(y) - 1) / np.float32(np.sqrt(2)))


def _ring(x: Plane, y: Plane) -> Plane:
    middle, half = (1 + _RING_HOLE) / 2, (1 - _RING_HOLE) / 2
    return np.asarray(np.abs(np.hypot(x, y) - np.float32(middle)) - np.float32(half))


def _cross(x: Plane, y: Plane) -> Plane:
    across, along = np.minimum(np.abs(x), np.abs(y)), np.maximum(np.abs(x), np.abs(y))
    return np.asarray(np.maximum(across - np.float32(_CROSS_ARM), along - np.float32(1)))


_DISTANCES: dict[str, Callable[[Plane, Plane], Plane]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "diamond": _diamond,
    "ring": _ring,
    "cross": _cross,
}
