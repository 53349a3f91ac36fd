"""The pipeline's training steps use as many processes as they are told, and are steps as they are with one."""

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace

import psutil
import pytest
import torch
from training_data import SETTINGS, settings, write_snapshot

from elysium.cli import run
from elysium.config import Schedule
from elysium.errors import ElysiumError, UsageError
from elysium.model import build_model
from elysium.pipeline.execute import run_step, step_key
from elysium.pipeline.meeting import Node
from elysium.pipeline.nodes import run_on_nodes
from elysium.pipeline.steps import step
from elysium.pipeline.workspace import Manifest, Workspace, digest_of, now, scan
from elysium.registry.store import open_store
from elysium.training.checkpoints import check_processes
from elysium.training.launch import num_processes
from elysium.training.step import save_model

STEPS = 20
ROW = step("finetune")
ONE = ("training.finetune.batch_size=4", "training.finetune.global_batch_size=4")
TWO = ("training.finetune.batch_size=2", "training.finetune.global_batch_size=4", "training.processes=2")
RECIPE = tuple(
    f"training.finetune.{change}"
    for change in (
        *(f"steps={STEPS}", "save_steps=5", "logging_steps=1", "questions=2", "learning_rate=1e-3"),
        *("precision=float32", "clip_frames=[2, 2]", "mixture={rec: 1, rsot: 1}"),
    )
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Where runs lie, beside the registry that they share."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def make(runs):
    """Makes a run that has everything before `finetune`: the same in all."""

    def run(name, *changes):
        place = Workspace.at(runs / name)
        place.settings("nano", (*SETTINGS, *RECIPE, *changes))
        publish(place, step("snapshot"), write_snapshot)
        publish(place, step("pretrain"), lambda folder: save_model(*build_model(settings().model, 0), folder / "model"))
        return place

    return run


def publish(place, row, write):
    partial = place.partial(row)
    partial.mkdir(parents=True)
    write(partial)
    files = scan(partial)
    manifest = Manifest(
        step=row.name,
        status="done",
        key="",
        digest=digest_of({name: entry.sha256 for name, entry in files.items()}),
        files=files,
        summary="",
        metrics={},
        started=now(),
        seconds=0,
        peak_mib=0,
        code="",
    )
    place.publish(row, manifest)


def start(place, *options, **environment):
    command = [sys.executable, "-m", "elysium.cli", "step", "finetune", "--workspace", str(place.root), *options]
    return subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def without_gpus():
    """Two processes want two GPUs, or none; whoever starts them has loaded its libraries by now."""
    if torch.cuda.is_available():
        pytest.skip("says what a machine without GPUs does")


def finished(place):
    run_step(place, ROW, place.settings())
    return place


@pytest.fixture(scope="module")
def alone(make):
    return finished(make("alone", *ONE))


@pytest.fixture(scope="module")
def two(make, runs, without_gpus):
    return finished(make("two", *TWO, f"checkpoints.mirror={runs / 'mirror'}"))


def curve(place):
    history = json.loads((place.folder(ROW) / "history.json").read_text())
    assert [entry["step"] for entry in history] == list(range(1, STEPS + 1))
    return torch.tensor([entry["loss"] for entry in history])


def assert_alike(place, other):
    assert (curve(place) - curve(other)).abs().max() < 1e-3
    # Answers are drawn with each checkpoint, so where it was stopped too.
    files = [{name for name in run.manifest(ROW).files if "answers" not in name} for run in (place, other)]
    assert files[0] == files[1]


def test_two_processes_publish_what_one_does(alone, two):
    assert_alike(two, alone)
    manifest, other = two.manifest(ROW), alone.manifest(ROW)
    assert manifest.metrics == pytest.approx(other.metrics, abs=1e-3)
    assert f"{STEPS} steps of 4 samples" in manifest.summary
    details = [json.loads((run.folder(ROW) / "training.json").read_text()) for run in (two, alone)]
    for name in ("trained_parameters", "longest_sample", "samples", "questions"):
        assert details[0][name] == details[1][name]
    assert run_step(two, ROW, two.settings()).skipped


def test_two_processes_log_to_one_run_and_copy_their_checkpoints(alone, two, runs):
    store = open_store(alone.settings().registry, runs)
    logged = []
    for place in (alone, two):
        run_id = json.loads((place.folder(ROW) / "training.json").read_text())["mlflow_run"]
        run = store.client.get_run(run_id)
        assert run.info.status == "FINISHED"
        losses = store.client.get_metric_history(run_id, "loss")
        assert [entry.step for entry in losses] == list(range(1, STEPS + 1))
        artifacts = {entry.path for entry in store.client.list_artifacts(run_id)}
        logged.append((set(run.data.metrics), set(run.data.params), artifacts))
    assert logged[0] == logged[1]
    assert f"answers-{STEPS:06}.png" in logged[1][2]
    assert {path.parent.name for path in runs.glob("mirror/*/*/complete.json")} == {"checkpoint-15", "checkpoint-20"}


def read_until(pattern, stream):
    for line in stream:
        if re.search(pattern, line):
            return
    pytest.fail(f"the step ended before it printed {pattern}")


def stop_at(checkpoint, process=None, number=signal.SIGTERM):
    """Sends a process a signal when a checkpoint is there: by default this one, which runs the step."""

    def wait():
        while not (checkpoint / "complete.json").is_file():
            time.sleep(0.05)
        os.kill(process or os.getpid(), number)

    threading.Thread(target=wait, daemon=True).start()


def test_a_step_that_is_told_to_stop_and_then_killed_ends_as_if_nothing_had_happened(
    alone, make, without_gpus, capfd, caplog
):
    caplog.set_level(logging.INFO)
    place = make("killed", *TWO)
    trainer = place.partial(ROW) / "trainer"
    stop_at(trainer / "checkpoint-5")
    with pytest.raises(ElysiumError, match=r"^stopped by SIGTERM after step \d+; the state is saved") as stopped:
        finished(place)
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    last = re.search(r"after step (\d+);", str(stopped.value))[1]
    assert (trainer / f"checkpoint-{last}" / "complete.json").is_file()
    assert "Traceback" not in capfd.readouterr().err

    with start(place) as running:
        read_until(rf"going on from checkpoint-{last}", running.stderr)
        read_until(r"step \d+/", running.stderr)
        started = psutil.Process(running.pid).children(recursive=True)
        running.kill()
        running.wait()
        # Those that it had started are not waited for here: the next attempt does.
        finished(place)
    assert len(started) >= 3, "torchrun and two processes"
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in started)
    assert "going on from checkpoint-" in capfd.readouterr().err
    assert_alike(place, alone)


def test_what_is_killed_while_it_is_published_is_not_trained_again(alone, make, monkeypatch, caplog):
    """Hashing a model takes minutes, and so does putting it on S3."""
    caplog.set_level(logging.INFO)
    place = make("published", *ONE)

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("elysium.pipeline.execute.scan", killed)
        with pytest.raises(KeyboardInterrupt):
            run_step(place, ROW, place.settings())
    assert f"step {STEPS}/{STEPS}" in caplog.text
    caplog.clear()
    finished(place)
    assert f"going on from checkpoint-{STEPS}" in caplog.text
    assert not re.search(r"step \d+/", caplog.text)
    assert_alike(place, alone)
    assert not any(name.startswith(("trainer", ".key")) for name in place.manifest(ROW).files)
    assert not (place.folder(ROW) / "trainer").exists()


def test_a_lost_node_ends_the_others_and_what_they_trained_is_gone_on_with(make, alone, without_gpus):
    place = make("nodes", *TWO, "training.processes=1")
    with socket.create_server(("localhost", 0)) as free:
        node = Node(0, 2, "localhost", free.getsockname()[1], seconds=500)
    # As a pod has it: the very same command on each, and Kubernetes says which it is.
    pod = {"ELYSIUM_RENDEZVOUS": node.place, "JOB_COMPLETION_INDEX": "1"}
    with start(place, "--nodes", "2", **pod) as lost:
        stop_at(place.partial(ROW) / "trainer" / "checkpoint-5", lost.pid, signal.SIGKILL)
        threading.Thread(target=lost.stderr.read, daemon=True).start()
        try:
            with pytest.raises(ElysiumError, match=r"^node 1 \(.*\) was lost; run it again on all nodes") as ended:
                run_on_nodes(place, ROW, place.settings(), node)
        finally:
            lost.kill()
    assert ended.value.exit_code == 1, "which a Job tries again"
    # Any number of nodes may go on, for it decides nothing where the samples of a step are set: here one.
    outcome = run_step(place, ROW, place.settings())
    assert not outcome.skipped
    assert (curve(place) - curve(alone)).abs().max() < 1e-5
    assert_alike(place, alone)
    # A pod that is made anew now finds nothing to do, and nobody to meet.
    assert run_on_nodes(place, ROW, place.settings(), replace(node, index=1)).skipped


def test_what_a_process_refuses_the_step_says_as_its_own(make, without_gpus, capfd):
    place = make("refused", *TWO, "training.finetune.clip_frames=[99, 99]")
    with pytest.raises(UsageError, match=r"^training\.finetune: a clip of 99 frames takes"):
        run_step(place, ROW, place.settings())
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    assert "a clip of 99 frames" not in printed.err, "the step says it, once"


@pytest.mark.parametrize(
    ("changes", "decides"),
    [(("training.processes=2",), True), (("training.processes=2", "training.finetune.global_batch_size=8"), False)],
)
def test_nodes_decide_what_a_step_learns_from_as_processes_do(changes, decides):
    chosen = settings(*changes)
    assert (step_key(ROW, chosen, {}, nodes=2) != step_key(ROW, chosen, {})) == decides
    four = settings(*changes, "training.processes=4")
    assert step_key(ROW, chosen, {}, nodes=2) == step_key(ROW, four, {})


def test_what_processes_cannot_share_is_refused_before_any_is_started(make, without_gpus):
    place = make("unshared", *TWO, "training.processes=3")
    with pytest.raises(UsageError, match=r"global_batch_size=4 cannot be shared by 3 processes"):
        run_step(place, ROW, place.settings())


@pytest.mark.parametrize(("processes", "number"), [("auto", 1), (1, 1), (3, 3)])
def test_without_gpus_one_process_trains_unless_the_settings_say_more(processes, number, without_gpus):
    assert num_processes(settings(f"training.processes={processes}").training) == number


def test_a_step_under_torchrun_is_refused_in_words(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "32")
    assert run(["step", "finetune", "--workspace", str(tmp_path)]) == 2
    assert "torchrun starts 32 processes, and a step is one" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_process_of_torchrun_starts_no_others(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert num_processes(settings("training.processes=4").training) == 2


@pytest.mark.parametrize("value", ["0", "many", "1.5", "true"])
def test_processes_that_cannot_be_are_refused(value):
    with pytest.raises(UsageError, match=r"^training.processes: processes is a whole number from 1 on, or auto, got"):
        settings(f"training.processes={value}")


@pytest.mark.parametrize(
    ("changes", "decides"),
    [
        (("training.processes=auto",), False),
        (("training.processes=2",), True),
        (("training.processes=1",), True),
        (("training.processes=2", "training.finetune.global_batch_size=8"), False),
    ],
)
def test_a_step_runs_again_for_another_number_of_processes_only_where_it_learns_from_others(changes, decides):
    without = settings(*(change for change in changes if not change.startswith("training.processes")))
    assert (step_key(ROW, settings(*changes), {}) != step_key(ROW, without, {})) == decides


@pytest.mark.parametrize(("whole", "told"), [(None, True), (8, False)])
def test_another_number_of_processes_that_learns_from_other_samples_is_told(tmp_path, caplog, whole, told):
    (tmp_path / "processes.json").write_text('{"processes": 2}')
    check_processes(tmp_path, Schedule(steps=1, learning_rate=1, batch_size=4, global_batch_size=whole))
    assert ["learned from 8 samples; 1 go on with 4 a step" in message for message in caplog.messages] == [True] * told
