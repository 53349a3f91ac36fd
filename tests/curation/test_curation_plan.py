"""What a curation will ask for: worked out by hand, against the paper's own run, and from what a trial measured."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from elysium import cli
from elysium.config import load_settings
from elysium.curation import basis as known
from elysium.curation.basis import PER_PAIR, PER_SECOND, Basis, Figure, measured, published
from elysium.curation.capacity import format_plan, plan_curation
from elysium.errors import UsageError
from elysium.pipeline.profile import JobProfile

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
DECODES = ("codec: decoding", "codec: conversion", "scene cuts", "filters of pieces", "headers", "hashing", "captions")


def figure(value, unit=""):
    return Figure(value, unit, "given", "a test")


def basis(models=0.2, decoding=0.05, storing=1.0, pairs=0.5):
    """Videos of 10 s: 2 s of a GPU, half a second of a core, half a pair that takes half a second to store."""
    return Basis(
        seconds_per_video=figure(10.0),
        pairs_per_video=figure(pairs),
        models=figure(models, PER_SECOND),
        decoding=figure(decoding),
        storing=figure(storing),
        bit_rate=figure(8.0),
        size=figure(100.0),
    )


def settings(engine="local", shard=100):
    return load_settings("nano", [f"engine.name={engine}", f"curate.shard_videos={shard}"])


def test_models_decide_where_a_core_decodes_faster_than_a_gpu_looks():
    plan = plan_curation(settings(), basis(), gpus=4, videos=1000, price=3.0)
    # 10 shards in 4 pods are 3 for one of them: 300 videos of 2 + 0.5 s.
    assert (plan.pods, plan.shards, plan.shards_per_pod, plan.bound_by) == (4, 10, 3, "models")
    once = 1000 * known.LIST_SECONDS + 500 * known.PUBLISH_SECONDS
    assert plan.hours == pytest.approx((300 * 2.5 + once) / 3600)
    assert plan.cost == pytest.approx(plan.hours * 4 * 3.0)
    assert plan.busy == pytest.approx(2000 / (4 * plan.hours * 3600))
    assert (plan.pairs, plan.bytes_stored) == (500, 500 * 100e3)
    assert plan.bytes_fetched == 1000 * 10 * 1e6
    assert plan.cores_to_keep_up == 1


def test_decoding_decides_where_one_core_is_slower_and_ray_uses_all_of_them():
    slow = basis(decoding=0.8)
    local = plan_curation(settings(), slow, gpus=1, videos=100)
    assert (local.bound_by, local.seconds_per_video) == ("decoding", pytest.approx(8.0))
    ray = plan_curation(settings("ray"), slow, gpus=1, videos=100, cores=8)
    assert (ray.bound_by, ray.seconds_per_video) == ("models", pytest.approx(2.0))
    assert ray.cores_to_keep_up == 5  # 8.5 core-seconds for 2 s of a GPU
    fewer = plan_curation(settings("ray"), slow, gpus=1, videos=100, cores=2)
    assert (fewer.bound_by, fewer.seconds_per_video) == ("decoding", pytest.approx(4.25))


def test_pods_without_a_shard_of_their_own_are_paid_for_and_do_nothing():
    plan = plan_curation(settings(), basis(), gpus=8, videos=200)
    assert (plan.pods, plan.gpus) == (2, 8)
    assert plan.gpu_hours == pytest.approx(plan.hours * 8)
    assert "2 of 8 pods have shards" in format_plan(plan)


def test_wanted_pairs_ask_for_as_many_videos_as_give_them():
    assert plan_curation(settings(), basis(pairs=0.3), pairs=100).videos == 334
    with pytest.raises(UsageError, match="no pair was kept"):
        plan_curation(settings(), basis(pairs=0.0), pairs=100)
    with pytest.raises(UsageError, match="--videos N or --pairs N"):
        plan_curation(settings(), basis())


def test_the_papers_own_run_is_found_again():
    """Six days on 24 GPUs (PROTOCOL §6), where decoding does not hold them up."""
    chosen = load_settings("vicuna-7b", ["engine.name=ray"])
    plan = plan_curation(chosen, published(chosen.curate), gpus=24, pairs=1_270_000)
    assert plan.hours / 24 == pytest.approx(6, rel=0.01)
    assert plan.videos == 10_700_000


def test_a_job_that_outlives_its_deadline_is_started_again():
    plan = plan_curation(settings(), basis(), gpus=1, videos=100_000)
    assert plan.deadline_hours == 24
    assert plan.starts == 3  # 100,000 x 2.5 s are 69.4 hours
    assert "24 hours for a Job: 3 starts" in format_plan(plan)


def test_a_clusters_profile_says_what_a_pod_has():
    profile = JobProfile(resources={"curate": {"gpu": 2, "cpu": 6, "seconds": 7200}})
    plan = plan_curation(settings(), basis(), gpus=4, videos=1000, profile=profile)
    assert (plan.pods, plan.cores, plan.deadline_hours) == (2, 6, 2)
    with pytest.raises(UsageError, match="has 2; give a multiple"):
        plan_curation(settings(), basis(), gpus=3, videos=1000, profile=profile)
    with pytest.raises(UsageError, match="has 0"):
        plan_curation(settings(), basis(), gpus=3, videos=1000, profile=JobProfile(gpu=False))


def test_built_in_figures_are_those_of_the_benchmarks():
    curation = json.loads((RESULTS / "curation.json").read_text())
    parts = curation["overhead"]["stand-ins at G5's bound"]["ms_a_video"]
    rest = [name for name in parts if name not in DECODES and not name.startswith("models")]
    assert pytest.approx(sum(parts[name] for name in DECODES)) == known.DECODE_MS
    assert pytest.approx(sum(parts[name] for name in rest)) == known.STORE_MS
    video = curation["video"]
    assert (video["seconds"], video["megabits_a_second"]) == (known.VIDEO_SECONDS, known.VIDEO_MEGABITS)
    assert curation["decoding"]["frames_kept_of"][0] == known.VIDEO_FRAMES
    last = list(curation["publication"].values())[-1]
    assert pytest.approx(last["ms_a_record_in_the_data_set"] / 1000) == known.PUBLISH_SECONDS
    stored = json.loads((RESULTS / "stored_frames.json").read_text())["rows"]
    assert {
        "frames": stored["frames, quality 95"]["kilobytes_a_frame"],
        "clips": stored["clips, crf 18"]["kilobytes_a_frame"],
    } == known.FRAME_KB
    records = json.loads((RESULTS / "track_records.json").read_text())["bytes"]
    assert pytest.approx((records["train.jsonl"] + records["parquet"]) / known.PAPER_PAIRS / 1000) == known.RECORD_KB
    listing = json.loads((RESULTS / "curation_listing.json").read_text())["rows"]["listing of 10,000,000"]
    assert pytest.approx(listing["seconds_to_list"] / listing["videos"]) == known.LIST_SECONDS


TRIAL = {
    "videos_tried": 10,
    "seconds_of_video": 200.0,
    "tracks": 4,
    "stored_bytes": 2_000_000,
    "stage_seconds": {"decode": 30.0, "ground": 12.0, "track": 28.0, "store": 1.0},
}


def test_a_trial_on_a_gpu_takes_the_papers_place(tmp_path):
    trial = tmp_path / "trial.json"
    trial.write_text("a line before\n" + json.dumps({**TRIAL, "device": "NVIDIA H200"}) + "\n")
    found = measured(basis(), trial)
    assert (found.seconds_per_video.value, found.pairs_per_video.value) == (20.0, 0.4)
    assert (found.models.value, found.models.unit) == (pytest.approx(0.2), PER_SECOND)
    assert found.gpu_seconds_per_video() == pytest.approx(4.0)
    assert (found.decoding.value, found.storing.value, found.size.value) == (0.15, 0.25, 500.0)
    assert "the first 10 videos tried on NVIDIA H200" in found.models.source


def test_a_trial_without_a_gpu_says_nothing_of_one(tmp_path):
    trial = tmp_path / "trial.json"
    trial.write_text(json.dumps({**TRIAL, "device": "cpu"}))
    found = measured(published(load_settings("vicuna-7b").curate), trial)
    assert (found.models.kind, found.models.unit) == ("cited", PER_PAIR)
    assert found.decoding.kind == "measured"


def test_the_benchmark_of_the_models_gives_their_time(tmp_path):
    file = tmp_path / "curation-models.json"
    rows = [{"batch": 1, "gpu_seconds_per_video": 3.0}, {"batch": 8, "gpu_seconds_per_video": 1.5}]
    found = {"device": "NVIDIA H200", "video": {"seconds": 10.0}, "rows": rows, "best_batch": 8}
    file.write_text(json.dumps(found, indent=1))
    assert measured(basis(), file).models.value == pytest.approx(0.15)
    file.write_text(json.dumps({**found, "device": "cpu"}, indent=1))
    with pytest.raises(UsageError, match="without a GPU"):
        measured(basis(), file)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("no json", "neither"),
        ("[1]", "neither"),
        ("{}", "neither"),
        (json.dumps({**TRIAL, "seconds_of_video": 0.0}), "none of its 10 videos was decoded"),
    ],
)
def test_files_that_measured_nothing_are_refused(text, told, tmp_path):
    file = tmp_path / "file.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=told):
        measured(basis(), file)


def test_a_real_trial_and_the_folder_of_a_curation_are_read(tmp_path, capsys, finished):
    source, folder = finished
    command = ["curate", "run", "--source", str(source), "--output", str(tmp_path / "out"), "--dry-run", "2", "--json"]
    assert cli.run(command) == 0
    trial = tmp_path / "trial.json"
    trial.write_text(capsys.readouterr().out)
    plan = ["curate", "plan", "--videos", "1000", "--gpus", "2", "--json"]
    assert cli.run([*plan, "--from", str(trial)]) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert figures["decoding"]["source"] == "trial.json: the first 2 videos tried"
    assert figures["seconds_per_video"]["value"] > 0
    assert cli.run([*plan, "--from", str(folder)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["figures"]["pairs_per_video"]["source"].endswith("2 of 2 videos done")
    assert found["videos"] == 1000


def test_figures_given_by_hand_win_and_are_called_so(capsys):
    command = ["curate", "plan", "--videos", "100", "--pairs", "50", "--gpu-seconds", "0.1", "--core-seconds", "0.02"]
    assert cli.run([*command, "--seconds-per-video", "10", "--megabits", "2", "--price", "2", "--json"]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert (found["gpu_seconds"], found["pairs"]) == (pytest.approx(100.0), 50)
    kinds = {name: entry["kind"] for name, entry in found["figures"].items()}
    assert {name for name, kind in kinds.items() if kind == "given"} == {
        *("seconds_per_video", "pairs_per_video", "models", "decoding", "bit_rate")
    }
    assert "at 2 a GPU-hour" in shown.err


def test_replaced_figures_leave_the_others(tmp_path):
    changed = replace(basis(), bit_rate=figure(4.0))
    assert plan_curation(settings(), changed, videos=10).bytes_fetched == 10 * 10 * 0.5e6
