"""The protocols against plain loops over frames and thresholds, and against figures worked out by hand."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from elysium.boxes import xywh_to_xyxy
from elysium.errors import UsageError
from elysium.evaluation.tracking import PROTOCOLS, TrackingSequence
from elysium.evaluation.tracking.release import (
    clamp_like_the_release,
    mean_release,
    score_release,
    score_release_answers,
)

SIZE = (320, 240)


def made(seed=0, length=60, one_based=True, **changes):
    """Returns a sequence and results that leave the image now and then."""
    rng = np.random.default_rng(seed)
    corner = np.cumsum(rng.normal(0, 6, (length, 2)), axis=0) + np.array([100, 80])
    truth = xywh_to_xyxy(np.concatenate([corner, rng.uniform(10, 60, (length, 2))], axis=1).round())
    predicted = truth + np.cumsum(rng.normal(0, 2, truth.shape), axis=0)
    predicted[:, 2:] = np.maximum(predicted[:, 2:], predicted[:, :2] + 1)
    sequence = TrackingSequence("x", (Path("0.jpg"),) * length, truth, frame_size=SIZE, one_based=one_based, **changes)
    return predicted, sequence


def overlap(a, b):
    """IoU of two x,y,w,h."""
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    inner = max(w, 0) * max(h, 0)
    union = a[2] * a[3] + b[2] * b[3] - inner
    return inner / union if union > 0 else 0.0


def published(boxes, one_based=True):
    base = float(one_based)
    return [[x1 + base, y1 + base, x2 - x1, y2 - y1] for x1, y1, x2, y2 in boxes.tolist()]


def plain_got10k(predicted, sequence):
    found = []
    for number, (p, g) in enumerate(zip(published(predicted), published(sequence.boxes), strict=True)):
        if number == 0 or not sequence.counted[number]:
            continue
        for box in (p, g):
            box[0], box[1] = min(max(box[0], 0), SIZE[0]), min(max(box[1], 0), SIZE[1])
            box[2], box[3] = min(max(box[2], 0), SIZE[0] - box[0]), min(max(box[3], 0), SIZE[1] - box[1])
        found.append(overlap(p, g))
    return found


def test_got10k_bounds_boxes_and_counts_seen_frames_after_the_first():
    predicted, sequence = made(counted=np.arange(60) % 7 != 3)
    expected = plain_got10k(predicted, sequence)
    score = PROTOCOLS["got10k"].score(predicted, sequence)
    assert score.num_frames == len(expected) < 59
    assert score.ao == pytest.approx(100 * sum(expected) / len(expected))
    assert score.sr50 == pytest.approx(100 * sum(value > 0.5 for value in expected) / len(expected))
    assert score.sr75 == pytest.approx(100 * sum(value > 0.75 for value in expected) / len(expected))
    assert score.success_curve[20] == pytest.approx(100 * sum(value > 0.2 for value in expected) / len(expected))


def test_got10ks_mean_is_over_all_frames_not_over_sequences():
    parts = [made(seed, length, counted=np.ones(length, dtype=bool)) for seed, length in ((0, 11), (1, 91))]
    protocol = PROTOCOLS["got10k"]
    mean = protocol.mean([protocol.score(*part) for part in parts])
    expected = [value for part in parts for value in plain_got10k(*part)]
    assert mean.num_frames == 100
    assert mean.ao == pytest.approx(100 * sum(expected) / 100)


def test_got10k_takes_no_box_as_no_overlap_and_the_first_frame_as_nothing():
    predicted, sequence = made(counted=np.ones(60, dtype=bool))
    lost = np.full_like(predicted, np.nan)
    assert PROTOCOLS["got10k"].score(lost, sequence).ao == 0
    first = predicted.copy()
    first[0] = np.nan
    assert PROTOCOLS["got10k"].score(first, sequence).ao == PROTOCOLS["got10k"].score(predicted, sequence).ao


def test_trackingnet_rounds_boxes_and_takes_areas_under_its_curves():
    predicted, sequence = made(one_based=False)
    overlaps, distances, shares = [], [], []
    for number, (p, g) in enumerate(zip(published(predicted, False), published(sequence.boxes, False), strict=True)):
        p, g = [round(value) for value in p], [round(value) for value in g]
        p = g if number == 0 else p
        overlaps.append(overlap(p, g))
        x, y = (p[0] + p[2] / 2) - (g[0] + g[2] / 2), (p[1] + p[3] / 2) - (g[1] + g[3] / 2)
        distances.append(math.hypot(x, y))
        shares.append(math.hypot(x / g[2], y / g[3]))

    def area(points):
        return sum((a + b) / 2 for a, b in itertools.pairwise(points)) / 20 * 100

    steps = [k / 20 for k in range(21)]
    score = PROTOCOLS["trackingnet"].score(predicted, sequence)
    assert score.auc == pytest.approx(area([sum(v > t for v in overlaps) / 60 for t in steps]))
    assert score.precision == pytest.approx(area([sum(v <= 50 * t for v in distances) / 60 for t in steps]))
    assert score.norm_precision == pytest.approx(area([sum(v <= t / 2 for v in shares) / 60 for t in steps]), abs=1e-6)


def test_a_perfect_track_scores_97_5_on_trackingnet_because_nothing_overlaps_by_more_than_1():
    _, sequence = made(one_based=False)
    score = PROTOCOLS["trackingnet"].score(sequence.boxes, sequence)
    assert (score.auc, score.precision, score.norm_precision) == pytest.approx((97.5, 100, 100))


def test_the_toolkits_take_a_frame_without_a_target_as_precise_and_as_missed():
    predicted, sequence = made()
    gone = np.arange(60) >= 45
    hidden = replace(sequence, boxes=np.where(gone[:, None], np.nan, sequence.boxes))
    toolkit, ours = (PROTOCOLS[name].score(predicted + 500, hidden) for name in ("toolkit", "one-pass"))
    # The first frame is the truth's, 15 of 60 have no target, all others are lost.
    assert toolkit.precision == pytest.approx(100 * 16 / 60)
    assert toolkit.auc == pytest.approx(100 * (1 / 60) * 20 / 21)
    assert (ours.precision, ours.auc) == (0, 0)


def test_the_toolkits_take_a_target_at_the_border_of_a_set_counted_from_0_as_missed():
    _, sequence = made(one_based=False)
    boxes = sequence.boxes.copy()
    boxes[30:, 0] = 0
    border = replace(sequence, boxes=boxes)
    assert PROTOCOLS["one-pass"].score(boxes, border).auc == pytest.approx(100 * 20 / 21)
    assert PROTOCOLS["toolkit"].score(boxes, border).auc == pytest.approx(50 * 20 / 21)


def test_the_toolkits_fill_a_gap_with_the_box_before_it():
    _, sequence = made()
    still = replace(sequence, boxes=np.tile(sequence.boxes[:1], (60, 1)))
    gaps = still.boxes.copy()
    gaps[::2] = np.nan
    assert PROTOCOLS["toolkit"].score(gaps, still).precision == 100
    assert PROTOCOLS["one-pass"].score(gaps, still).precision == 50


@pytest.mark.parametrize(("treatment", "precision"), [("miss", 50), ("drop", 100), ("ordinary", 100)])
def test_the_toolkits_absent_frames_are_treated_as_named(treatment, precision):
    _, sequence = made(absent=np.arange(60) % 2 == 1)
    assert PROTOCOLS["toolkit"].score(sequence.boxes, sequence, treatment).precision == pytest.approx(precision)


def test_a_hidden_truth_and_other_shapes_are_refused_by_every_protocol():
    predicted, sequence = made()
    for protocol in PROTOCOLS.values():
        with pytest.raises(ValueError, match="not public"):
            protocol.score(predicted, replace(sequence, given=False))
        with pytest.raises(ValueError, match="one shape"):
            protocol.score(predicted[1:], sequence)
        with pytest.raises(ValueError, match="no sequence"):
            protocol.mean([])


def test_the_release_averages_over_clips_of_eight_frames_that_share_one():
    boxes = np.tile([160.0, 0, 320, 240], (15, 1))
    right = boxes.copy()
    right[8:] = [0, 0, 160, 240]
    # Clips hold frames 0-7, 7-14 and 14: the first is right, of the second one frame in eight, the third is wrong.
    score = score_release(right, boxes, SIZE, clamp=False)
    assert (score.num_clips, score.num_dropped) == (3, 0)
    assert score.precision == pytest.approx(100 * (1 + 1 / 8 + 0) / 3)


def test_the_release_leaves_out_clips_without_a_box_which_one_pass_counts():
    boxes = np.tile([160.0, 0, 320, 240], (14, 1))
    lost = boxes.copy()
    lost[7:] = np.nan
    score = score_release(lost, boxes, SIZE, clamp=False)
    assert (score.num_clips, score.num_dropped, score.precision) == (1, 1, 100 * 7 / 8)
    sequence = TrackingSequence("x", (), boxes, frame_size=SIZE)
    assert PROTOCOLS["one-pass"].score(lost, sequence).precision == 50
    nothing = score_release(np.full_like(boxes, np.nan), boxes, SIZE)
    assert mean_release([score, nothing]).precision == score.precision
    assert mean_release([score, nothing]).num_dropped == 3
    with pytest.raises(UsageError, match="leaves out all 2 clips"):
        mean_release([nothing])


def test_the_release_reads_the_truth_back_in_steps_of_one_percent():
    truth = np.array([[101.0, 50, 150, 99]] * 7)
    written = np.array([[102.4, 50.4, 150.4, 98.4]] * 7)  # 32, 21, 47 and 41 hundredths
    assert score_release(written, truth, SIZE, clamp=False).auc == pytest.approx(100 * 20 / 21)


def test_the_release_clamps_both_boxes_into_the_corner():
    far = np.array([[1000.0, 600, 1100, 700]] * 7)
    other = np.array([[200.0, 300, 400, 500]] * 7)
    assert score_release(other, far, (1280, 720), clamp=False).auc == 0
    assert score_release(other, far, (1280, 720)).auc > 90
    assert clamp_like_the_release([0, -5, 30, 400]).tolist() == [1, 1, 30, 100]


def answer(predict, gt, size=(1000, 1000)):
    return json.dumps({"id": "v|0", "predict": predict, "gt": gt, "image_size": list(size)})


def test_the_releases_own_answers_are_scored_as_its_script_does():
    gt = "Frame 1: [10,10,20,20], Frame 2: [10,10,20,20]"
    lines = [answer(gt, gt), answer("I see nothing.", gt), answer("Frame 1: [10,10,20,20]", gt), ""]
    score = score_release_answers(lines, clamp=False)
    assert (score.num_clips, score.num_dropped) == (2, 1)
    assert score.precision == pytest.approx(75), "a missing box is one of zeros"
    with pytest.raises(UsageError, match="line 2: predict, gt and image_size"):
        score_release_answers([answer(gt, gt), '{"predict": "x"}'])


def test_a_sets_clips_weigh_by_their_number_in_the_release():
    boxes = np.tile([160.0, 0, 320, 240], (70, 1))
    wrong = np.tile([0.0, 0, 10, 10], (7, 1))
    protocol = PROTOCOLS["release"]
    scores = [score_release(boxes, boxes, SIZE, clamp=False), score_release(wrong, boxes[:7], SIZE, clamp=False)]
    assert protocol.mean(scores).precision == pytest.approx(100 * 10 / 11)
