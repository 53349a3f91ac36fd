"""The DAG: it is the table, it imports without torch, and a run in process does what the local runner does."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from elysium.pipeline.airflow import airflow_environment
from elysium.pipeline.steps import STEPS, dependencies

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def dag(tmp_path_factory):
    """What Airflow reads from dags/, as plain data, in a process and a home of its own."""
    code = f"""
        import json, sys
        from airflow.dag_processing.dagbag import DagBag
        bag = DagBag({str(ROOT / "dags")!r})
        dags = {{
            dag.dag_id: {{
                "tasks": {{t.task_id: sorted(t.upstream_task_ids) for t in dag.tasks}},
                "retries": {{t.task_id: t.retries for t in dag.tasks}},
                "params": sorted(dag.params), "doc": dag.doc_md, "max_active_runs": dag.max_active_runs,
                "timeouts": {{t.task_id: t.execution_timeout.total_seconds() for t in dag.tasks}},
            }} for dag in bag.dags.values()
        }}
        print(json.dumps({{"errors": bag.import_errors, "dags": dags, "torch": "torch" in sys.modules}}))
    """
    environment = airflow_environment(tmp_path_factory.mktemp("airflow"))
    environment.pop("ELYSIUM_ATTENDED")
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(result.stdout.splitlines()[-1])


def test_dags_import_without_errors_and_without_torch(dag):
    assert dag["errors"] == {}
    assert dag["torch"] is False


def test_dag_and_task_ids_stay(dag):
    assert list(dag["dags"]) == ["elysium_retrain"]
    assert list(dag["dags"]["elysium_retrain"]["tasks"]) == [row.name for row in STEPS]
    assert dag["dags"]["elysium_retrain"]["params"] == ["overrides", "preset", "runner", "workspace"]


@pytest.mark.parametrize("row", STEPS, ids=lambda row: row.name)
def test_tasks_depend_retry_and_end_as_the_table_says(dag, row):
    made = dag["dags"]["elysium_retrain"]
    assert made["tasks"][row.name] == sorted(dependencies(row))
    assert made["retries"][row.name] == row.resources.retries
    assert made["timeouts"][row.name] == row.resources.seconds


def test_the_dag_explains_itself_and_runs_once_at_a_time(dag):
    assert "Params" in dag["dags"]["elysium_retrain"]["doc"]
    assert dag["dags"]["elysium_retrain"]["max_active_runs"] == 1


def test_a_run_through_airflow_is_the_local_one_again_and_compared_with_it(finished, elysium, toy):
    place, local = finished
    arguments = ("--runner", "airflow", "--preset", toy, "--workspace", place.home / "second", "--json")
    result = elysium("pipeline", "run", *arguments, cwd=place.home, check=0)
    shown = json.loads(result.stdout.splitlines()[-1])
    assert list(shown["steps"]) == [row.name for row in STEPS]
    assert shown["data_hash"] == local["data_hash"]
    assert shown["metrics"] == local["metrics"], "the same data, settings and machine train the same model"
    assert Path(shown["report"]).is_file()
    assert (place.home / "airflow" / "airflow.db").is_file(), "Airflow's home is beside the runs"
    assert local["decision"]["promoted"]
    assert shown["decision"]["champion_before"] == local["decision"]["version"]
    assert any(check["kind"] == "regression" for check in shown["decision"]["checks"])


def test_a_refused_gate_stops_the_dag_with_3_and_its_reason(elysium, toy, tmp_path):
    result = elysium(
        *("pipeline", "run", "--runner", "airflow", "--preset", toy, "--workspace", tmp_path / "run"),
        *("--set", "validate_raw.min_seconds=500"),
        cwd=tmp_path,
    )
    assert result.returncode == 3
    assert "step validate-raw refused by its quality gate" in result.stderr
    assert "--resume" in result.stderr
    assert not (tmp_path / "run" / "tracks").exists()
    assert (tmp_path / "run" / "raw_report" / "index.html").is_file()


def test_airflow_of_the_person_at_the_machine_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", "/somewhere/else")
    monkeypatch.setenv("AIRFLOW_HOME", "/somewhere/else")
    environment = airflow_environment(tmp_path)
    assert environment["AIRFLOW_HOME"] == str(tmp_path)
    assert environment["AIRFLOW__CORE__DAGS_FOLDER"] == str(ROOT / "dags")
    assert os.environ["AIRFLOW_HOME"] == "/somewhere/else"
