import numpy as np
import pytest

from elysium.boxes import BoxCodec, iou, normalise, pairwise_iou, to_pixels, xywh_to_xyxy, xyxy_to_xywh


@pytest.mark.parametrize(
    ("box", "text"),
    [([0, 0, 1, 1], "[0,0,99,99]"), ([0.231, 0.452, 0.458, 0.722], "[23,45,46,72]"), ([0.005, 0, 0, 0], "[0,0,0,0]")],
)
def test_boxes_are_written_as_the_paper_writes_them(box, text):
    assert BoxCodec().encode(np.array(box)) == text


def test_the_release_setting_writes_the_coordinate_100():
    assert BoxCodec(maximum=100).encode([0, 0, 1, 0.996]) == "[0,0,100,100]"


def test_a_coordinate_of_100_is_read_whatever_is_written():
    assert BoxCodec().decode("[0,0,100,100]").tolist() == [[0, 0, 1, 1]]


def test_a_finer_grid_writes_three_digits():
    assert BoxCodec(scale=1000, maximum=999).encode([0.2314, 0.4, 0.5, 1]) == "[231,400,500,999]"


def test_every_grid_box_survives_writing_and_reading():
    codec = BoxCodec(maximum=100)
    grid = np.arange(101) / 100
    boxes = np.stack([grid, grid[::-1], grid, grid[::-1]], axis=1)
    assert np.array_equal(codec.decode(" ".join(codec.encode(box) for box in boxes)), boxes)


@pytest.mark.parametrize(
    "text", ["", "no boxes", "[10,20,30]", "[10,20,,40]", "[ ]", "[0.1,0.2,0.3,0.4]", "[-1,2,3,4]", "[1,2,3,4"]
)
def test_malformed_boxes_are_skipped_and_never_raise(text):
    assert BoxCodec().decode(text).shape == (0, 4)


@pytest.mark.parametrize("box", [[0, 0, 1.01, 1], [-0.01, 0, 1, 1], [0, 0, float("nan"), 1]])
def test_a_box_outside_the_frame_is_refused_with_its_value(box):
    with pytest.raises(ValueError, match="must lie in"):
        BoxCodec().encode(box)


def test_a_codec_that_cannot_work_is_refused():
    with pytest.raises(ValueError, match="maximum=101"):
        BoxCodec(scale=100, maximum=101)


@pytest.mark.parametrize(
    ("first", "second", "value"),
    [
        ([0, 0, 2, 2], [0, 0, 2, 2], 1),
        ([0, 0, 2, 2], [2, 0, 4, 2], 0),
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7),
        ([1, 1, 1, 1], [1, 1, 1, 1], 0),
        ([2, 2, 0, 0], [0, 0, 2, 2], 0),
    ],
)
def test_iou_of_pairs(first, second, value):
    assert iou(first, second) == pytest.approx(value)


def test_pairwise_iou_compares_every_box_with_every_other():
    boxes = [[0, 0, 2, 2], [1, 0, 3, 2]]
    assert pairwise_iou(boxes, [[0, 0, 2, 2]]) == pytest.approx(np.array([[1], [1 / 3]]))


def test_box_forms_convert_both_ways():
    assert xywh_to_xyxy([10, 20, 30, 40]).tolist() == [10, 20, 40, 60]
    assert xyxy_to_xywh([10, 20, 40, 60]).tolist() == [10, 20, 30, 40]


def test_pixels_and_shares_of_the_frame_convert_both_ways():
    assert to_pixels([0.5, 0.5, 1, 1], (320, 240)).tolist() == [160, 120, 320, 240]
    assert normalise([160, 120, 330, -5], (320, 240)).tolist() == [0.5, 0.5, 1, 0]
