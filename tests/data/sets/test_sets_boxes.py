import pytest

from elysium.data.sets.objects import Named, from_corner_and_size, from_corners, from_normalised, unambiguous
from elysium.data.sets.source import BrokenSample, Images, Source

NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("read", "values", "box"),
    [
        (lambda v: from_corners(v, (200, 100)), [20, 10, 100, 50], (0.1, 0.1, 0.5, 0.5)),
        (lambda v: from_corner_and_size(v, (200, 100)), [20, 10, 80, 40], (0.1, 0.1, 0.5, 0.5)),
        (lambda v: from_corner_and_size(v, (200, 100)), [-1, -1, 202, 102], (0, 0, 1, 1)),
        (from_normalised, [0, 0, 1, 1], (0, 0, 1, 1)),
        (from_normalised, (-0.02, 0.5, 0.5, 1.02), (0, 0.5, 0.5, 1)),
    ],
)
def test_boxes_of_every_kind_become_shares_of_the_sides(read, values, box):
    assert read(values) == pytest.approx(box)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([0.1, 0.1, 0.5, 1.021], "outside"),
        ([-0.021, 0.1, 0.5, 1], "outside"),
        ([0.1, 0.1, 0.1, 0.5], "no area"),
        ([0.5, 0.1, 0.1, 0.5], "no area"),
        ([1.0, 0.1, 1.01, 0.5], "no area"),
        ([NAN, 0.1, 0.1, 0.5], "not finite"),
        ([0, 0, INFINITE, 1], "not finite"),
        ([0, 0, 1], "not four numbers"),
        ([0, 0, 1, "1"], "not four numbers"),
        ([0, 0, 1, True], "not four numbers"),
        (None, "not four numbers"),
        ({"x": 1}, "not four numbers"),
    ],
)
def test_what_is_no_box_has_a_reason(values, reason):
    with pytest.raises(BrokenSample, match=reason):
        from_normalised(values)


@pytest.fixture
def source(tmp_path):
    return Source("x", "X", [], Images(tmp_path))


def test_an_expression_names_one_object(source):
    whole, left, near = (0, 0, 1, 1), (0, 0, 0.4, 1), (0, 0, 1, 0.9)
    found = [
        *(Named("a dog", whole), Named("A dog", near), Named("a cat", whole), Named("a cat", left)),
        *(Named("a cat", near), Named("a hen", left, "hen")),
    ]
    objects = unambiguous(source, found)
    assert [(thing.expression, thing.object_class, thing.boxes) for thing in objects] == [
        ("a dog", None, [whole]),
        ("a hen", "hen", [left]),
    ]
    assert source.dropped == {"the expression names several boxes": 3}


def test_a_picture_without_an_object_is_broken(source):
    with pytest.raises(BrokenSample, match="no object can be used"):
        unambiguous(source, [])
