"""The pieces of a video that are curated one by one: cut while the video is decoded, once, whatever its length.

A piece is some frames of one shot, sampled at `frame_rate`, and wholly train or wholly evaluation. At most two pieces'
frames are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elysium.config import CurateSettings
from elysium.curation.protocols import Frame
from elysium.curation.shots import CutDetector
from elysium.data.decoding import DecodedFrame, decode_file
from elysium.data.limits import Limits
from elysium.data.records import Split

WORKING_SIDE = 1024  # pixels; detectors and tracker never see larger frames


@dataclass(frozen=True)
class Piece:
    """Some frames of one shot.

    Attributes:
        shot: Number of the shot in its video, from 0.
        split: Which side of the train/evaluation border the piece lies on.
        frames: In time order, of one size, the longer side at most `WORKING_SIDE`.
    """

    shot: int
    split: Split
    frames: list[Frame]


def read_pieces(
    path: Path,
    settings: CurateSettings,
    *,
    split: Split | None,
    every_frame: bool = False,
    limits: Limits | None = None,
) -> Iterator[Piece]:
    """Yields the pieces of a video in time order; no frame is in two of them.

    Where no split was decided (`split_by: time`), each shot's first `1 - evaluation_share` is train and its end
    evaluation; a shot too short to give both `min_frames` is train as a whole. Only then the video is decoded twice,
    for how long a shot is shows at its end.

    Args:
        path: The video.
        settings: Frame rate, cuts and lengths.
        split: Which side the video is on, if that was decided.
        every_frame: Keeps every frame instead of sampling; for simulated clips.
        limits: How much the video may ask of this machine.

    Raises:
        VideoError: If it cannot be read; the pieces before have been yielded.
    """

    def sampled() -> Iterator[tuple[int, Frame]]:
        return sample_shots(decode_file(path, limits), settings, every_frame=every_frame)

    held_out = settings.max_frames if every_frame else min(settings.max_frames, settings.evaluation_frames)
    longest: dict[Split, int] = {"train": settings.max_frames, "evaluation": held_out}
    if split is not None:
        yield from cut_pieces(sampled(), lambda shot, position: split, longest)
        return
    borders = [_num_train(length, settings) for length in _shot_lengths(sampled())]
    yield from cut_pieces(
        sampled(), lambda shot, position: "train" if position < borders[shot] else "evaluation", longest
    )


def sample_shots(
    decoded: Iterable[DecodedFrame], settings: CurateSettings, *, every_frame: bool = False
) -> Iterator[tuple[int, Frame]]:
    """Yields the frames that are kept, each with the number of its shot; the others are not even converted.

    The first frame of each interval of `1 / frame_rate` seconds is kept; a slower video keeps every frame. A shot ends
    where a kept frame changes more than `scene_threshold`; the intervals begin anew with each shot.
    """
    cuts = CutDetector()
    shot, began, interval = 0, 0.0, -1
    for frame in decoded:
        if interval < 0:
            began = frame.timestamp
        # The small addition keeps a frame that lies on the border by a rounding error from slipping under it.
        current = int((frame.timestamp - began) * settings.frame_rate + 1e-6)
        if current <= interval and not every_frame:
            continue
        interval = current
        image = frame.image(WORKING_SIDE)
        if cuts.change(image) > settings.scene_threshold:
            shot, began, interval = shot + 1, frame.timestamp, 0
        yield shot, Frame(image, frame.number, frame.timestamp)


def cut_pieces(
    frames: Iterable[tuple[int, Frame]], split_of: Callable[[int, int], Split], longest: dict[Split, int]
) -> Iterator[Piece]:
    """Yields pieces of one shot and one split each.

    What is longer than allowed is cut: whole lengths while more than two of them are waiting, the rest in halves, so
    that no piece is a mere remainder.

    Args:
        frames: Each with the number of its shot.
        split_of: The split of a frame, by shot and position among the shot's frames.
        longest: Frames of a piece at most, by split.
    """
    waiting: list[Frame] = []
    at: tuple[int, Split] | None = None
    position = 0
    for shot, frame in frames:
        position = position + 1 if at is not None and at[0] == shot else 0
        split = split_of(shot, position)
        if at is not None and at != (shot, split):
            yield from _rest(waiting, *at, longest[at[1]])
            waiting = []
        at = (shot, split)
        waiting.append(frame)
        if len(waiting) > 2 * longest[split]:
            yield Piece(shot, split, waiting[: longest[split]])
            waiting = waiting[longest[split] :]
    if at is not None:
        yield from _rest(waiting, *at, longest[at[1]])


def _rest(frames: Sequence[Frame], shot: int, split: Split, longest: int) -> Iterator[Piece]:
    count = -(-len(frames) // longest)
    first = 0
    for share in np.array_split(np.arange(len(frames)), count):
        yield Piece(shot, split, list(frames[first : first + len(share)]))
        first += len(share)


def _shot_lengths(frames: Iterable[tuple[int, Frame]]) -> list[int]:
    lengths: list[int] = []
    for shot, _ in frames:
        if shot == len(lengths):
            lengths.append(0)
        lengths[shot] += 1
    return lengths


def _num_train(length: int, settings: CurateSettings) -> int:
    num_train = int(np.ceil(length * (1 - settings.evaluation_share) - 1e-9))
    return length if min(num_train, length - num_train) < settings.min_frames else num_train
