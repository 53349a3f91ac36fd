"""The operator itself: what it takes for final, and that a stopped task leaves no process behind."""

import json
import subprocess
import sys
import textwrap

import pytest

from elysium.pipeline.airflow import airflow_environment
from elysium.pipeline.steps import step
from elysium.pipeline.workspace import Workspace


@pytest.fixture
def execute(tmp_path):
    """Runs the operator of `ingest` in a process of its own; returns the exception's name and text."""

    def run(before="", **params):
        code = f"""
            import json, signal, threading
            from types import SimpleNamespace
            from elysium.pipeline.operators import StepOperator
            operator = StepOperator(task_id="ingest", step="ingest")
            {before}
            of = SimpleNamespace(dag_id="elysium_retrain")
            try:
                operator.execute({{"params": json.loads({json.dumps(json.dumps(params))}), "run_id": "run", "ti": of}})
            except Exception as error:
                print(json.dumps([type(error).__name__, str(error)]))
        """
        result = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            env=airflow_environment(tmp_path / "airflow"),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return json.loads(result.stdout.splitlines()[-1])

    return run


def test_bad_usage_is_final_also_on_a_workspace_that_was_begun(execute, tmp_path):
    place = Workspace.at(tmp_path / "run")
    place.settings("nano")
    kind, text = execute(workspace=str(place.root), preset="nano", overrides=["ingest.nope=1"], runner="local")
    assert kind == "AirflowFailException", "a retry cannot mend it"
    assert "nope" in text
    assert "exit code 2" in text


def test_a_failure_that_a_retry_may_mend_is_not_final(execute, tmp_path):
    place = Workspace.at(tmp_path / "run")
    place.settings("nano")
    with place.lock(step("ingest")):
        kind, text = execute(workspace=str(place.root), preset="nano", overrides=[], runner="local")
    assert kind == "AirflowException"
    assert "another process is running step ingest" in text


def test_a_task_that_is_stopped_stops_its_step(execute, tmp_path, toy):
    # Airflow calls on_kill when a task is marked, cleared or out of time.
    kind, text = execute(
        before="threading.Timer(1.0, lambda: signal.raise_signal(signal.SIGTERM)).start(); "
        "signal.signal(signal.SIGTERM, lambda *_: operator.on_kill())",
        workspace=str(tmp_path / "run"),
        preset=str(toy),
        overrides=["ingest.num_simulated_train=5000"],
        runner="local",
    )
    assert kind == "AirflowException"
    assert "exit code 143" in text
    with Workspace.at(tmp_path / "run").lock(step("ingest")):
        pass  # nobody holds the step any more
