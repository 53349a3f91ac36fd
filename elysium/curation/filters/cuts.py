"""The filters of what a piece may hold although it should be one shot: a cut that was missed, or a dissolve or fade.

Shots end where one frame differs much from the one before (`shots`). That misses a cut between shots of like colours,
and every transition that is spread over frames.

A cut is a step in an otherwise steady course: the correlation of two neighbouring frames falls, that of the frames
before and after does not. With fast motion it is low all along, with a flash twice.

A dissolve or fade mixes two pictures, so that a frame in its middle is a weighted mean of an earlier and a later one,
at all places with the same weight (the model behind the detectors compared by Lienhart, SPIE 3656, 1999). Motion is not
like that: a place shows what was there before, or what is there later, but seldom something between. Looked at are
differences of neighbouring places, for a change of light mixes frames too, but leaves those alone.
"""

from __future__ import annotations

import numpy as np

from elysium.boxes import FloatArray
from elysium.config import CurateSettings
from elysium.curation.filters.base import PieceSubject, Verdict

_SPANS = (4, 8, 16, 32)  # frames over which a dissolve is looked for; its own length is up to twice as much
_CHANGED = 6.0  # levels of 256 that a difference of neighbours changes by
_MIN_CHANGED = 0.15  # share of the places where it does, or there is nothing to judge by
_MAX_ALIKE = 0.6  # correlation of the earlier and the later frame: two pictures, not one
_MIXED = (0.25, 0.75)  # weight of the later frame
_TOLERANCE = 0.25  # share of a place's whole change
_FLAT = 2.0  # levels: root mean square of the differences in a frame without content


def cut(subject: PieceSubject, settings: CurateSettings) -> Verdict:
    """No cut was missed; the number is by how much the correlation of two frames falls short of their neighbours'."""
    size, where = largest_step(subject.views.thumbs)
    passed = size <= settings.max_cut
    return Verdict(
        "cut", passed, "" if passed else "scene_cut", size, settings.max_cut, "" if passed else f"frame {where}"
    )


def dissolve(subject: PieceSubject, settings: CurateSettings) -> Verdict:
    """No shot dissolves or fades into another; the number is the largest share of places that mix two frames alike."""
    share, where = largest_mixture(subject.views.thumbs)
    passed = share <= settings.max_mixture
    return Verdict(
        "dissolve",
        passed,
        "" if passed else "dissolve",
        share,
        settings.max_mixture,
        "" if passed else f"frame {where}",
    )


def largest_step(thumbs: FloatArray) -> tuple[float, int]:
    """Returns how much lower the correlation of two neighbouring frames is than those around it, and the later frame.

    The number is the drop `1 - correlation`, less twice the largest drop of the four pairs around, at least 0.

    Args:
        thumbs: Shape `(n, h, w)`, in time order.
    """
    flat = thumbs.reshape(len(thumbs), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    norms = np.maximum(np.sqrt(np.einsum("ij,ij->i", flat, flat)), 1e-6)
    drops = 1.0 - np.einsum("ij,ij->i", flat[:-1], flat[1:]) / (norms[:-1] * norms[1:])
    padded = np.pad(drops, 2)
    around = np.max([padded[shift : shift + len(drops)] for shift in (0, 1, 3, 4)], axis=0)
    steps = drops - 2 * around
    largest = int(steps.argmax())
    return max(0.0, float(steps[largest])), largest + 1


def largest_mixture(thumbs: FloatArray) -> tuple[float, int]:
    """Returns the share of changed places at which a frame mixes an earlier and a later one alike, and that frame.

    The largest over all frames and spans; 0 where no two frames differ enough.

    Args:
        thumbs: Shape `(n, h, w)`, even sides, in time order, levels of 256.
    """
    count, height, width = thumbs.shape
    small = thumbs.reshape(count, height // 2, 2, width // 2, 2).mean(axis=(2, 4))
    across, down = np.diff(small, axis=2), np.diff(small, axis=1)
    edges = np.concatenate([across.reshape(count, -1), down.reshape(count, -1)], axis=1)
    strength = np.sqrt(np.einsum("ij,ij->i", edges, edges))
    empty = strength < _FLAT * np.sqrt(edges.shape[1])
    best, where = 0.0, 0
    for span in _SPANS:
        if span >= count:
            break
        half = span // 2
        before, middle, after = edges[:-span], edges[half : count - span + half], edges[span:]
        alike = np.einsum("ij,ij->i", before, after) / np.maximum(strength[:-span] * strength[span:], 1e-6)
        alike = np.where(empty[:-span] | empty[span:], 0.0, alike)
        whole = after - before
        changed = np.abs(whole) > _CHANGED
        asked = np.flatnonzero((alike < _MAX_ALIKE) & (changed.mean(axis=1) > _MIN_CHANGED))
        if not asked.size:
            continue
        whole, changed, part = whole[asked], changed[asked], (middle - before)[asked]
        weights = np.einsum("ij,ij->i", part, whole) / np.einsum("ij,ij->i", whole, whole)
        weights = np.clip(weights, *_MIXED)[:, None]
        mixed = (np.abs(part - weights * whole) < _TOLERANCE * np.abs(whole)) & changed
        shares = mixed.sum(axis=1) / changed.sum(axis=1)
        largest = int(shares.argmax())
        if shares[largest] > best:
            best, where = float(shares[largest]), int(asked[largest]) + half
    return best, where
