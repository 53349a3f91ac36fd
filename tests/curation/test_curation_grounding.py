import numpy as np
import pytest

from elysium.boxes import iou
from elysium.curation.calibration import Curve, LabelledFinds, curve, fit, labelled_finds
from elysium.curation.detectors import find_faces, person_around
from elysium.curation.grounding import OpenCVGrounder
from elysium.curation.protocols import Frame
from elysium.data.simulator import simulate

# Drawn by hand around the man's face and around all of him that is seen, in the first frame of the carphone clip.
FACE = (0.36, 0.20, 0.65, 0.68)
MAN = (0.16, 0.08, 1.0, 1.0)


@pytest.fixture(scope="module")
def grounder():
    return OpenCVGrounder()


def test_the_man_and_his_face_are_found_in_real_video(grounder, carphone_frames):
    found = grounder.ground(carphone_frames[0], ["a man", "his face"])
    confident = {detection.phrase: detection for detection in found if detection.confidence > 0.6}
    assert len([detection for detection in found if detection.confidence > 0.6]) == 2
    assert iou(confident["his face"].box, FACE) > 0.6
    assert iou(confident["a man"].box, MAN) > 0.6


def test_a_tilted_head_is_found(carphone_frames):
    import cv2

    image = carphone_frames[0].image
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 22, 1)
    tilted = cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    assert curve("face").confidence(find_faces(tilted)[0].evidence) > 0.6


@pytest.mark.parametrize("seed", [1, 2])
def test_no_people_are_seen_in_simulated_clips(grounder, seed):
    frame = Frame(simulate(seed, 2, 128).frames[0], 0, 0.0)
    assert not [found for found in grounder.ground(frame, ["a man", "a face"]) if found.confidence > 0.6]


@pytest.mark.parametrize(("phrase", "known"), [("a Man", True), ("her face", True), ("a red car", False), ("", False)])
def test_only_words_with_a_detector_are_known(grounder, phrase, known):
    assert grounder.knows(phrase) is known


def test_unknown_words_find_nothing(grounder, carphone_frames):
    assert grounder.ground(carphone_frames[0], ["a red bow tie"]) == []


def test_confident_detections_come_first(grounder, carphone_frames):
    confidences = [found.confidence for found in grounder.ground(carphone_frames[4], ["his face"])]
    assert confidences == sorted(confidences, reverse=True)


@pytest.mark.parametrize("shape", [(4, 400, 3), (400, 4, 3), (1, 1, 3)])
def test_odd_frames_are_searched_without_failing(grounder, shape):
    assert grounder.ground(Frame(np.zeros(shape, np.uint8), 0, 0.0), ["a man"]) == []


def test_a_body_is_cut_off_at_the_border():
    assert person_around((0.4, 0.1, 0.7, 0.5))[1:] == (0.0, pytest.approx(0.97), 1.0)


def test_a_logistic_curve_is_recovered_from_draws():
    rng = np.random.default_rng(0)
    evidence = rng.uniform(0, 6, 4000)
    correct = (rng.random(4000) < 1 / (1 + np.exp(-(2.0 * evidence - 6.0)))).astype(float)
    found = fit(LabelledFinds(evidence, correct, ("clip",) * 4000))
    assert found.slope == pytest.approx(2.0, abs=0.25)
    assert found.intercept == pytest.approx(-6.0, abs=0.8)


def test_each_clip_weighs_the_same_however_many_finds_it_has():
    few = LabelledFinds(np.array([1.0, 2.0, 2.0, 3.0]), np.array([0.0, 1.0, 0.0, 1.0]), ("a", "a", "b", "b"))
    many = LabelledFinds(
        np.concatenate([np.tile(few.evidence[:2], 50), few.evidence[2:]]),
        np.concatenate([np.tile(few.correct[:2], 50), few.correct[2:]]),
        ("a",) * 100 + ("b",) * 2,
    )
    assert fit(many).slope == pytest.approx(fit(few).slope, rel=1e-6)


@pytest.mark.parametrize(("detector", "precision"), [("face", 0.95), ("person", 0.99)])
def test_finds_above_the_threshold_are_right_on_the_labelled_clips(detector, precision):
    finds = labelled_finds(detector)
    confident = np.array([curve(detector).confidence(evidence) > 0.6 for evidence in finds.evidence])
    assert confident.sum() > 20
    assert finds.correct[confident].mean() >= precision


def test_confidence_grows_with_evidence_and_stays_in_range():
    values = [curve("face").confidence(evidence) for evidence in (0.0, 2.0, 4.0, 50.0)]
    assert values == sorted(values)
    assert 0 <= values[0] < values[-1] <= 1


def test_one_kind_of_finds_is_refused():
    with pytest.raises(ValueError, match="correct and wrong"):
        fit(LabelledFinds(np.ones(3), np.ones(3), ("a",) * 3))


def test_a_curve_is_a_half_where_it_crosses():
    assert Curve(-3.0, 1.5).confidence(2.0) == 0.5
