import numpy as np
import pytest

from elysium.evaluation.grounding.scores import score_grounding
from elysium.evaluation.tasks.groups import pixel_size, relative_size

BOX = np.array([10.0, 10, 50, 50])
NONE = [np.nan] * 4


def narrowed(share, box=BOX):
    """The left part of a box: overlaps it by that share."""
    return [box[0], box[1], box[0] + share * (box[2] - box[0]), box[3]]


def test_an_overlap_of_exactly_one_half_is_a_hit():
    assert score_grounding([narrowed(0.5), BOX + 500, NONE], [BOX] * 3)["accuracy"].tolist() == [100, 0, 0]


def test_accuracies_and_overlap():
    shares = [1, 0.9, 0.75, 0.5, 0.25, 0]
    figures = score_grounding([narrowed(share) for share in shares], [BOX] * 6)
    assert {name: values.mean() for name, values in figures.items()} == pytest.approx(
        {"accuracy": 400 / 6, "accuracy_70": 300 / 6, "accuracy_90": 200 / 6, "mean_iou": 100 * sum(shares) / 6}
    )
    assert {name: values[2] for name, values in figures.items()} == pytest.approx(
        {"accuracy": 100, "accuracy_70": 100, "accuracy_90": 0, "mean_iou": 75}
    )


@pytest.mark.parametrize("answer", [NONE, [np.inf, 0, 1, 1], [10, 10, 10, 50], [50, 50, 10, 10]])
def test_what_is_no_box_is_a_failure(answer):
    assert {tuple(values) for values in score_grounding([answer, BOX], [BOX, BOX]).values()} == {(0, 100)}


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(31, 33, "small"), (32, 32, "medium"), (95, 97, "medium"), (96, 96, "large"), (1000, 1, "small")],
)
def test_sizes_are_cocos(width, height, size):
    assert pixel_size(np.array([5, 5, 5 + width, 5 + height])) == size


def test_relative_sizes_are_by_the_share_of_the_picture():
    found = [relative_size(np.array([0, 0, side, side]), (100, 100)) for side in (9, 10, 29, 30)]
    assert found == ["small", "medium", "medium", "large"]
    assert relative_size(np.array([0, 0, 95, 95]), (1000, 1000)) == "small", "though large in pixels"


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [
        ([BOX], [BOX, BOX], r"one shape \(n, 4\), got \(1, 4\) and \(2, 4\)"),
        ([BOX] * 2, [BOX, NONE], "1 true boxes are not finite or have no area"),
    ],
)
def test_what_would_change_the_figure_silently_is_refused(predicted, truth, message):
    with pytest.raises(ValueError, match=message):
        score_grounding(predicted, truth)
