"""The step and the commands on a real, small, untrained model."""

import json

import numpy as np
import pytest

from elysium.cli import run as elysium
from elysium.config import load_settings
from elysium.errors import GateRefused
from elysium.evaluation import step
from elysium.evaluation.tasks.held_out import TASKS
from elysium.inference import Engine
from elysium.model import build_model
from elysium.pipeline.steps import StepContext
from elysium.registry.models import Champion

OVERRIDES = (
    "evaluate.caption_metrics=[]",
    *("evaluate.max_frames=3", "evaluate.max_sequences=2", "evaluate.clip_frames=2", "evaluate.bootstrap_samples=100"),
    *(
        "model.init_from=null",
        "model.vision.num_hidden_layers=2",
        "model.llm.num_hidden_layers=1",
        "model.llm.hidden_size=64",
        "model.vision.hidden_size=32",
    ),
)
TRACKING = {"auc", "precision", "norm_precision"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    for part in build_model(load_settings("nano", OVERRIDES).model, seed=0):
        part.save_pretrained(folder / "model")
    return folder


@pytest.fixture
def context(tmp_path, data, checkpoint):
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "data").symlink_to(data)
    (tmp_path / "snapshot" / "lineage.json").write_text(json.dumps({"data_hash": "abc.dir"}))
    (tmp_path / "output").mkdir()
    return StepContext(
        step="evaluate",
        settings=load_settings("nano", OVERRIDES),
        inputs={"snapshot": tmp_path / "snapshot", "finetune": checkpoint},
        output=tmp_path / "output",
        home=tmp_path,
        run_id="a-run",
    )


def read(context, name):
    return json.loads((context.output / name).read_text())


def test_the_step_writes_figures_predictions_clips_and_a_page(context):
    result = step.run(context)
    metrics = read(context, "metrics.json")
    assert metrics["data_hash"] == "abc.dir"
    assert (metrics["leaks"], metrics["leak_check"]["num_training_clips"]) == (0, 1)
    assert tuple(metrics["tasks"]) == TASKS
    sot = metrics["tasks"]["sot-simulated"]
    assert (
        set(sot["model"]) == set(sot["baselines"]["static_box"]) == set(sot["baselines"]["frame_by_frame"]) == TRACKING
    )
    assert sot["num_sequences"] == len(sot["per_sequence"]) == 2
    assert len(sot["curves"]["model"]["success"]) == 21
    assert result.metrics["sot-simulated.auc"] == sot["model"]["auc"]
    predictions = [json.loads(line) for line in (context.output / "predictions.jsonl").read_text().splitlines()]
    assert {entry["task"] for entry in predictions} == set(TASKS)
    assert np.shape([entry["boxes"] for entry in predictions if entry["task"] == "sot-simulated"]) == (2, 3, 4)
    assert {path.suffix for path in (context.output / "clips").iterdir()} == {".webp", ".json"}
    assert "data:image/webp" in (context.output / "report.html").read_text()
    assert not (context.output / "champion.json").exists()
    assert not (context.output / "parts").exists()
    assert sot["speed"]["frames_per_second"] > 0
    assert set(metrics["tasks"]["sot-real"]["baselines"]) == {"static_box", "frame_by_frame", "csrt"}


def without_speed(tasks):
    return {name: {key: value for key, value in task.items() if key != "speed"} for name, task in tasks.items()}


def test_the_same_model_and_data_give_the_same_figures_and_clips(context):
    def results():
        files = {
            path.name: path.read_bytes()
            for path in context.output.rglob("*.*")
            if path.suffix in (".jsonl", ".webp", ".json")
        }
        metrics = json.loads(files.pop("metrics.json"))
        return files, {**metrics, "tasks": without_speed(metrics["tasks"])}

    step.run(context)
    first = results()
    step.run(context)
    assert results() == first


def test_a_killed_evaluation_measures_only_what_is_missing(context, monkeypatch):
    asked = []
    track_each = Engine.track_each

    def until_the_second_task(engine, requests, options=None):
        asked.append([request.expression for request in requests])
        for number, *answer in track_each(engine, requests, options):
            yield number, *answer
            if len(asked) == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "track_each", until_the_second_task)
    with pytest.raises(KeyboardInterrupt):
        step.run(context)
    step.run(context)
    sot, rsot, rest, real = asked
    assert (len(sot), len(rsot), len(real)) == (2, 2, 1)
    assert rest == rsot[1:], "the first had landed"
    assert tuple(read(context, "metrics.json")["tasks"]) == TASKS


def test_the_champion_is_measured_on_the_same_records(context, checkpoint, monkeypatch):
    monkeypatch.setattr(step, "champion", lambda settings, home: Champion("3", checkpoint / "model", {}))
    step.run(context)
    metrics, champion = read(context, "metrics.json"), read(context, "champion.json")
    assert champion["version"] == "3"
    assert champion["data_hash"] == metrics["data_hash"]
    assert without_speed(champion["tasks"]) == without_speed(metrics["tasks"]), "it is the same model"


@pytest.mark.parametrize(
    ("task", "tasks"), [("rec", {"rec-simulated", "rec-real"}), ("reg", {"video-reg-simulated", "video-reg-real"})]
)
def test_the_run_command_measures_one_task_on_all_kinds_of_clips(task, tasks, data, checkpoint, tmp_path, capsys):
    sets = [argument for override in OVERRIDES for argument in ("--set", override)]
    folders = ["--data", str(data), "--checkpoint", str(checkpoint / "model"), "--output", str(tmp_path)]
    assert elysium(["evaluate", "run", "--task", task, "--json", *folders, *sets]) == 0
    assert set(json.loads(capsys.readouterr().out.splitlines()[-1])["tasks"]) == tasks
    assert set(json.loads((tmp_path / "metrics.json").read_text())["tasks"]) == tasks
    assert (tmp_path / "predictions.jsonl").read_text().count("\n") == 3


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_the_score_command_ends_with_one_json_object(flags, tmp_path, capsys):
    (tmp_path / "x.txt").write_text("1,2,3,4\n")
    folders = ["--predictions", str(tmp_path), "--ground-truth", str(tmp_path)]
    assert elysium(["evaluate", "score", "--format", "otb", *folders, *flags]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"auc": 95.238, "precision": 100, "norm_precision": 100, "sequences": 1, "frames": 1}


@pytest.fixture
def leaking(data, tmp_path):
    """A data folder whose training records hold a held-out clip under other names."""
    folder = tmp_path / "leaking"
    folder.mkdir()
    (folder / "frames").symlink_to(data / "frames")
    (folder / "evaluation.jsonl").write_text((data / "evaluation.jsonl").read_text())
    record = json.loads((data / "evaluation.jsonl").read_text().splitlines()[0])
    metadata = {**record["metadata"], "clip": "other", "content_sha256": "other", "split": "train"}
    record |= {"id": "other", "vid": "other", "metadata": metadata}
    (folder / "train.jsonl").write_text(json.dumps(record) + "\n")
    return folder


def test_items_that_were_trained_on_stop_the_step_with_their_list(context, leaking):
    (context.inputs["snapshot"] / "data").unlink()
    (context.inputs["snapshot"] / "data").symlink_to(leaking)
    with pytest.raises(GateRefused, match="1 of 3 evaluation clips are in the training data: clip-0 shares a file"):
        step.run(context)
    leaks = [json.loads(line) for line in (context.output / "leaks.jsonl").read_text().splitlines()]
    assert {(leak["evaluation"], leak["training"]) for leak in leaks} == {("clip-0", "other")}
    assert not (context.output / "metrics.json").exists()


def test_leaks_that_are_allowed_are_said(leaking, checkpoint, tmp_path, capsys):
    assert run_command(leaking, checkpoint, tmp_path / "out") == 3, "the snapshot's own training records are known"
    assert "clip-0 shares a file" in capsys.readouterr().err
    assert run_command(leaking, checkpoint, tmp_path / "out", "--set", "evaluate.allow_leaks=true") == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (metrics["leaks"], metrics["leak_check"]["leaked"]) == (1, ["clip-0"])


def run_command(data, checkpoint, output, *flags):
    sets = [argument for override in OVERRIDES for argument in ("--set", override)]
    folders = ["--data", str(data), "--checkpoint", str(checkpoint / "model"), "--output", str(output)]
    home = () if "--home" in flags else ("--home", str(output.parent / "home"))
    return elysium(["evaluate", "run", "--task", "rec", *folders, *sets, *home, *flags])


def test_processes_and_shards_give_what_one_process_gives(data, checkpoint, tmp_path, capsys):
    """Two processes, one of which fails at first; what the other has measured is gone on from."""
    broken = tmp_path / "data"
    broken.mkdir()
    (broken / "evaluation.jsonl").write_text((data / "evaluation.jsonl").read_text())
    (broken / "frames").mkdir()
    for number in (1, 2, 3):
        (broken / "frames" / str(number)).symlink_to(data / "frames" / str(number))
    two, shards = tmp_path / "two", tmp_path / "shards"
    assert run_command(broken, checkpoint, two, "--processes", "2") == 1
    assert "1 of 2 processes failed: 0 (exit code 1)" in capsys.readouterr().err
    assert not (two / "metrics.json").exists()
    assert len((two / "parts" / "rec-simulated" / "shard-1-of-2.jsonl").read_text().splitlines()) == 1
    (broken / "frames" / "0").symlink_to(data / "frames" / "0")

    assert run_command(broken, checkpoint, two) == 0
    assert run_command(data, checkpoint, tmp_path / "alone") == 0
    assert run_command(data, checkpoint, shards, "--shard", "1/2") == 0
    assert not (shards / "metrics.json").exists()
    assert run_command(data, checkpoint, shards, "--shard", "0/2") == 0
    first, second, third = (
        without_speed(json.loads((folder / "metrics.json").read_text())["tasks"])
        for folder in (tmp_path / "alone", two, shards)
    )
    assert first == second == third
    capsys.readouterr()
    assert elysium(["evaluate", "compare", str(tmp_path / "alone"), str(two), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["says"] == "cannot tell"


def test_an_evaluation_is_logged_where_a_run_is_named(data, checkpoint, tmp_path):
    from elysium.config import RegistrySettings
    from elysium.registry.store import open_store, run_of

    home = tmp_path / "home"
    for _ in range(2):
        assert run_command(data, checkpoint, tmp_path / "out", "--log-run", "measured", "--home", str(home)) == 0
    store = open_store(RegistrySettings(), home)
    run = run_of(store, "measured", create=False)
    assert "rec-simulated/accuracy" in run.data.metrics
    logged = {entry.path for entry in store.client.list_artifacts(run.info.run_id, "evaluation")}
    assert {"evaluation/report.html", "evaluation/tables.md"} <= logged


@pytest.mark.parametrize("shard", ["2/2", "1", "a/b", "-1/2"])
def test_a_shard_that_cannot_be_is_bad_usage(shard, data, checkpoint, tmp_path, capsys):
    assert run_command(data, checkpoint, tmp_path, "--shard", shard) == 2
    assert "INDEX/COUNT" in capsys.readouterr().err
