"""From a clip to the frame sequences that are curated: cut at scene changes, thinned out, held-out part set aside."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from elysium.config import CurateSettings
from elysium.curation.protocols import Frame
from elysium.data.records import RawClip, Split
from elysium.data.video import VideoFrame

_SHORTEST = 2
_COMPARED_SIDE = 64


@dataclass(frozen=True)
class Shot:
    """One sequence of frames.

    Attributes:
        vid: Its id: the clip's, and the number of the shot where a clip has several.
        split: Which side of the border it lies on.
        frames: In time order, at least two.
    """

    vid: str
    split: Split
    frames: list[Frame]


def cut_shots(clip: RawClip, video: Iterable[VideoFrame], settings: CurateSettings) -> list[Shot]:
    """Returns the shots of a clip, those of one frame left out.

    Annotated clips are kept whole, with every frame. Other clips are thinned out to `frame_rate`, cut where the
    picture changes, and cut again where a shot is longer than `max_frames`. Where the source names no split, the last
    `evaluation_share` of each shot is held out: no frame is on both sides.

    Args:
        clip: The clip.
        video: Its frames.
        settings: Frame rate, thresholds, sizes.
    """
    if clip.annotations is not None:
        frames = [Frame(frame.image, index, frame.timestamp) for index, frame in enumerate(video)]
        return [Shot(clip.id, clip.split or "train", frames)] if len(frames) >= _SHORTEST else []
    parts: list[tuple[Split, list[Frame]]] = []
    for scene in _scenes(_thinned(video, settings), settings.scene_threshold):
        held_out = math.floor(len(scene) * settings.evaluation_share)
        border = len(scene) if clip.split is not None else len(scene) - held_out
        sides: list[tuple[Split, list[Frame]]] = [
            (clip.split or "train", scene[:border]),
            ("evaluation", scene[border:]),
        ]
        for split, side in sides:
            parts += [
                (split, side[start : start + settings.max_frames]) for start in range(0, len(side), settings.max_frames)
            ]
    long_enough = [(split, frames) for split, frames in parts if len(frames) >= _SHORTEST]
    return [Shot(f"{clip.id}-{number:03}", split, frames) for number, (split, frames) in enumerate(long_enough)]


def scene_change(before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]) -> float:
    """Returns the mean absolute difference of two small HSV images, in [0, 255]: the content score of scene detection."""
    return float(np.abs(before.astype(np.int16) - after.astype(np.int16)).mean())


def _thinned(video: Iterable[VideoFrame], settings: CurateSettings) -> list[Frame]:
    """Returns the frames at most `frame_rate` a second, made smaller than `max_side`."""
    kept: list[Frame] = []
    due = -math.inf
    for index, frame in enumerate(video):
        if frame.timestamp < due:
            continue
        # Half a frame of tolerance: timestamps are rounded to the container's clock.
        due = frame.timestamp + 1 / settings.frame_rate - 1e-3
        kept.append(Frame(_smaller(frame.image, settings.max_side), index, frame.timestamp))
    return kept


def _scenes(frames: Sequence[Frame], threshold: float) -> list[list[Frame]]:
    scenes: list[list[Frame]] = []
    before = None
    for frame in frames:
        small = cv2.cvtColor(cv2.resize(frame.image, (_COMPARED_SIDE, _COMPARED_SIDE)), cv2.COLOR_RGB2HSV)
        if before is None or scene_change(before, small) > threshold:
            scenes.append([])
        scenes[-1].append(frame)
        before = small
    return scenes


def _smaller(image: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    factor = side / max(image.shape[:2])
    if factor >= 1:
        return image
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
