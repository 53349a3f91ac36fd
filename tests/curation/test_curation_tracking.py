import numpy as np
import pytest

from elysium.boxes import iou
from elysium.curation.protocols import Frame
from elysium.curation.tracking import CSRTTracker

NUM_FRAMES = 10


@pytest.fixture(scope="module")
def scene():
    """A textured patch that moves over a textured ground, and its boxes."""
    rng = np.random.default_rng(0)
    ground = rng.integers(60, 120, (120, 160, 3), dtype=np.uint8)
    patch = rng.integers(0, 255, (5, 5, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    frames, boxes = [], []
    for index in range(NUM_FRAMES):
        image = ground.copy()
        x, y = 20 + 5 * index, 30 + 2 * index
        image[y : y + 40, x : x + 40] = patch
        frames.append(Frame(image, index, index / 12))
        boxes.append([x / 160, y / 120, (x + 40) / 160, (y + 40) / 120])
    return frames, np.array(boxes)


def test_a_moving_object_is_followed_with_confidence(scene):
    frames, boxes = scene
    track = CSRTTracker().track(frames, boxes[0])
    assert track.confidence.min() > 0.8
    assert iou(track.boxes, boxes).min() > 0.7


def test_an_object_that_vanishes_is_not_followed_with_confidence(scene):
    frames, boxes = scene
    empty = np.random.default_rng(1).integers(60, 120, (120, 160, 3), dtype=np.uint8)
    gone = [*frames[:5], *(Frame(empty, index, index / 12) for index in range(5, NUM_FRAMES))]
    assert CSRTTracker().track(gone, boxes[0]).confidence.min() < 0.8


def test_the_same_frames_give_the_same_track(scene):
    frames, boxes = scene
    first, second = (CSRTTracker().track(frames, boxes[0]) for _ in range(2))
    assert np.array_equal(first.boxes, second.boxes)
    assert np.array_equal(first.confidence, second.confidence)


def test_a_face_is_followed_in_real_video(carphone_frames):
    track = CSRTTracker().track(carphone_frames, (0.34, 0.23, 0.69, 0.66))
    assert track.confidence.min() > 0.8


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (0.999, 0.999, 1, 1), (0.5, 0.5, 0.501, 0.501)])
def test_extreme_boxes_do_not_fail(scene, box):
    track = CSRTTracker().track(scene[0][:3], box)
    assert track.boxes.shape == (3, 4)
    assert np.isfinite(track.boxes).all()
    assert ((track.confidence >= 0) & (track.confidence <= 1)).all()
