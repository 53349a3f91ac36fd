"""Slots of Airflow's GPU pool, and time limits: those of the cluster's job profile."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from rendered_overlays import K8S, jobs, of_kind, profile_of

from elysium.pipeline.airflow import airflow_environment
from elysium.pipeline.steps import STEPS, step

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """Pool, slots and seconds of each task, as Airflow reads the DAGs beside the profile of `multinode`."""
    code = f"""
        import json
        from airflow.dag_processing.dagbag import DagBag
        bag = DagBag({str(ROOT / "dags")!r})
        assert not bag.import_errors, bag.import_errors
        found = {{
            f"{{dag.dag_id}}/{{t.task_id}}":
                [t.pool, t.pool_slots, t.execution_timeout.total_seconds() if t.execution_timeout else None]
            for dag in bag.dags.values() for t in dag.tasks
        }}
        print(json.dumps(found))
    """
    environment = {
        **airflow_environment(tmp_path_factory.mktemp("airflow")),
        "ELYSIUM_GPU_POOL": "elysium_gpu",
        "ELYSIUM_JOB_PROFILE": str(K8S / "overlays" / "multinode" / "profile.yaml"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(result.stdout.splitlines()[-1])


def test_a_task_takes_as_many_slots_as_its_jobs_take_gpus(tasks):
    asked = {}
    for work, manifests in jobs("multinode"):
        (job,) = of_kind(manifests, "Job")
        limits = job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
        gpus = int(limits.get("nvidia.com/gpu", 0)) * job["spec"].get("parallelism", 1)
        name = work.name.removesuffix("-parts")
        asked[name] = max(asked.get(name, 0), gpus)
    assert asked["finetune"] > 1 < asked["curate"]
    for row in STEPS:
        gpus = asked[row.name]
        expected = ["elysium_gpu", gpus] if gpus else ["default_pool", 1]
        assert tasks[f"elysium_retrain/{row.name}"][:2] == expected, row.name


def test_a_part_that_is_a_task_of_its_own_takes_its_own_gpus(tasks):
    part = ["elysium_gpu", step("curate").resources.gpu]
    assert tasks["elysium_curate/curate-parts"][:2] == part
    assert tasks["elysium_curate/curate"][:2] == part, "it puts together what the parts have left"


def test_a_task_has_the_time_that_its_job_has(tasks):
    for row in STEPS:
        seconds = profile_of("multinode").resources_of(row.name, row.resources).seconds
        assert tasks[f"elysium_retrain/{row.name}"][2] == seconds
