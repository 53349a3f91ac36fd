"""What training logs, and that a resumed phase goes on with its own MLflow run."""

import json
import os
import signal
import subprocess
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

from elysium.config import RegistrySettings
from elysium.errors import ElysiumError
from elysium.registry import store as store_module
from elysium.registry.store import available, find_runs, open_store, run_of, tracking_uri
from elysium.registry.tracking import phase_run


def losses(store, run_id):
    return [(entry.step, entry.value) for entry in store.client.get_metric_history(run_id, "loss")]


def test_a_phase_logs_its_figures_and_settings(make_context, store):
    with phase_run(make_context("finetune"), "finetune") as run:
        run.log_params({"steps": 3, "mixture": {"sot": 1.0}})
        run.log_metrics({"loss": 2.5, "learning_rate": 1e-3}, step=10)
    logged = store.client.get_run(run.run_id)
    assert logged.data.params == {"steps": "3", "mixture.sot": "1.0"}
    assert logged.data.metrics == {"loss": 2.5, "learning_rate": 1e-3}
    assert logged.info.status == "FINISHED"


def test_more_parameters_than_mlflow_takes_at_once_are_all_logged(make_context, store):
    with phase_run(make_context("finetune"), "finetune") as run:
        run.log_params({f"p{i}": i for i in range(250)})
    assert len(store.client.get_run(run.run_id).data.params) == 250


def test_a_file_is_logged_under_its_name(make_context, store, tmp_path):
    (tmp_path / "history.json").write_text("[]")
    with phase_run(make_context("finetune"), "finetune") as run:
        run.log_artifact(tmp_path / "history.json")
    assert [entry.path for entry in store.client.list_artifacts(run.run_id)] == ["history.json"]


def test_phases_are_children_of_one_run(make_context, store):
    ids = []
    for phase in ("warmup", "pretrain"):
        with phase_run(make_context(phase), phase) as run:
            ids.append(run.run_id)
    parent = run_of(store, "first", create=False)
    assert {store.client.get_run(entry).data.tags["mlflow.parentRunId"] for entry in ids} == {parent.info.run_id}


def test_a_resumed_phase_goes_on_without_logging_a_step_twice(make_context, store):
    context = make_context("finetune")

    def fail_after_two_steps():
        with phase_run(context, "finetune") as run:
            run.log_metrics({"loss": 3.0}, step=1)
            run.log_metrics({"loss": 2.0}, step=2)
            raise RuntimeError(run.run_id)

    with pytest.raises(RuntimeError) as failure:
        fail_after_two_steps()
    first = str(failure.value)
    assert store.client.get_run(first).info.status == "FAILED"
    with phase_run(context, "finetune") as second:
        for step, loss in ((2, 2.0), (3, 1.0)):
            second.log_metrics({"loss": loss}, step=step)
    assert second.run_id == first
    assert losses(store, first) == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert store.client.get_run(first).info.status == "FINISHED"


def test_a_run_that_a_killed_attempt_left_open_is_closed(make_context, store):
    context = make_context("finetune")
    with phase_run(context, "finetune") as first:
        store.client.update_run(first.run_id, status="RUNNING")
        (context.output / "mlflow_run.json").unlink()
        with phase_run(context, "finetune") as second:
            assert second.run_id != first.run_id
        assert store.client.get_run(first.run_id).info.status == "KILLED"
    assert len(find_runs(store, "first", "finetune")) == 2


def test_a_run_deleted_in_mlflow_is_replaced(make_context, store):
    context = make_context("finetune")
    with phase_run(context, "finetune") as first:
        pass
    store.client.delete_run(first.run_id)
    with phase_run(context, "finetune") as second:
        assert second.run_id != first.run_id
    assert json.loads((context.output / "mlflow_run.json").read_text()) == {"run_id": second.run_id}


def test_only_rank_0_logs(make_context, store, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with phase_run(make_context("finetune"), "finetune") as run:
        run.log_metrics({"loss": 1.0}, step=1)
    assert run.run_id is None
    assert find_runs(store, "first", "finetune") == []


def test_without_mlflow_nothing_is_logged_and_a_warning_says_so(make_context, monkeypatch, caplog):
    monkeypatch.setattr("elysium.registry.tracking.available", lambda: False)
    with phase_run(make_context("finetune"), "finetune") as run:
        run.log_params({"steps": 1})
        run.log_metrics({"loss": 1.0}, step=1)
    assert run.run_id is None
    assert "MLflow is not installed" in caplog.text


def test_an_empty_folder_of_that_name_is_not_mlflow(tmp_path, monkeypatch):
    assert available()
    (tmp_path / "mlflow").mkdir()
    shadow = PathFinder.find_spec("mlflow", [str(tmp_path)])
    assert shadow is not None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: shadow)
    assert not available()


def test_a_store_that_stops_answering_costs_figures_not_the_training(make_context, store, caplog):
    with phase_run(make_context("finetune"), "finetune") as run:
        store.client.delete_run(run.run_id)
        run.log_metrics({"loss": 1.0}, step=1)
        run.log_metrics({"loss": 0.5}, step=2)
    assert caplog.text.count("going on without") == 1


def test_a_server_that_cannot_be_reached_stops_the_phase_before_it_starts(make_context, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    context = make_context("finetune", overrides=["registry.tracking_uri=http://me:secret@127.0.0.1:9"])
    with pytest.raises(ElysiumError, match=r"http://me:\*\*\*@127.0.0.1:9 cannot be used"), phase_run(context, "x"):
        pass


def test_the_default_store_lies_beside_the_runs_and_nothing_in_the_working_folder(tmp_path, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    home = tmp_path / "runs"
    opened = open_store(RegistrySettings(), home)
    opened.client.log_text(run_of(opened, "first").info.run_id, "hello", "note.txt")
    assert tracking_uri(RegistrySettings(), home) == f"sqlite:///{home}/mlflow/mlflow.db"
    assert len(list((home / "mlflow" / "artifacts").rglob("note.txt"))) == 1
    assert list(work.iterdir()) == []


@pytest.mark.parametrize(
    ("variable", "setting", "used"),
    [
        ("http://mlflow:5000", None, "http://mlflow:5000"),
        ("http://mlflow:5000", "https://other", "https://other"),
        ("sqlite:////somewhere/else.db", None, "sqlite:////runs/mlflow/mlflow.db"),
    ],
)
def test_a_server_in_the_environment_counts_unless_a_setting_names_another(monkeypatch, variable, setting, used):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", variable)
    assert tracking_uri(RegistrySettings(tracking_uri=setting), Path("/runs")) == used


def test_importing_the_tracking_module_does_not_import_mlflow():
    code = "import sys, elysium.registry.tracking, elysium.registry.commands; print('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_telemetry_is_off(store):
    assert store_module.os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    from mlflow.telemetry import get_telemetry_client

    assert get_telemetry_client() is None


def test_a_phase_killed_outright_resumes_its_run(make_context, store):
    context = make_context("finetune")
    code = f"""
import os, signal, pathlib
from elysium.config import load_settings
from elysium.pipeline.steps import StepContext
from elysium.registry.tracking import phase_run
p = pathlib.Path
c = StepContext("finetune", load_settings(), {{}}, p({str(context.output)!r}), p({str(context.home)!r}), "first")
with phase_run(c, "finetune") as run:
    run.log_metrics({{"loss": 3.0}}, step=1)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ)).returncode == -signal.SIGKILL
    with phase_run(context, "finetune") as run:
        run.log_metrics({"loss": 3.0}, step=1)
        run.log_metrics({"loss": 2.0}, step=2)
    assert losses(store, run.run_id) == [(1, 3.0), (2, 2.0)]
    assert len(find_runs(store, "first", "finetune")) == 1
