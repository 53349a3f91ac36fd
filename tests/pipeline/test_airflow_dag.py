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
def bag(tmp_path_factory):
    """What Airflow reads from dags/, as plain data, in a process and a home of its own."""
    code = f"""
        import json, sys
        from airflow.dag_processing.dagbag import DagBag
        bag = DagBag({str(ROOT / "dags")!r})
        dags = {{
            dag.dag_id: {{
                "tasks": {{t.task_id: sorted(t.upstream_task_ids) for t in dag.tasks}},
                "retries": {{t.task_id: t.retries for t in dag.tasks}},
                "params": {{name: dag.params.get_param(name).schema for name in dag.params}},
                "doc": dag.doc_md, "max_active_runs": dag.max_active_runs, "catchup": dag.catchup,
                "tags": sorted(dag.tags), "owner": dag.owner, "timetable": type(dag.timetable).__name__,
                "timeouts": {{t.task_id: t.execution_timeout.total_seconds() for t in dag.tasks
                             if t.execution_timeout}},
                "pools": {{t.task_id: [t.pool, t.pool_slots] for t in dag.tasks}},
                "mapped": [t.task_id for t in dag.tasks if t.is_mapped],
                "outlets": {{t.task_id: [a.name for a in t.outlets] for t in dag.tasks if t.outlets}},
                "told": sorted(t.task_id for t in dag.tasks if t.on_failure_callback and t.on_skipped_callback),
                "documented": sorted(t.task_id for t in dag.tasks if t.doc_md),
            }} for dag in bag.dags.values()
        }}
        unwanted = ("torch", "mlflow", "kubernetes", "boto3", "great_expectations")
        heavy = [name for name in unwanted if name in sys.modules]
        print(json.dumps({{"errors": bag.import_errors, "dags": dags, "heavy": heavy}}))
    """
    environment = {**airflow_environment(tmp_path_factory.mktemp("airflow")), "ELYSIUM_GPU_POOL": "elysium_gpu"}
    environment.pop("ELYSIUM_ATTENDED")
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture
def dag(bag):
    """The retraining DAG."""
    return bag["dags"]["elysium_retrain"]


TASKS = {
    "elysium_curate": ["ingest", "validate-raw", "curate", "validate-tracks", "plan", "curate-parts", "publish"],
    "elysium_evaluate": ["ingest", "validate-raw", "curate", "validate-tracks", "snapshot", "champion"],
    "elysium_promote": ["candidate", "approve", "promote"],
    "elysium_retrain": [row.name for row in STEPS],
}


def test_dags_import_without_errors_and_without_what_is_heavy(bag):
    assert bag["errors"] == {}
    assert bag["heavy"] == []


def test_dag_and_task_ids_stay(bag):
    assert {name: list(dag["tasks"]) for name, dag in sorted(bag["dags"].items())} == TASKS


@pytest.mark.parametrize("name", TASKS)
def test_every_dag_explains_itself_has_an_owner_and_runs_once_at_a_time(bag, name):
    dag = bag["dags"][name]
    assert len(dag["doc"]) > 200
    assert dag["owner"] == "elysium" or set(dag["owner"].split(", ")) == {"elysium"}
    assert "elysium" in dag["tags"]
    assert (dag["max_active_runs"], dag["catchup"]) == (1, False)


@pytest.mark.parametrize("name", TASKS)
def test_people_hear_of_every_task_that_fails_or_says_no(bag, name):
    assert bag["dags"][name]["told"] == sorted(TASKS[name])


@pytest.mark.parametrize("name", TASKS)
def test_params_have_a_form(bag, name):
    params = bag["dags"][name]["params"]
    assert {"overrides", "preset", "runner", "workspace"} <= set(params)
    assert all(schema["type"] and schema["title"] for schema in params.values())
    assert params["runner"]["enum"] == ["local", "kubernetes"]


@pytest.mark.parametrize("row", STEPS, ids=lambda row: row.name)
def test_tasks_depend_retry_and_end_as_the_table_says(dag, row):
    assert dag["tasks"][row.name] == sorted(dependencies(row))
    assert dag["retries"][row.name] == row.resources.retries
    assert dag["timeouts"][row.name] == row.resources.seconds
    assert row.name in dag["documented"]


@pytest.mark.parametrize("row", STEPS, ids=lambda row: row.name)
def test_tasks_take_as_many_slots_of_the_gpu_pool_as_they_take_gpus(dag, row):
    expected = ["elysium_gpu", row.resources.gpu] if row.resources.gpu else ["default_pool", 1]
    assert dag["pools"][row.name] == expected


def test_schedules(bag):
    assert {name: dag["timetable"] for name, dag in sorted(bag["dags"].items())} == {
        "elysium_curate": "NullTimetable",
        "elysium_evaluate": "CronTriggerTimetable",
        "elysium_promote": "NullTimetable",
        "elysium_retrain": "AssetOrTimeSchedule",
    }


def test_parts_of_curation_are_mapped_and_only_tracks_that_passed_are_announced(bag):
    made = bag["dags"]["elysium_curate"]
    assert made["mapped"] == ["curate-parts"]
    assert made["tasks"]["curate"] == ["curate-parts", "ingest", "validate-raw"]
    assert made["outlets"] == {"publish": ["elysium_tracks"]}
    assert "validate-tracks" in made["tasks"]["publish"]


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
