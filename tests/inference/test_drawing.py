"""Pictures: what is drawn is looked for in their pixels."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageColor

from elysium.errors import UsageError
from elysium.inference.drawing import PALETTE, Annotator, DrawOptions
from elysium.inference.results import FrameResult, TrackedObject

SIZES = [(320, 240), (1280, 720), (64, 64), (33, 17)]


def grey(size):
    return np.full((size[1], size[0], 3), 128, np.uint8)


def result(size, *objects, frame=0):
    return FrameResult(frame, frame / 25, size, objects)


def thing(number, box, label="a car", confidence=0.5):
    return TrackedObject(number, label, box, confidence, box is not None)


def where(image, number):
    """Returns the mask of pixels in the colour of object `number`."""
    colour = np.array(ImageColor.getrgb(PALETTE[(number - 1) % len(PALETTE)]))
    return (np.abs(image.astype(int) - colour) <= 2).all(-1)


def draw(size, *objects, **options):
    return Annotator(DrawOptions(**options)).annotate(result(size, *objects), grey(size))


@pytest.mark.parametrize("size", SIZES)
def test_a_box_stands_where_the_result_says(size):
    w, h = size
    box = (0.25 * w, 0.25 * h, 0.75 * w, 0.75 * h)
    image = draw(size, thing(1, box), labels=False)
    assert image.shape == (h, w, 3)
    assert image.dtype == np.uint8
    ys, xs = np.nonzero(where(image, 1))
    np.testing.assert_allclose([xs.min(), ys.min(), xs.max(), ys.max()], box, atol=2.5)
    assert (image[h // 2, w // 2] == 128).all()


def test_the_frame_itself_is_not_drawn_into():
    image = grey((64, 64))
    image.setflags(write=False)
    Annotator(DrawOptions()).annotate(result((64, 64), thing(1, (5, 5, 40, 40))), image)
    assert (image == 128).all()


def test_each_object_keeps_its_own_colour():
    objects = [thing(number, (40.0 * number, 60, 40.0 * number + 25, 90)) for number in range(1, 8)]
    image = draw((360, 240), *objects, labels=False)
    for number in range(1, 8):
        _, xs = np.nonzero(where(image, number))
        assert abs(xs.min() - 40 * number) <= 2
    alone = draw((360, 240), objects[4], labels=False)
    np.testing.assert_array_equal(where(alone, 5), where(image, 5))


def test_boxes_are_scaled_to_the_image_that_is_given():
    image = Annotator(DrawOptions(labels=False)).annotate(
        result((640, 480), thing(1, (160, 120, 480, 360))), grey((320, 240))
    )
    ys, xs = np.nonzero(where(image, 1))
    np.testing.assert_allclose([xs.min(), ys.min(), xs.max(), ys.max()], (80, 60, 240, 180), atol=2)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "box", [(-0.2, -0.2, 0.3, 0.3), (0.8, -0.1, 1.3, 0.4), (-0.3, 0.8, 0.2, 1.2), (0.7, 0.7, 1.0, 1.0)]
)
def test_labels_at_the_border_are_inside_and_whole(size, box):
    w, h = size
    placed = (box[0] * w, box[1] * h, box[2] * w, box[3] * h)
    free = (0.3 * w, 0.5 * h, 0.6 * w, 0.9 * h)
    plain, labelled = (draw(size, thing(1, placed, "car"), labels=labels) for labels in (False, True))
    tag = (plain != labelled).any(-1).sum()
    plain, labelled = (draw(size, thing(1, free, "car"), labels=labels) for labels in (False, True))
    expected = (plain != labelled).any(-1).sum()
    assert expected > 0
    if h > 17:  # there a label is as tall as the frame
        assert tag == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize("size", SIZES)
def test_a_label_too_long_for_the_frame_is_cut_and_keeps_its_confidence(size):
    w, h = size
    long = "the small red car " * 20
    images = [
        draw(size, thing(1, (0.1 * w, 0.5 * h, 0.9 * w, 0.9 * h), long, confidence), show_confidence=True)
        for confidence in (0.25, 0.87)
    ]
    assert (images[0] != images[1]).any()
    assert images[0].shape == (h, w, 3)


def test_confidence_is_shown_where_it_is_asked_for_and_the_model_s_own():
    def picture(confidence, show):
        return draw((320, 240), thing(1, (50, 80, 200, 200), "a car", confidence), show_confidence=show)

    assert (picture(0.5, True) != picture(0.9, True)).any()
    np.testing.assert_array_equal(picture(0.5, False), picture(0.9, False))
    np.testing.assert_array_equal(picture(1.0, True), picture(1.0, False))  # a box that was given


def test_objects_of_one_label_are_told_apart():
    alone = draw((320, 240), thing(1, (50, 80, 100, 200)))
    both = draw((320, 240), thing(1, (50, 80, 100, 200)), thing(2, (200, 80, 250, 200)))
    assert where(both, 1).sum() > where(alone, 1).sum() + 100  # the tag is longer


def walk(annotator, boxes, size=(320, 240)):
    for frame, box in enumerate(boxes):
        image = annotator.annotate(result(size, thing(1, box), frame=frame), grey(size))
    return image


def test_a_trail_follows_the_centre_for_as_many_frames_as_asked():
    boxes = [(10.0 + 10 * i, 100, 30.0 + 10 * i, 120) for i in range(20)]
    for trails, first in ((30, 20), (5, 170), (0, None)):
        image = walk(Annotator(DrawOptions(trails=trails, labels=False)), boxes)
        trail = where(image, 1)[110, :195]
        assert (np.nonzero(trail)[0].min() if trail.any() else None) == (pytest.approx(first, abs=3) if first else None)


def test_a_trail_ends_where_the_object_is_absent():
    boxes = [*[(10.0 + 5 * i, 100, 30.0 + 5 * i, 120) for i in range(5)], None, (250.0, 100, 270.0, 120)]
    image = walk(Annotator(DrawOptions(labels=False)), boxes)
    assert not where(image, 1)[110, :240].any()


def test_frames_that_are_not_drawn_count_for_the_trail():
    boxes = [(10.0 + 10 * i, 100, 30.0 + 10 * i, 120) for i in range(9)]
    whole, thinned = Annotator(DrawOptions()), Annotator(DrawOptions())
    expected = walk(whole, boxes)
    for frame, box in enumerate(boxes[:-1]):
        thinned.follow(result((320, 240), thing(1, box), frame=frame), (320, 240))
    last = thinned.annotate(result((320, 240), thing(1, boxes[-1]), frame=8), grey((320, 240)))
    np.testing.assert_array_equal(last, expected)


@pytest.mark.parametrize("size", [(320, 240), (1280, 720), (64, 64)])
def test_absent_objects_are_listed_in_the_lower_left_corner(size):
    w, h = size
    image = draw(size, thing(1, None), thing(2, (0.7 * w, 0.1 * h, 0.9 * w, 0.4 * h)))
    changed = (image != 128).any(-1)
    assert changed[h // 2 :, : w // 2].any()
    assert not changed[: h // 4, : w // 2].any() or w < 100
    assert (draw(size, thing(1, None), labels=False) == 128).all()


def test_a_crowd_of_absent_objects_leaves_half_the_frame_free():
    image = draw((320, 240), *(thing(number, None, f"thing {number}") for number in range(1, 60)))
    assert (image[:110] == 128).all()


def test_letters_beyond_ascii_are_drawn():
    images = [draw((320, 240), thing(1, (50, 80, 200, 200), label)) for label in ("über", "uber", "кот", "кит")]
    assert (images[0] != images[1]).any()
    assert (images[2] != images[3]).any()


def test_a_frame_without_objects_stays_as_it_is():
    assert (draw((64, 64)) == 128).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trails": -1}, "got -1"),
        ({"font": "nowhere.ttf"}, "does not exist"),
        ({"animation_side": 3}, "got 3"),
        ({"animation_rate": 0}, "got 0"),
    ],
)
def test_options_that_cannot_work_are_refused(options, words):
    if "font" in options:
        options = {"font": Path(options["font"])}
    with pytest.raises(UsageError, match=words):
        DrawOptions(**options)


def test_options_are_there_without_the_drawing_library():
    script = "import sys, elysium.inference.drawing; sys.exit('supervision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
