import itertools

import numpy as np
import pytest

from elysium.evaluation.statistics import MIN_VIDEOS, bootstrap_mean, compare_figures, holm


def verdict(a, b, **options):
    return compare_figures(a, b, **({"samples": 1000, "seed": 0} | options))


def test_the_interval_holds_the_true_mean_about_95_times_in_100():
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(300):
        _, low, high = bootstrap_mean(rng.normal(3, 2, size=40), samples=500, seed=seed)
        hits += low <= 3 <= high
    assert 0.90 <= hits / 300 <= 0.985


def objects_of_one_video(rng, videos=30, each=5):
    """Returns figures that objects of a video share most of, and the video of each."""
    shared = rng.normal(0, 3, size=videos)
    return (shared[:, None] + rng.normal(0, 1, size=(videos, each))).ravel(), np.repeat(np.arange(videos), each)


def test_objects_of_one_video_are_not_counted_as_so_many_videos():
    rng = np.random.default_rng(1)
    together, alone = 0, 0
    for seed in range(200):
        values, videos = objects_of_one_video(rng)
        _, low, high = bootstrap_mean(values, 300, seed, videos.tolist())
        together += low <= 0 <= high
        _, low, high = bootstrap_mean(values, 300, seed)
        alone += low <= 0 <= high
    assert together / 200 >= 0.89
    assert alone / 200 < 0.75, "objects as videos of their own are far too sure"


def test_two_equal_models_are_told_apart_at_most_5_times_in_100():
    rng = np.random.default_rng(2)
    alarms = 0
    for seed in range(300):
        values, videos = objects_of_one_video(rng, videos=12, each=3)
        alarms += verdict(values, np.zeros(36), videos=videos.tolist(), samples=400, seed=seed).says != "cannot tell"
    assert alarms / 300 <= 0.075


def test_pairing_sees_a_small_steady_difference_that_the_spread_would_hide():
    rng = np.random.default_rng(0)
    hard = rng.uniform(0, 100, 30)
    found = verdict(hard + rng.normal(2, 0.5, 30), hard)
    assert found.says == "better"
    assert 0 < found.low < found.difference < found.high
    assert verdict(hard, hard + rng.normal(2, 0.5, 30)).says == "worse"
    assert bootstrap_mean(hard, 1000, 0)[2] - bootstrap_mean(hard, 1000, 0)[1] > 10


@pytest.mark.parametrize(("gain", "margin", "says"), [(2, 0, "better"), (2, 3, "cannot tell"), (-5, 3, "worse")])
def test_a_difference_must_exceed_the_margin(gain, margin, says):
    rng = np.random.default_rng(0)
    old = rng.uniform(0, 100, 40)
    assert verdict(old + gain + rng.normal(0, 0.3, 40), old, margin=margin).says == says


def test_too_few_videos_say_nothing_however_large_the_difference():
    few = verdict([90.0] * (MIN_VIDEOS - 1), [10.0] * (MIN_VIDEOS - 1))
    assert (few.says, few.too_few, few.difference) == ("cannot tell", True, 80)
    one_video = verdict([90.0] * 20, [10.0] * 20, videos=["a"] * 20)
    assert (one_video.says, one_video.num_videos) == ("cannot tell", 1)
    assert verdict([90.0] * MIN_VIDEOS, [10.0] * MIN_VIDEOS).says == "better"


def test_the_p_value_of_few_videos_is_that_of_all_sign_patterns():
    differences = [3.0, -1.0, 2.0, 5.0, 4.0, -2.0, 1.0]
    patterns = list(itertools.product([1, -1], repeat=7))
    seen = abs(sum(differences))
    far = sum(abs(sum(s * d for s, d in zip(signs, differences, strict=True))) >= seen for signs in patterns)
    assert verdict(differences, [0.0] * 7).p_value == pytest.approx(far / len(patterns))


def test_right_and_wrong_answers_are_judged_as_by_mcnemars_exact_test():
    # 9 items only the first has right, 1 only the second: two-sided binomial of 1 in 10.
    first, second = [100.0] * 9 + [0.0] + [100.0] * 30, [0.0] * 9 + [100.0] + [100.0] * 30
    assert verdict(first, second).p_value == pytest.approx(2 * (1 + 10) / 2**10, abs=0.004)


def test_equal_figures_cannot_be_told_apart():
    found = verdict([50.0] * 20, [50.0] * 20)
    assert (found.says, found.p_value, found.low, found.high) == ("cannot tell", 1.0, 0.0, 0.0)


def test_the_same_seed_gives_the_same_interval():
    figures = np.random.default_rng(1).random(20)
    assert bootstrap_mean(figures, 300, 5) == bootstrap_mean(figures, 300, 5)


def test_holms_correction_is_that_of_his_own_paper():
    # Three of four hypotheses at 0.01, 0.04, 0.03 and 0.005: only 0.005 and 0.01 are rejected at 5 %.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@pytest.mark.parametrize(
    ("a", "b", "options"),
    [
        ([1.0], [1.0, 2.0], {}),
        ([], [], {}),
        ([np.nan], [1.0], {}),
        ([1.0, 2.0], [1.0, 2.0], {"videos": ["a"]}),
        ([1.0], [1.0], {"margin": -1}),
    ],
)
def test_figures_that_do_not_pair_are_refused(a, b, options):
    with pytest.raises(ValueError, match=r"needs? |margin"):
        verdict(a, b, **options)
