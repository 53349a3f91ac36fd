"""Whether an object that has a name is in a frame at all (`--absent-below`).

An answer about a clip goes on from the box before: where its object has left, the model gives boxes of whatever is
there, and is sure of them. Asked for the name in one frame by itself it has nothing to go on from, and its confidence
tells what is there from what is not. So every new frame is glanced at: the frame alone, the name alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elysium.boxes import FloatArray, iou

# A track and a glance that overlap so much mean the same place.
_AGREE = 0.5


@dataclass(frozen=True)
class Seen:
    """A box and the model's confidence in it.

    Attributes:
        box: Normalised, shape `(4,)`; None where the object is absent.
        sure: In (0, 1].
    """

    box: FloatArray | None
    sure: float


def settle_frame(track: Seen | None, glance: Seen | None, *, lost: bool, least: float | None) -> Seen:
    """Returns where an object is in a frame, or that it is absent.

    Args:
        track: What the answer about the clip says; None where there is none, or where it went on from a box that was
            found to be wrong.
        glance: What the frame by itself says, asked by name; None where the object has no name.
        lost: Whether the object was absent in the frame before.
        least: Confidence below which a box is not given; None gives every box.
    """
    if least is None or (glance is None and track is not None):
        if track is None:
            raise ValueError("where every box is given, there is one")
        absent = least is not None and track.sure < least
        return Seen(None, track.sure) if absent else track
    if glance is None:
        raise ValueError("an object is asked about in one way at least")
    if glance.sure >= least:
        return track if track is not None and not lost and track.sure >= least else glance
    if track is not None and not lost and track.sure >= least and _agree(track, glance):
        return track
    return Seen(None, glance.sure)


def _agree(track: Seen, glance: Seen) -> bool:
    if track.box is None or glance.box is None:
        return False
    return float(np.max(iou(track.box, glance.box))) >= _AGREE
