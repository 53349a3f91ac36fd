"""The embedded tracker: CSRT there and back again, and how well the two ways agree.

From the first frame's box the tracker runs to the last frame; from where it ends, a fresh one runs back. A frame's
confidence is the IoU of both ways' boxes there (forward–backward error, Kalal et al. 2010, on boxes): a tracker that slid
off its object does not find the way back. On the last frame both agree by construction; a track that was lost is
already given away on earlier frames.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from elysium.boxes import FloatArray, iou, normalise, to_pixels, xywh_to_xyxy, xyxy_to_xywh
from elysium.curation.protocols import Frame, Track
from elysium.data.records import RawClip

# The longer side, in pixels, that frames are scaled to: CSRT answers in whole pixels, which is coarse on small video.
_TRACKING_SIDE = 640
_MIN_SIDE = 8  # pixels at that size; CSRT's filter cannot be made of much less
_SEED = 0  # of OpenCV's generator, which CSRT's colour model draws from


def csrt_tracker(clip: RawClip, folder: Path) -> CSRTTracker:
    """Returns the tracker; it is the same for every clip."""
    return _shared()


class CSRTTracker:
    """Follows a box with OpenCV's CSRT (Lukezic et al. 2017)."""

    def track(self, frames: Sequence[Frame], box: Sequence[float]) -> Track:
        """Returns the forward track with the forward–backward IoU of each frame as confidence.

        Args:
            frames: In time order, all of one size.
            box: Normalised `(x1, y1, x2, y2)` in the first frame.
        """
        images = [_prepare(frame.image) for frame in frames]
        forward = _follow(images, np.asarray(box, dtype=np.float64))
        track = np.zeros((len(images), 4))
        track[: len(forward)] = forward
        if len(forward) < len(images):
            return Track(track, np.zeros(len(images)))
        backward = _follow(images[::-1], forward[-1])
        confidence = np.zeros(len(images))
        # Where the way back was lost, all earlier frames keep the confidence 0.
        confidence[len(images) - len(backward) :] = iou(forward[len(images) - len(backward) :], backward[::-1])
        return Track(track, np.clip(confidence, 0.0, 1.0))


@functools.cache
def _shared() -> CSRTTracker:
    return CSRTTracker()


def _prepare(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Returns the image in tracking size, BGR."""
    factor = _TRACKING_SIDE / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    return np.ascontiguousarray(scaled[..., ::-1], dtype=np.uint8)


def _follow(images: Sequence[npt.NDArray[np.uint8]], box: FloatArray) -> FloatArray:
    """Returns normalised boxes from the first image on, shape `(n, 4)`; n is short where the object was lost."""
    height, width = images[0].shape[:2]
    start = np.rint(xyxy_to_xywh(to_pixels(box, (width, height)))).astype(int)
    start[2:] = np.maximum(start[2:], _MIN_SIDE)
    start[:2] = np.clip(start[:2], 0, np.maximum([width, height] - start[2:], 0))
    cv2.setRNGSeed(_SEED)
    tracker = cv2.TrackerCSRT_create()
    boxes = [np.asarray(box, dtype=np.float64)]
    tracker.init(images[0], tuple(start.tolist()))
    for image in images[1:]:
        found, place = tracker.update(image)
        cut = normalise(xywh_to_xyxy(np.array(place, dtype=np.float64)), (width, height))
        if not found or (cut[2:] <= cut[:2]).any():
            break
        boxes.append(cut)
    return np.array(boxes)
