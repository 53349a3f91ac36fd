"""Videos become pieces: cut at scene changes, sampled, never too long, and decoded once."""

import numpy as np
import pytest

from elysium.curation.pieces import cut_pieces, read_pieces, sample_shots
from elysium.curation.protocols import Frame
from elysium.curation.shots import CutDetector, scene_change
from elysium.data.decoding import DecodedFrame
from elysium.data.limits import VideoError
from elysium.data.video import write_video

DARK, LIGHT = np.full((8, 12, 3), 20, np.uint8), np.full((8, 12, 3), 230, np.uint8)


class Raw(DecodedFrame):
    """A decoded frame that counts its conversions."""

    converted = 0

    def image(self, longest=None):
        Raw.converted += 1
        return self.frame


def video(num_frames, rate=24.0, cuts=()):
    images, picture = [], DARK
    for index in range(num_frames):
        if index in cuts:
            picture = LIGHT if picture is DARK else DARK
        images.append(Raw(index, index / rate, picture))
    return images


def pieces(settings, frames, split="train", longest=None, every_frame=False):
    longest = longest or {"train": settings.max_frames, "evaluation": settings.evaluation_frames}
    return list(cut_pieces(sample_shots(frames, settings, every_frame=every_frame), lambda *_: split, longest))


def indices(piece):
    return [frame.index for frame in piece.frames]


def test_a_cut_is_a_large_change_and_motion_is_not():
    rng = np.random.default_rng(0)
    street = rng.integers(0, 90, (90, 160, 3), dtype=np.uint8)
    meadow = rng.integers(150, 255, (90, 160, 3), dtype=np.uint8)
    moved = street.copy()
    moved[20:50, 20:60] = 200
    assert scene_change(street, meadow) > 27 > scene_change(street, moved)


def test_hue_is_a_circle():
    first = np.full((8, 8, 3), (200, 0, 5), np.uint8)
    second = np.full((8, 8, 3), (200, 5, 0), np.uint8)
    assert scene_change(first, second) < 2


def test_a_change_of_frame_size_is_a_cut(settings):
    cuts = CutDetector()
    changes = [cuts.change(np.zeros(shape, np.uint8)) for shape in ((40, 60, 3), (40, 60, 3), (60, 40, 3), (60, 40, 3))]
    assert [change > settings.scene_threshold for change in changes] == [False, False, True, False]


def test_shots_end_at_cuts(settings):
    found = pieces(settings, video(40, 12, cuts={15}))
    assert [(piece.shot, indices(piece)[0], indices(piece)[-1]) for piece in found] == [(0, 0, 14), (1, 15, 39)]


@pytest.mark.parametrize(
    ("rate", "kept"), [(24.0, 12), (12.0, 24), (6.0, 24), (29.97, 10)], ids=["half", "same", "slower", "odd"]
)
def test_frames_are_sampled_at_the_frame_rate_and_no_other_is_converted(settings, rate, kept):
    Raw.converted = 0
    (piece,) = pieces(settings, video(24, rate))
    assert len(piece.frames) == kept == Raw.converted


def test_simulated_clips_keep_every_frame(settings):
    (piece,) = pieces(settings, video(24, 120), every_frame=True)
    assert indices(piece) == list(range(24))


@pytest.mark.parametrize(
    ("length", "cut"),
    [
        (64, [64]),
        (65, [33, 32]),
        (128, [64, 64]),
        (129, [64, 33, 32]),
        (200, [64, 64, 36, 36]),
        (257, [64, 64, 64, 33, 32]),
    ],
)
def test_long_shots_are_cut_and_no_piece_is_a_mere_remainder(settings, length, cut):
    found = pieces(settings, video(length, 12))
    assert [len(piece.frames) for piece in found] == cut
    assert [index for piece in found for index in indices(piece)] == list(range(length))


def test_no_more_than_two_pieces_of_a_long_shot_are_in_memory(settings):
    taken = 0

    def endless():
        nonlocal taken
        for index in range(10_000):
            taken += 1
            yield 0, Frame(DARK, index, index / 12)

    cutting = cut_pieces(endless(), lambda *_: "train", {"train": settings.max_frames, "evaluation": 16})
    for number in range(1, 20):
        next(cutting)
        assert taken <= (number + 1) * settings.max_frames + 1


def test_held_out_shots_are_cut_shorter(settings_with):
    settings = settings_with(evaluation_frames=16)
    assert [len(piece.frames) for piece in pieces(settings, video(48, 12), "evaluation")] == [16, 16, 16]


@pytest.fixture(scope="module")
def two_shots(tmp_path_factory):
    """A file of a dark shot of 20 frames and a light one of 30, 12 frames a second."""
    path = tmp_path_factory.mktemp("video") / "two.mp4"
    frames = [np.full((48, 64, 3), 20 if index < 20 else 230, np.uint8) for index in range(50)]
    write_video(path, frames, 12)
    return path


def test_the_end_of_each_shot_is_for_evaluation_where_the_time_decides(settings_with, two_shots):
    found = list(read_pieces(two_shots, settings_with(split_by="time"), split=None))
    assert [(piece.shot, piece.split, len(piece.frames)) for piece in found] == [
        (0, "train", 14),
        (0, "evaluation", 6),
        (1, "train", 20),
        (1, "evaluation", 10),
    ]
    numbers = [index for piece in found for index in indices(piece)]
    assert numbers == sorted(set(numbers))


def test_a_shot_too_short_for_both_is_train(settings_with, two_shots):
    found = list(read_pieces(two_shots, settings_with(split_by="time", min_frames=16), split=None))
    assert [(piece.split, len(piece.frames)) for piece in found] == [("train", 20), ("train", 30)]


def test_large_frames_come_at_working_size(settings, tmp_path):
    write_video(tmp_path / "wide.mp4", np.zeros((6, 540, 2048, 3), np.uint8), 12)
    (piece,) = read_pieces(tmp_path / "wide.mp4", settings, split="train")
    assert {frame.image.shape for frame in piece.frames} == {(270, 1024, 3)}


def test_what_comes_before_damage_is_yielded(settings_with, two_shots, tmp_path):
    path = tmp_path / "cut.mp4"
    path.write_bytes(two_shots.read_bytes()[:-200])
    reading = read_pieces(path, settings_with(max_frames=4), split="train")
    assert len(next(reading).frames) == 4
    with pytest.raises(VideoError):
        list(reading)
