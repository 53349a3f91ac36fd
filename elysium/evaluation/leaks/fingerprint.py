"""What a frame looks like in 128 bits that another encoding, size or brightness hardly changes.

A difference hash: the frame, squeezed to a grid of 8 x 8 cells, and for each cell whether it is brighter than its
neighbour to the left (on a grid of 9 x 8) and above (8 x 9). Chosen among hashes of 64 to 256 bits by how near changed
frames stay to the original, measured by the nearest of different frames (`benchmarks/leaks.py`): those of the cosine
transform are thrown further by a crop, those of 64 bits meet by chance.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from elysium.data.pictures import Image

# Of a squeezed frame, in pixels: holds both grids.
SIDE = 72
NUM_BITS = 128
# Bits that lie next to each other answer alike: the search (`search.py`) cuts the hash into parts, and bits are dealt
# to them in turn.
NUM_BANDS = 7
_ORDER = np.concatenate([np.arange(band, NUM_BITS, NUM_BANDS) for band in range(NUM_BANDS)])
_CELLS = 8
# Grey levels of 256 by which neighbouring cells have to differ for a bit that is no chance, and how many bits have to:
# else the frame is flat (black, fading, text on one colour) and like all flat frames.
_STEP, _MIN_STEPS = 1.0, 64

Hashes = npt.NDArray[np.uint64]


def fingerprints(greys: Image) -> tuple[Hashes, npt.NDArray[np.bool_]]:
    """Returns the hashes of frames, and which of them show too little to be told from others.

    Args:
        greys: Shape `(n, SIDE, SIDE)`, uint8; of `elysium.data.pictures.read_grey`.

    Returns:
        Hashes, shape `(n, 2)`, uint64; whether each frame is flat, shape `(n,)`.

    Example:
        >>> ramp = np.tile(np.arange(SIDE, dtype=np.uint8) * 3, (1, SIDE, 1))
        >>> hashes, flat = fingerprints(np.concatenate([ramp, ramp[:, :, ::-1], 0 * ramp]))
        >>> distances(hashes[:1], hashes[1:]).tolist(), flat.tolist()
        ([64, 64], [False, False, True])
    """
    count, pixels = len(greys), greys.astype(np.float32)
    across = pixels.reshape(count, _CELLS, _CELLS + 1, _CELLS + 1, _CELLS).mean(axis=(2, 4))
    down = pixels.reshape(count, _CELLS + 1, _CELLS, _CELLS, _CELLS + 1).mean(axis=(2, 4))
    steps = [np.diff(across, axis=2).reshape(count, -1), np.diff(down, axis=1).reshape(count, -1)]
    changes = np.concatenate(steps, axis=1)
    hashes = np.packbits(np.ascontiguousarray(changes[:, _ORDER] > 0), axis=1, bitorder="little").view("<u8")
    return hashes, (np.abs(changes) > _STEP).sum(axis=1) < _MIN_STEPS


def distances(first: Hashes, second: Hashes) -> npt.NDArray[np.uint8]:
    """Returns in how many bits hashes differ, 0 to 128, as arrays of shape `(..., 2)` are matched by numpy."""
    bits: npt.NDArray[np.uint8] = np.bitwise_count(first ^ second).sum(axis=-1, dtype=np.uint8)
    return bits


def mirrored(greys: Image) -> Image:
    """Returns frames with left and right exchanged."""
    return np.ascontiguousarray(greys[:, :, ::-1])
