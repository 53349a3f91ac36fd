import re

import numpy as np
import pytest

from elysium.boxes import iou
from elysium.data import vocabulary
from elysium.data.drawing import composite, half_extents
from elysium.data.scene import Actor
from elysium.data.simulator import simulate

SEEDS = range(40)


@pytest.fixture(scope="module")
def clips():
    return [simulate(seed, num_frames=12, side=64) for seed in SEEDS]


def test_a_seed_gives_the_same_clip_every_time():
    first, second = simulate(5), simulate(5)
    assert np.array_equal(first.frames, second.frames)
    assert (first.caption, first.annotations) == (second.caption, second.annotations)


def test_seeds_give_different_clips(clips):
    assert len({clip.frames.tobytes() for clip in clips}) == len(clips)


def test_a_clip_has_the_size_that_was_asked_for():
    clip = simulate(1, num_frames=5, side=96)
    assert clip.frames.shape == (5, 96, 96, 3)
    assert clip.frames.dtype == np.uint8
    assert all(len(item.boxes) == len(item.visibility) == 5 for item in clip.annotations.objects)


@pytest.mark.parametrize(("name", "value"), [("seed", -1), ("num_frames", 1), ("side", 31)])
def test_sizes_that_cannot_be_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is at least .*, got {value}"):
        simulate(**{"seed": 0, name: value})


def test_every_expression_names_one_object_only(clips):
    for clip in clips:
        names = [set(item.expression.split()[1:]) for item in clip.annotations.objects]
        for i, words in enumerate(names):
            assert not any(words <= others for j, others in enumerate(names) if j != i), clip.caption


def test_the_caption_names_every_object_and_no_other(clips):
    for clip in clips:
        caption = clip.caption.lower()
        named = re.findall(rf"an? (?:\w+ )*?(?:{'|'.join(vocabulary.SHAPES)})\b", caption)
        assert sorted(named) == sorted(item.expression for item in clip.annotations.objects)


def test_captions_use_the_published_vocabulary_only(clips):
    known = set(vocabulary.words())
    for clip in clips:
        assert set(re.findall(r"[a-z]+", clip.caption.lower())) <= known


def test_the_class_is_the_head_noun(clips):
    assert all(
        item.expression.split()[-1] == item.object_class in vocabulary.SHAPES
        for clip in clips
        for item in clip.annotations.objects
    )


def test_two_objects_at_least_stay_seen_in_every_clip(clips):
    for clip in clips:
        assert sum(min(item.visibility) > 0.8 for item in clip.annotations.objects) >= 2


def test_some_objects_hide_leave_and_enter(clips):
    objects = [item for clip in clips for item in clip.annotations.objects]
    assert any(item.boxes[0] is None and item.boxes[-1] is not None for item in objects)
    assert any(item.boxes[0] is not None and item.boxes[-1] is None for item in objects)
    assert any(None not in item.boxes and min(item.visibility) < 0.5 < item.visibility[-1] for item in objects)


def test_steady_objects_move(clips):
    overlaps = []
    for clip in clips:
        for item in clip.annotations.objects:
            if None not in item.boxes:
                overlaps.append(float(iou(np.array(item.boxes[0]), np.array(item.boxes[-1]))))
    assert np.mean(overlaps) < 0.6


@pytest.mark.parametrize("shape", vocabulary.SHAPES)
def test_boxes_are_exact(shape):
    side = 200
    canvas = np.zeros((side, side, 3), dtype=np.float32)
    centres, radii = np.array([[0.5, 0.45], [0.53, 0.61]]), np.array([0.2, 0.13])
    actor = Actor("large", "white", shape, (255, 255, 255), "stays", centres, radii)
    frames, shares = composite(canvas, [actor])
    for frame, box in zip(frames, actor.boxes(), strict=True):
        rows, columns = np.nonzero(frame[..., 0] > 90)
        drawn = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert np.abs(drawn - box * side).max() <= 1.6
    assert np.allclose(shares[0], 1)
    assert half_extents(shape).max() <= 1


def test_visibility_is_the_share_of_pixels_not_covered():
    canvas = np.zeros((100, 100, 3), dtype=np.float32)
    radii = np.array([0.2])
    front = Actor("large", "white", "square", (255, 255, 255), "stays", np.array([[0.5, 0.5]]), radii)
    behind = Actor("large", "red", "square", (255, 0, 0), "hides", np.array([[0.5 + 0.176, 0.5]]), radii)
    frames, (seen_front, seen_behind) = composite(canvas, [front, behind])
    assert seen_front[0] == pytest.approx(1, abs=1e-6)
    assert seen_behind[0] == pytest.approx(0.5, abs=0.02)
    assert frames[0, 50, 55].min() > 100  # white is in front where both are


def test_an_object_outside_the_frame_is_not_seen():
    canvas = np.zeros((64, 64, 3), dtype=np.float32)
    centres = np.array([[0.5, 0.5], [0.0, 0.5], [-1.0, 0.5]])
    actor = Actor("small", "white", "circle", (255, 255, 255), "leaves", centres, np.full(3, 0.2))
    _, (seen,) = composite(canvas, [actor])
    assert seen == pytest.approx([1, 0.5, 0], abs=0.03)
