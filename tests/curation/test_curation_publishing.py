"""The data set that shards become: one of near-duplicates, frames as they were asked for, one outcome a video."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from elysium.config import load_settings
from elysium.curation.curation import curate
from elysium.curation.explain import explain
from elysium.curation.locating import find_curation
from elysium.curation.outcome import Reject
from elysium.curation.status import read_status
from elysium.curation.step import list_raw
from elysium.data.records import RawClip, TrackRecord, read_jsonl, write_jsonl
from elysium.data.stored_frames import read_all_stored
from elysium.data.video import read_video


@pytest.fixture(scope="module")
def twice(raw, tmp_path_factory):
    """Two simulated clips, and the first one again under another id."""
    folder = tmp_path_factory.mktemp("twice")
    for name in ("clips", "annotations"):
        (folder / name).symlink_to(raw / name)
    clips = {clip.id: clip for clip in read_jsonl(raw / "manifest.jsonl", RawClip)}
    again = clips["sim-3"].model_copy(update={"id": "copy"})
    write_jsonl(folder / "manifest.jsonl", [clips["sim-3"], clips["sim-4"], again])
    return folder


def run(raw, folder, *overrides):
    settings = load_settings("nano", ["curate.shard_videos=1", *overrides])
    listing = list_raw(raw, settings.curate)
    stats = curate(folder, settings, listing, digest=listing.digest)
    return stats, list(read_jsonl(folder / "train.jsonl", TrackRecord))


def test_of_near_duplicate_videos_the_first_stays(twice, tmp_path):
    stats, records = run(twice, tmp_path)
    assert {record.metadata.clip for record in records} == {"sim-3", "sim-4"}
    left_out = [reject for reject in read_jsonl(tmp_path / "rejects.jsonl", Reject) if reject.stage == "dataset"]
    kept = sum(record.metadata.clip == "sim-3" for record in records)
    assert [(reject.clip, reject.reason, reject.value) for reject in left_out] == [("copy", "near_duplicate", 0)] * kept
    assert left_out[0].detail == "of sim-3_000"
    ledger = {row["id"]: row for row in pq.read_table(tmp_path / "ledger.parquet").to_pylist()}
    assert (ledger["copy"]["outcome"], ledger["copy"]["stage"], ledger["copy"]["num_tracks"]) == (
        "rejected",
        "dataset",
        0,
    )
    assert stats["outcomes"] == {"kept": 2, "rejected": 1}
    assert stats["funnel"][-1] == {
        "stage": "dataset",
        "entered": len(records) + kept,
        "rejected": kept,
        "passed": len(records),
    }


def test_status_and_explain_say_what_the_data_set_says(twice, tmp_path):
    stats, records = run(twice, tmp_path)
    status = read_status(tmp_path)
    assert (status["state"], status["stats"]) == ("done", stats)
    told = explain(find_curation(tmp_path), "copy")
    assert (told["outcome"], told["sequences"][0]["kept"]) == ("rejected", [])
    reasons = {entry["expression"]: entry["reason"] for entry in told["sequences"][0]["rejected"]}
    own = {record.object_description for record in records if record.metadata.clip == "sim-3"}
    assert {expression for expression, reason in reasons.items() if reason == "near_duplicate"} == own
    assert explain(find_curation(tmp_path), "sim-3")["outcome"] == "kept"


def test_a_data_set_of_other_shards_is_none(twice, tmp_path):
    run(twice, tmp_path)
    manifest = tmp_path / "shards" / "00001" / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    assert read_status(tmp_path)["state"] == "stopped"


def test_the_ledger_s_directory_does_not_grow_with_the_shards(twice, tmp_path):
    run(twice, tmp_path)
    assert pq.ParquetFile(tmp_path / "ledger.parquet").num_row_groups == 1


def test_near_duplicates_may_be_kept(twice, tmp_path):
    _, records = run(twice, tmp_path, "curate.duplicate_bits=-1")
    assert {record.metadata.clip for record in records} == {"sim-3", "sim-4", "copy"}


def test_lines_tables_and_counts_say_the_same(twice, tmp_path):
    stats, records = run(twice, tmp_path)
    table = pq.read_table(tmp_path / "parquet" / "train-00000.parquet").to_pylist()
    assert [row["id"] for row in table] == [record.id for record in records]
    assert np.array_equal(table[0]["box"], records[0].box)
    assert stats["num_records"] == len(records)
    assert stats == json.loads((tmp_path / "stats.json").read_text())


def test_frames_may_be_stored_as_clips(raw, twice, tmp_path):
    _, records = run(twice, tmp_path, "curate.store=clips")
    record = records[0]
    assert record.frames[:2] == ["clips/00000/sim-3_000.mp4#0", "clips/00000/sim-3_000.mp4#1"]
    assert not (tmp_path / "frames").exists()
    stored = read_all_stored([tmp_path / name for name in record.frames])
    source = read_video(raw / "clips" / "sim-3.mp4").frames
    assert len(stored) == len(source) == len(record.box)
    for one, other in zip(stored, source, strict=True):
        assert np.abs(one.astype(int) - other).mean() < 6
    assert (tmp_path / "contact_sheet.html").stat().st_size > 10_000
