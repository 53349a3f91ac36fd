import numpy as np
import pytest

from elysium.evaluation.metrics import mean_score, score_track

BOX = np.array([10.0, 10, 50, 50])


def track(length=10):
    return np.tile(BOX, (length, 1))


def test_a_perfect_track_scores_what_21_strict_thresholds_allow():
    score = score_track(track(), track())
    assert score.auc == pytest.approx(100 * 20 / 21)
    assert (score.precision, score.norm_precision) == (100, 100)


def test_a_lost_track_scores_nothing():
    score = score_track(track() + 500, track())
    assert (score.auc, score.precision, score.norm_precision) == (0, 0, 0)


def test_figures_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    truth = np.sort(rng.random((200, 2, 2)) * 100, axis=1).reshape(-1, 4)
    predicted = truth + rng.normal(0, 8, truth.shape)
    shares = []
    for threshold in np.arange(21) * 0.05:
        hits = 0
        for p, g in zip(predicted, truth, strict=True):
            w = min(p[2], g[2]) - max(p[0], g[0])
            h = min(p[3], g[3]) - max(p[1], g[1])
            overlap = max(w, 0) * max(h, 0)
            area = max(p[2] - p[0], 0) * max(p[3] - p[1], 0) + (g[2] - g[0]) * (g[3] - g[1])
            hits += overlap / (area - overlap) > threshold
        shares.append(hits / len(truth))
    score = score_track(predicted, truth)
    assert score.success_curve == pytest.approx(100 * np.array(shares))
    assert score.auc == pytest.approx(100 * np.mean(shares))


@pytest.mark.parametrize("bad", [[np.nan] * 4, [10, 10, 10, 50], [0, 0, 0, 0]])
def test_frames_without_a_true_box_are_failures_that_stay_in_the_denominator(bad):
    truth = track()
    truth[:5] = bad
    assert score_track(truth, truth).precision == 50


def test_a_missing_prediction_is_a_failure():
    predicted = track()
    predicted[:5] = np.nan
    assert score_track(predicted, track()).precision == 50


@pytest.mark.parametrize(("treatment", "precision"), [("miss", 60), ("drop", 100), ("ordinary", 100)])
def test_absent_frames_are_treated_as_named(treatment, precision):
    absent = np.arange(10) < 4
    assert score_track(track(), track(), absent, treatment).precision == precision


def test_the_border_of_precision_counts_and_that_of_success_does_not():
    assert score_track(track() + np.array([20, 0, 20, 0]), track()).precision == 100
    half = track()
    half[:, 2] = 30
    assert score_track(half, track()).success_curve[10] == 0, "IoU 0.5 is not above 0.5"


@pytest.mark.parametrize(
    ("predicted", "absent", "message"),
    [
        (track(9), None, "one shape"),
        (track(), np.ones(9), "one flag a frame"),
        (track(), np.ones(10), "no frame is left"),
    ],
)
def test_input_that_cannot_be_scored_is_refused(predicted, absent, message):
    with pytest.raises(ValueError, match=message):
        score_track(predicted, track(), absent, "drop")


def test_the_mean_is_over_sequences_not_frames():
    scores = [score_track(track(1000), track(1000)), score_track(track(2) + 500, track(2))]
    assert mean_score(scores).precision == 50
