"""The whole pipeline at toy size through the local runner: real clips, real steps, real stores."""

import json

import pytest

from elysium.data.records import RawClip, TrackRecord, read_jsonl
from elysium.pipeline.steps import STEPS, step
from elysium.pipeline.workspace import find_damage


def test_a_run_ends_with_what_the_contract_says(finished):
    place, shown = finished
    assert shown["run"] == "first"
    assert shown["workspace"] == str(place.root)
    assert list(shown["steps"]) == [row.name for row in STEPS]
    assert all(entry["seconds"] > 0 and entry["peak_mib"] > 0 for entry in shown["steps"].values())
    assert isinstance(shown["decision"]["promoted"], bool)
    assert set(shown["metrics"]["rsot-simulated"]) == {"auc", "precision", "norm_precision"}


@pytest.mark.parametrize("row", STEPS, ids=lambda row: row.name)
def test_every_artifact_is_published_whole(finished, row):
    place, _ = finished
    manifest = place.manifest(row)
    assert manifest.status == "done"
    assert find_damage(place.folder(row), manifest, checksums=True) is None
    assert not place.partial(row).exists()


def test_real_and_simulated_clips_are_taken_in_with_captions_and_licences(finished):
    place, _ = finished
    clips = list(read_jsonl(place.folder(step("ingest")) / "manifest.jsonl", RawClip))
    real = [clip for clip in clips if clip.annotations is None]
    assert {"carphone", "bikes", "bigbuckbunny"} <= {clip.id.split("_")[0] for clip in real}
    assert len(clips) - len(real) == 12
    assert all(clip.caption and clip.licence for clip in clips)


def test_records_are_in_the_published_format_and_no_evaluation_clip_trains(finished):
    place, _ = finished
    tracks = place.folder(step("curate"))
    train, evaluation = (list(read_jsonl(tracks / f"{name}.jsonl", TrackRecord)) for name in ("train", "evaluation"))
    assert train
    assert evaluation
    assert not {record.vid for record in train} & {record.vid for record in evaluation}
    assert not {frame for record in train for frame in record.frames} & {
        frame for record in evaluation for frame in record.frames
    }
    for record in train + evaluation:
        assert all((tracks / frame).is_file() for frame in record.frames)


def test_some_real_video_is_tracked_and_no_real_video_is_on_both_sides(finished):
    place, _ = finished
    tracks = place.folder(step("curate"))
    sides = {}
    for name in ("train", "evaluation"):
        for record in read_jsonl(tracks / f"{name}.jsonl", TrackRecord):
            if record.metadata.kind == "real":
                sides.setdefault(record.metadata.content_sha256, set()).add(name)
    assert sides
    assert all(len(found) == 1 for found in sides.values())


def test_every_reject_says_stage_reason_and_number(finished):
    place, _ = finished
    lines = (place.folder(step("curate")) / "rejects.jsonl").read_text().splitlines()
    assert lines
    for line in map(json.loads, lines):
        assert line["stage"]
        assert line["reason"]
        assert "value" in line


def test_the_report_is_one_file_that_needs_no_network(finished):
    _, shown = finished
    with open(shown["report"], encoding="utf-8") as file:  # noqa: PTH123 - the path comes from JSON
        page = file.read()
    assert "<svg" in page
    assert 'src="http' not in page
    assert 'href="http' not in page.replace('href="https://arxiv.org', "")
    assert all(row.name in page for row in STEPS)


def test_a_finished_run_is_not_run_again(finished, elysium):
    place, shown = finished
    again = elysium("pipeline", "run", "--resume", place.root, "--json", cwd=place.home, check=0)
    assert json.loads(again.stdout.splitlines()[-1])["steps"] == shown["steps"]


def test_the_data_of_a_run_comes_back_from_its_version(finished, elysium, tmp_path):
    place, _ = finished
    elysium("data", "checkout", place.root, "--output", tmp_path / "data", cwd=place.home, check=0)
    published = place.folder(step("snapshot")) / "data"
    files = {path.relative_to(published) for path in published.rglob("*") if path.is_file()}
    assert files == {path.relative_to(tmp_path / "data") for path in (tmp_path / "data").rglob("*") if path.is_file()}
    assert all((published / name).read_bytes() == (tmp_path / "data" / name).read_bytes() for name in files)
