"""The champion on fresh data: what counts as having become worse."""

import pytest

from elysium.evaluation.champion import compare
from elysium.registry.policy import Compared, Regression

PAIR = Compared(task="sot-simulated", metric="auc")
RULE = Regression(tolerance=0.5, max_drop=10)


def figures(values, videos=None):
    items = {f"s{number}": {"model": {"auc": value}} for number, value in enumerate(values)}
    task = {"per_sequence": items, "videos": videos or {}}
    return {"tasks": {"sot-simulated": task}}


def drift(now, then, videos=None):
    return compare(figures(now, videos), figures(then), PAIR, RULE, samples=500, seed=7)


@pytest.mark.parametrize(
    ("now", "then", "worse"),
    [
        ([40, 41, 42, 43, 44, 45], [40, 41, 42, 43, 44, 45], False),
        ([36, 37, 36, 37, 36, 37], [40, 41, 40, 41, 40, 41], True),
        ([44, 45, 44, 45, 44, 45], [40, 41, 40, 41, 40, 41], False),
        ([20, 60, 20, 60, 20, 60], [44, 45, 44, 45, 44, 45], False),
        ([38, 38], [40, 40], False),
        ([20, 20], [40, 40], True),
    ],
    ids=["same", "proven", "better", "too scattered to tell", "too few to tell", "a drop of more than max_drop"],
)
def test_worse_is_what_is_proven_or_drops_too_far(now, then, worse):
    found = drift(now, then)
    assert found["worse"] == worse
    assert found["difference"] == pytest.approx(sum(now) / len(now) - sum(then) / len(then))
    assert found["low"] <= found["difference"] <= found["high"]


def test_other_numbers_of_videos_may_be_compared():
    assert drift([40.0] * 9, [40.0] * 6)["difference"] == 0


def test_items_of_one_video_are_one_draw():
    one_video = {f"s{number}": "v" for number in range(6)}
    assert not drift([36] * 6, [40, 41, 40, 41, 40, 41], one_video)["worse"], "six items of one video prove nothing"


def test_what_was_not_measured_both_times_is_not_compared():
    assert compare(figures([]), figures([40]), PAIR, RULE, samples=100, seed=0) is None
