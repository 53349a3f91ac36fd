"""What stands beside every model: a box that never moves, the model without memory, and a tracker without a model.

`static_box` holds the given box, or for a named object the model's own first box. `frame_by_frame` is the same model
shown one frame at a time and told the object's name. `csrt` is OpenCV's CSRT (Lukezic et al. 2017) from the same first
box as `static_box`, on real video.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import islice

import numpy as np
import numpy.typing as npt

from elysium.boxes import FloatArray
from elysium.evaluation.tasks.asking import Crashed, Image, ground
from elysium.inference import Engine

_FRAMES_AT_ONCE = 64


def static_box(first: npt.ArrayLike, count: int) -> FloatArray:
    """Returns a box that never moves, shape `(count, 4)`."""
    return np.tile(np.asarray(first, dtype=np.float64), (count, 1))


def frame_by_frame(engine: Engine, clip: Sequence[Image], name: str) -> FloatArray:
    """Returns the named object's box in each frame, asked about by itself: shape `(T, 4)`, NaN without an answer."""
    boxes: list[FloatArray] = []
    frames = iter(clip)
    # A video may be too long for memory.
    while chunk := list(islice(frames, _FRAMES_AT_ONCE)):
        answers = ground(engine, chunk, [name] * len(chunk))
        boxes += [np.full(4, np.nan) if isinstance(answer, Crashed) else answer for answer in answers]
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def has_csrt() -> bool:
    """Returns whether OpenCV is installed."""
    return find_spec("cv2") is not None


def csrt(clip: Sequence[Image], first: npt.ArrayLike) -> FloatArray:
    """Returns CSRT's boxes, shape `(T, 4)`, normalised; NaN from where it says that it lost the object."""
    from elysium.curation.tracking import follow

    boxes = np.full((len(clip), 4), np.nan)
    if np.isfinite(np.asarray(first, dtype=np.float64)).all():
        found = follow(clip, first)
        boxes[: len(found)] = found
    return boxes
