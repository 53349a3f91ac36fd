import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from elysium.boxes import iou
from elysium.curation import step
from elysium.curation.outcome import Reject
from elysium.data.records import ClipAnnotations, RawClip, TrackRecord, read_jsonl, write_jsonl
from elysium.data.video import write_video
from elysium.errors import ElysiumError, UsageError


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def records(folder, split):
    return list(read_jsonl(folder / f"{split}.jsonl", TrackRecord, allow_empty=True))


@pytest.fixture(scope="module")
def undisturbed(raw, tmp_path_factory):
    """The tracks of the raw clips, made in one go."""
    from elysium.config import load_settings
    from elysium.pipeline.steps import StepContext

    output = tmp_path_factory.mktemp("undisturbed")
    result = step.run(StepContext("curate", load_settings("nano"), {"raw": raw}, output, output, "run"))
    return output, result


def test_tracks_of_simulated_clips_are_the_annotated_boxes(raw, undisturbed):
    output, _ = undisturbed
    found = records(output, "train") + records(output, "evaluation")
    assert found
    for record in found:
        annotations = ClipAnnotations.model_validate_json(
            (raw / f"annotations/{record.metadata.clip}.json").read_text()
        )
        (truth,) = [item for item in annotations.objects if item.expression == record.object_description]
        assert record.object_class == truth.object_class
        assert iou(record.box, truth.boxes).min() > 0.99


def test_records_name_their_frames_and_their_size(undisturbed):
    output, _ = undisturbed
    record = records(output, "train")[0]
    assert record.frames[0] == f"frames/00000/{record.vid}/000000.jpg"
    assert len(record.frames) == len(record.box) == 6
    for name in record.frames:
        with Image.open(output / name) as image:
            assert image.size == record.frame_size == (96, 96)


def test_large_frames_are_stored_smaller(context, raw):
    begun = context("tracks", raw, "curate.max_side=48")
    step.run(begun)
    record = records(begun.output, "train")[0]
    with Image.open(begun.output / record.frames[0]) as image:
        assert image.size == record.frame_size == (48, 48)


def test_the_source_decides_the_split_where_it_did(undisturbed):
    output, _ = undisturbed
    assert {record.metadata.clip for record in records(output, "train")} == {"sim-3", "sim-4"}
    assert {record.metadata.clip for record in records(output, "evaluation")} == {"sim-5"}


def test_records_carry_the_frame_rule(raw, undisturbed):
    output, _ = undisturbed
    clips = {clip.id: clip for clip in read_jsonl(raw / "manifest.jsonl", RawClip)}
    for record in records(output, "train"):
        assert record.metadata.content_sha256 == clips[record.metadata.clip].sha256
        assert np.allclose(np.diff(record.metadata.timestamps), 1 / 12, atol=1e-3)
        assert record.metadata.decoder.startswith("av ")


def test_a_file_that_is_no_video_is_one_reject_with_the_error(raw, undisturbed):
    output, _ = undisturbed
    (reject,) = [reject for reject in read_jsonl(output / "rejects.jsonl", Reject) if reject.clip == "broken"]
    assert (reject.stage, reject.reason) == ("decode", "unreadable")
    assert "not a video" in reject.detail
    assert str(raw) not in reject.detail


def test_every_candidate_is_kept_or_rejected_once(undisturbed):
    output, result = undisturbed
    stats = json.loads((output / "stats.json").read_text())
    rejects = [entry for entry in read_jsonl(output / "rejects.jsonl", Reject) if entry.shot and entry.expression]
    kept = records(output, "train") + records(output, "evaluation")
    assert stats["num_candidates"] == len(rejects) + len(kept)
    assert stats["funnel"][-1]["passed"] == len(kept) == stats["num_records"]
    names = [(entry.shot, entry.expression) for entry in rejects]
    names += [(entry.vid, entry.object_description) for entry in kept]
    assert len(names) == len(set(names))
    assert result.metrics["train_records"] == len(records(output, "train"))


def test_a_reject_that_a_number_decided_says_it(undisturbed):
    output, _ = undisturbed
    for reject in read_jsonl(output / "rejects.jsonl", Reject):
        assert reject.stage == "decode" or (reject.value is not None and reject.threshold is not None)


def test_nothing_but_the_tracks_is_left(undisturbed):
    output, _ = undisturbed
    assert {path.name for path in output.iterdir()} == {
        *("train.jsonl", "train.index", "evaluation.jsonl", "evaluation.index", "rejects.jsonl", "stats.json"),
        *("parquet", "frames", "shards", "plan.json", "ledger.parquet", "published.json"),
        *("README.md", "funnel.svg", "contact_sheet.html"),
    }


def test_an_unknown_part_fails_before_anything_runs(context, raw):
    begun = context("tracks", raw, "curate.grounder=dino")
    with pytest.raises(UsageError, match="no grounder 'dino'"):
        step.run(begun)
    assert not list(begun.output.iterdir())


def test_a_zero_byte_manifest_is_named(context, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "manifest.jsonl").touch()
    with pytest.raises(ElysiumError, match="empty"):
        step.run(context("tracks", tmp_path / "empty"))


def test_odd_clips_are_rejected_and_not_fatal(context, raw, tmp_path):
    odd = tmp_path / "odd"
    (odd / "clips").mkdir(parents=True)
    frames = np.zeros((3, 32, 32, 3), np.uint8)
    write_video(odd / "clips" / "short.mp4", frames, 12)
    base = {"source": "x", "sha256": hashlib.sha256((odd / "clips" / "short.mp4").read_bytes()).hexdigest()}
    write_jsonl(
        odd / "manifest.jsonl",
        [
            RawClip(id="short", path="clips/short.mp4", caption="A man walks.", **base),
            RawClip(id="silent", path="clips/short.mp4", caption="", **base),
            RawClip(id="missing", path="clips/none.mp4", caption="A man walks.", **base),
            RawClip(id="lost", path="clips/short.mp4", caption="A man.", annotations="none.json", **base),
        ],
    )
    begun = context("tracks", odd)
    step.run(begun)
    reasons = {entry.clip: entry.reason for entry in read_jsonl(begun.output / "rejects.jsonl", Reject)}
    assert reasons == {"short": "too_short", "silent": "empty", "missing": "missing", "lost": "failed"}
