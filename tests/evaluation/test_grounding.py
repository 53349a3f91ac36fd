import numpy as np
import pytest

from elysium.errors import UsageError
from elysium.evaluation.grounding.scores import grounding_accuracy, score_grounding

BOX = np.array([10.0, 10, 50, 50])
NONE = [np.nan] * 4


def narrowed(share, box=BOX):
    """The left part of a box: overlaps it by that share."""
    return [box[0], box[1], box[0] + share * (box[2] - box[0]), box[3]]


def test_an_overlap_of_exactly_one_half_is_a_hit():
    assert grounding_accuracy([narrowed(0.5), BOX + 500, NONE], [BOX, BOX, BOX]) == pytest.approx(100 / 3)


def test_accuracies_and_mean_overlap():
    shares = [1, 0.9, 0.75, 0.5, 0.25, 0]
    scores = score_grounding(list("abcdef"), [narrowed(share) for share in shares], [BOX] * 6)
    assert scores.corpus == pytest.approx(
        {"accuracy": 400 / 6, "accuracy_70": 300 / 6, "accuracy_90": 200 / 6, "mean_iou": 100 * sum(shares) / 6}
    )
    assert scores.per_item["c"] == pytest.approx(
        {"accuracy": 100, "accuracy_70": 100, "accuracy_90": 0, "mean_iou": 75}
    )


@pytest.mark.parametrize("answer", [NONE, [np.inf, 0, 1, 1], [10, 10, 10, 50], [50, 50, 10, 10]])
def test_what_is_no_box_is_a_failure_in_every_denominator(answer):
    scores = score_grounding(["a", "b"], [answer, BOX], [BOX, BOX])
    assert scores.num_failures == 1
    assert scores.corpus == {"accuracy": 50, "accuracy_70": 50, "accuracy_90": 50, "mean_iou": 50}
    assert scores.sizes["medium"].num_items == 2
    assert set(scores.per_item["a"].values()) == {0}


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(31, 33, "small"), (32, 32, "medium"), (95, 97, "medium"), (96, 96, "large"), (1000, 1, "small")],
)
def test_sizes_are_cocos(width, height, size):
    box = [5, 5, 5 + width, 5 + height]
    scores = score_grounding(["a"], [box], [box])
    assert {name: found.num_items for name, found in scores.sizes.items() if found.num_items} == {size: 1}
    assert scores.sizes[size].metrics["accuracy"] == 100
    assert all(not found.metrics for name, found in scores.sizes.items() if name != size)


def test_relative_sizes_are_by_the_share_of_the_picture():
    truth = [[0, 0, side, side] for side in (9, 10, 29, 30, 95)]
    sizes = [(100, 100)] * 4 + [(1000, 1000)]  # the last box is large in pixels, and small in its picture
    scores = score_grounding(list("abcde"), [*truth[:-1], NONE], truth, sizes)
    assert {name: found.num_items for name, found in scores.relative_sizes.items()} == {
        "small": 2,
        "medium": 2,
        "large": 1,
    }
    assert [found.metrics["accuracy"] for found in scores.relative_sizes.values()] == [50, 100, 100]
    assert score_grounding(["a"], [BOX], [BOX]).relative_sizes == {}


@pytest.mark.parametrize(
    ("items", "predicted", "truth", "message"),
    [
        ([], [], [], "no box to score"),
        (["a"], [BOX], [BOX, BOX], r"shape \(1, 4\), got \(1, 4\) and \(2, 4\)"),
        (["a", "b", "a"], [BOX] * 3, [BOX] * 3, "the item a comes twice"),
        (["a", "b"], [BOX] * 2, [BOX, NONE], "1 true boxes are not finite or have no area: b"),
        (["a"], [BOX / 100], [BOX], "between 0 and 1, the true ones reach 50: shares of the image"),
    ],
)
def test_what_would_change_the_figure_silently_is_refused(items, predicted, truth, message):
    with pytest.raises(UsageError, match=message):
        score_grounding(items, predicted, truth)
