"""What a person gets who feeds the pipeline something broken: one clear line, the right exit code, nothing lost."""

import json
import resource
import shutil

import numpy as np
import pytest

from elysium.data.video import write_video
from elysium.pipeline.steps import step
from elysium.pipeline.workspace import Workspace


def clip(path, seed=0, num_frames=24):
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, rng.integers(0, 256, (num_frames, 64, 64, 3), dtype=np.uint8), 12)


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        clip(tmp_path / "videos" / f"clip{number}.mp4", number)
        (tmp_path / "videos" / f"clip{number}.txt").write_text(f"A man walks past the wall number {number}.")
    return tmp_path / "videos"


def run_until(elysium, toy, tmp_path, folder, last, *settings):
    """Runs the first steps on a folder of videos; returns the last one's result and the workspace."""
    place = Workspace.at(tmp_path / "run")
    options = ("--workspace", place.root, "--preset", toy, "--set", f"ingest.source={folder}", *settings)
    place.settings(str(toy), (f"ingest.source={folder}",))
    for name in ("ingest", "validate-raw", "curate", "validate-tracks"):
        result = elysium("step", name, *options, cwd=tmp_path)
        if name == last:
            return result, place
        assert result.returncode == 0, result.stderr
    raise AssertionError(last)


def test_ones_own_folder_of_videos_is_taken_in(elysium, toy, tmp_path, folder):
    result, place = run_until(elysium, toy, tmp_path, folder, "validate-raw")
    assert result.returncode == 0, result.stderr
    assert place.manifest(step("ingest")).metrics["num_clips"] == 3


def test_an_unreadable_video_is_refused_by_the_gate_by_name(elysium, toy, tmp_path, folder):
    (folder / "clip1.mp4").write_bytes(b"this is not a video" * 100)
    result, place = run_until(elysium, toy, tmp_path, folder, "validate-raw")
    assert result.returncode == 3
    assert "decod" in result.stderr
    assert "Traceback" not in result.stderr
    report = json.loads((place.folder(step("validate-raw")) / "result.json").read_text())
    assert "clip1" in json.dumps(report)


def test_an_unreadable_video_that_the_gate_tolerates_costs_only_itself(elysium, toy, tmp_path, folder):
    (folder / "clip1.mp4").write_bytes(b"this is not a video" * 100)
    result, place = run_until(elysium, toy, tmp_path, folder, "curate", "--set", "validate_raw.max_bad_share=0.5")
    assert result.returncode == 0, result.stderr
    rejects = (place.folder(step("curate")) / "rejects.jsonl").read_text().splitlines()
    assert "clip1" in {json.loads(line)["clip"] for line in rejects}


def test_an_empty_caption_is_refused_by_the_gate(elysium, toy, tmp_path, folder):
    (folder / "clip2.txt").write_text("")
    result, _ = run_until(elysium, toy, tmp_path, folder, "validate-raw")
    assert result.returncode == 3
    assert "caption" in result.stderr


@pytest.mark.parametrize("name", ["clips.csv", "clips.jsonl"])
def test_a_list_of_zero_bytes_is_named_before_anything_runs(elysium, toy, tmp_path, name):
    (tmp_path / name).touch()
    result, _ = run_until(elysium, toy, tmp_path, tmp_path / name, "ingest")
    assert result.returncode in (1, 2)
    assert name in result.stderr
    assert "Traceback" not in result.stderr


def test_a_manifest_cut_to_zero_bytes_is_named(started, elysium):
    place = started("curate")
    (place.folder(step("ingest")) / "manifest.jsonl").write_bytes(b"")
    result = elysium("step", "curate", "--workspace", place.root, cwd=place.home)
    assert result.returncode == 1
    assert "manifest.jsonl has 0 bytes" in result.stderr
    assert "elysium step ingest" in result.stderr


def test_a_full_disk_is_told_and_the_next_run_finishes(started, elysium, finished):
    place = started("curate")
    quota = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))  # noqa: E731 - run in the child
    result = elysium("step", "curate", "--workspace", place.root, cwd=place.home, preexec_fn=quota)
    assert result.returncode == 1
    assert "no space left on the device" in result.stderr
    assert "Traceback" not in result.stderr
    assert place.manifest(step("curate")) is None
    elysium("step", "curate", "--workspace", place.root, cwd=place.home, check=0)
    assert place.manifest(step("curate")).digest == finished[0].manifest(step("curate")).digest


def test_a_damaged_checkpoint_is_found_before_it_is_used(started, elysium):
    place = started("evaluate")
    weights = place.folder(step("finetune")) / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    result = elysium("step", "evaluate", "--workspace", place.root, cwd=place.home)
    assert result.returncode == 1
    assert "model.safetensors has" in result.stderr
    assert "elysium step finetune" in result.stderr


def test_a_lost_folder_is_made_again_by_the_pipeline(started, elysium):
    place = started("snapshot")
    shutil.rmtree(place.folder(step("curate")))
    result = elysium("step", "snapshot", "--workspace", place.root, cwd=place.home)
    assert result.returncode == 1
    assert "elysium step curate" in result.stderr
