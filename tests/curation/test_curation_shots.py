import numpy as np
import pytest

from elysium.curation.protocols import Frame
from elysium.curation.shots import Timeline, plan_pieces, read_timeline, scene_change


def timeline(num_frames, rate=24.0, cuts=()):
    changes = [100.0 if index in cuts else 1.0 for index in range(num_frames)]
    return Timeline(tuple(index / rate for index in range(num_frames)), (0.0, *changes[1:]))


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
    frames = [np.zeros(shape, np.uint8) for shape in ((40, 60, 3), (40, 60, 3), (60, 40, 3), (60, 40, 3))]
    read = read_timeline(Frame(image, index, index / 12) for index, image in enumerate(frames))
    assert [change > settings.scene_threshold for change in read.changes] == [False, False, True, False]


def test_shots_end_at_cuts(settings):
    pieces = plan_pieces(timeline(40, 12, cuts={15}), settings, split="train")
    assert [(piece.shot, piece.indices[0], piece.indices[-1]) for piece in pieces] == [(0, 0, 14), (1, 15, 39)]


@pytest.mark.parametrize(
    ("rate", "kept"), [(24.0, 12), (12.0, 24), (6.0, 24), (29.97, 10)], ids=["half", "same", "slower", "odd"]
)
def test_frames_are_sampled_at_the_frame_rate(settings, rate, kept):
    (piece,) = plan_pieces(timeline(24, rate), settings, split="train")
    assert len(piece.indices) == kept


def test_simulated_clips_keep_every_frame(settings):
    (piece,) = plan_pieces(timeline(24, 120), settings, split="train", every_frame=True)
    assert piece.indices == tuple(range(24))


def test_the_end_of_each_shot_is_for_evaluation_and_shares_no_frame(settings):
    pieces = plan_pieces(timeline(50, 12, cuts={20}), settings)
    assert [(piece.shot, piece.split, len(piece.indices)) for piece in pieces] == [
        (0, "train", 14),
        (0, "evaluation", 6),
        (1, "train", 20),
        (1, "evaluation", 10),
    ]
    indices = [index for piece in pieces for index in piece.indices]
    assert indices == sorted(set(indices))


def test_a_shot_too_short_for_both_is_train(settings):
    (piece,) = plan_pieces(timeline(8, 12), settings)
    assert piece.split == "train"
    assert len(piece.indices) == 8


def test_long_shots_are_cut_into_equal_pieces(settings):
    pieces = plan_pieces(timeline(130, 12), settings, split="train")
    assert [len(piece.indices) for piece in pieces] == [44, 43, 43]


def test_no_evaluation_share_makes_everything_train(settings_with):
    pieces = plan_pieces(timeline(50, 12), settings_with(evaluation_share=0))
    assert {piece.split for piece in pieces} == {"train"}


def test_held_out_shots_are_cut_shorter_but_not_those_of_simulated_clips(settings_with):
    settings = settings_with(evaluation_frames=16)
    pieces = plan_pieces(timeline(48, 12), settings, split="evaluation")
    assert [len(piece.indices) for piece in pieces] == [16, 16, 16]
    (piece,) = plan_pieces(timeline(48, 12), settings, split="evaluation", every_frame=True)
    assert len(piece.indices) == 48
