"""Scene cuts, and the pieces of a video that are curated one by one, each wholly train or wholly evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from elysium.config import CurateSettings
from elysium.curation.protocols import Frame
from elysium.data.records import Split

_SIDE = 160  # pixels; cuts are seen just as well on small frames


@dataclass(frozen=True)
class Piece:
    """Some frames of one shot.

    Attributes:
        shot: Number of the shot in its video, from 0.
        split: Which side of the train/evaluation border the piece lies on.
        indices: Source frame numbers, in time order.
    """

    shot: int
    split: Split
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Timeline:
    """What the first pass over a video keeps of it.

    Attributes:
        timestamps: Shape `(n,)`, seconds.
        changes: Shape `(n,)`; how much each frame differs from the one before it, 0 for the first.
    """

    timestamps: tuple[float, ...]
    changes: tuple[float, ...]


def read_timeline(frames: Iterable[Frame]) -> Timeline:
    """Returns times and changes of a video's frames; memory does not grow with their size."""
    timestamps: list[float] = []
    changes: list[float] = []
    before: npt.NDArray[np.int16] | None = None
    for frame in frames:
        small = _small_hsv(frame.image)
        # A stream that changes its size starts a new shot.
        same_size = before is not None and before.shape == small.shape
        changes.append(_change(before, small) if same_size and before is not None else 0.0 if before is None else 255.0)
        timestamps.append(frame.timestamp)
        before = small
    return Timeline(tuple(timestamps), tuple(changes))


def scene_change(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> float:
    """Returns the mean absolute change of hue, saturation and value between two RGB frames of one size, 0 to 255.

    Hue is a circle of 180 steps, as OpenCV counts them; its largest change is 90.
    """
    return _change(_small_hsv(first), _small_hsv(second))


def plan_pieces(
    timeline: Timeline, settings: CurateSettings, *, split: Split | None = None, every_frame: bool = False
) -> list[Piece]:
    """Returns the pieces of a video in time order; no frame is in two of them.

    A shot ends where a frame changes more than `scene_threshold`. Its frames are sampled at `frame_rate`. Where no
    split was decided (`split_by: time`), the shot's first `1 - evaluation_share` is train and its end evaluation; a
    shot too short to give both `min_frames` is train as a whole. Parts longer than `max_frames`, held-out ones of real
    video longer than `evaluation_frames`, are cut into equal pieces.

    Args:
        timeline: The video's.
        settings: Thresholds.
        split: Which side the video is on, if that was decided.
        every_frame: Keeps every frame instead of sampling; for simulated clips.
    """
    held_out = settings.max_frames if every_frame else min(settings.max_frames, settings.evaluation_frames)
    pieces = []
    for number, shot in enumerate(_shots(timeline.changes, settings.scene_threshold)):
        kept = shot if every_frame else _sample(shot, timeline.timestamps, settings.frame_rate)
        for part_split, part in _parts(kept, settings, split):
            count = -(-len(part) // (held_out if part_split == "evaluation" else settings.max_frames))
            for piece in np.array_split(np.array(part, dtype=int), count):
                pieces.append(Piece(number, part_split, tuple(piece.tolist())))
    return pieces


def _shots(changes: Sequence[float], threshold: float) -> list[list[int]]:
    shots: list[list[int]] = []
    for index, change in enumerate(changes):
        if index == 0 or change > threshold:
            shots.append([])
        shots[-1].append(index)
    return shots


def _sample(shot: Sequence[int], timestamps: Sequence[float], frame_rate: float) -> list[int]:
    """Returns the first frame of each interval of `1 / frame_rate` seconds; a slower video keeps every frame."""
    kept: list[int] = []
    interval = -1
    for index in shot:
        # The small addition keeps a frame that lies on the border by a rounding error from slipping under it.
        current = int((timestamps[index] - timestamps[shot[0]]) * frame_rate + 1e-6)
        if current > interval:
            kept.append(index)
            interval = current
    return kept


def _parts(kept: list[int], settings: CurateSettings, split: Split | None) -> list[tuple[Split, list[int]]]:
    if split is not None:
        return [(split, kept)]
    num_train = int(np.ceil(len(kept) * (1 - settings.evaluation_share) - 1e-9))
    if min(num_train, len(kept) - num_train) < settings.min_frames:
        return [("train", kept)]
    return [("train", kept[:num_train]), ("evaluation", kept[num_train:])]


def _small_hsv(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
    factor = min(1.0, _SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2HSV), dtype=np.int16)


def _change(first: npt.NDArray[np.int16], second: npt.NDArray[np.int16]) -> float:
    difference = np.abs(first - second)
    difference[..., 0] = np.minimum(difference[..., 0], 180 - difference[..., 0])
    return float(difference.mean())
