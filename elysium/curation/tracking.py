"""The embedded tracker: CSRT there and back again, and how well the two ways agree.

From the first frame's box the tracker runs to the last frame; from where it ends, a fresh one runs back. A tracker that
slid off its object does not find the way back (forward–backward error, Kalal et al. 2010, here on boxes). Both ways
err alike and independently, so that boxes which each overlap the object by `a` overlap each other by about `a²`: a
frame's confidence is the square root of the IoU of both ways' boxes there. On the last frame both agree by
construction; a track that was lost is given away on earlier frames.

On 276 objects of simulated clips (sides 128 and 256) 0.8 on every frame kept three quarters of the tracks whose mean
IoU with the truth was at least 0.7, and 96 % of the kept ones were such; asking the plain IoU for 0.8 would have kept
one third, no cleaner.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from elysium.boxes import FloatArray, iou, normalise, to_pixels, xywh_to_xyxy, xyxy_to_xywh
from elysium.config import CurateSettings
from elysium.curation.protocols import Frame, Track

_MAX_SIDE = 640  # pixels; larger frames are scaled down, which costs no accuracy and saves most of the time
_MIN_BOX = 4  # pixels; CSRT's filter cannot be made of less
_SEED = 0  # of OpenCV's generator, which CSRT's colour model draws from


def csrt_tracker(settings: CurateSettings) -> CSRTTracker:
    """Returns the tracker; it has no settings."""
    return CSRTTracker()


class CSRTTracker:
    """Follows a box with OpenCV's CSRT (Lukezic et al. 2017)."""

    def track(self, frames: Sequence[Frame], box: Sequence[float]) -> Track:
        """Returns the forward track and each frame's forward–backward confidence.

        Args:
            frames: In time order, all of one size.
            box: Normalised `(x1, y1, x2, y2)` in the first frame.
        """
        images = [_prepare(frame.image) for frame in frames]
        forward = _follow(images, box)
        track = np.zeros((len(images), 4))
        track[: len(forward)] = forward
        if len(forward) < len(images):
            return Track(track, np.zeros(len(images)))
        backward = _follow(images[::-1], forward[-1])
        confidence = np.zeros(len(images))
        # Where the way back was lost, all earlier frames keep the confidence 0.
        confidence[len(images) - len(backward) :] = iou(forward[len(images) - len(backward) :], backward[::-1])
        return Track(track, np.sqrt(np.clip(confidence, 0.0, 1.0)))


def follow(images: Iterable[npt.NDArray[np.uint8]], box: npt.ArrayLike) -> FloatArray:
    """Returns CSRT's boxes on RGB images of one size, normalised, shape `(n, 4)`; n is short where it lost the object.

    Args:
        images: In time order; they are looked at once.
        box: Normalised `(x1, y1, x2, y2)` in the first one; it comes back as it was given.
    """
    return _follow(map(_prepare, images), box)


def _prepare(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Returns the image in tracking size, BGR."""
    factor = min(1.0, _MAX_SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if factor < 1 else image
    return np.ascontiguousarray(scaled[..., ::-1], dtype=np.uint8)


def _follow(images: Iterable[npt.NDArray[np.uint8]], box: npt.ArrayLike) -> FloatArray:
    """Returns normalised boxes from the first image on, shape `(n, 4)`; n is short where the object was lost."""
    rest = iter(images)
    first = next(rest)
    height, width = first.shape[:2]
    start = np.rint(xyxy_to_xywh(to_pixels(box, (width, height)))).astype(int)
    start[2:] = np.maximum(start[2:], _MIN_BOX)
    start[:2] = np.clip(start[:2], 0, np.maximum([width, height] - start[2:], 0))
    cv2.setRNGSeed(_SEED)
    tracker: Any = cv2.TrackerCSRT_create()  # type: ignore[attr-defined]  # missing from OpenCV's stubs
    boxes: list[FloatArray] = [np.asarray(box, dtype=np.float64)]
    tracker.init(first, tuple(start.tolist()))
    for image in rest:
        found, place = tracker.update(image)
        cut = normalise(xywh_to_xyxy(np.array(place, dtype=np.float64)), (width, height))
        if not found or (cut[2:] <= cut[:2]).any():
            break
        boxes.append(cut)
    return np.array(boxes)
