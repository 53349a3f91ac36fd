"""The retraining DAG: one task a step of the table (`elysium/pipeline/steps.py`), nothing of its own.

**Params**: `workspace` (the run's folder; made up from the run id when empty), `preset`, `overrides`
(`section.key=value`, as `--set`), `runner` (`local`: a process on this machine; `kubernetes`: a Job).

A refused gate fails its task at once, with its reason; other failures are retried as the table says. Cleared tasks skip
what is finished and go on with what is half done.
"""

from __future__ import annotations

import datetime
import os

from airflow.sdk import DAG, Param

from elysium.pipeline.operators import StepOperator
from elysium.pipeline.steps import STEPS, dependencies

# Somebody who waits at a terminal wants to see a failure, not a retry in five minutes.
ATTENDED = bool(os.environ.get("ELYSIUM_ATTENDED"))

with DAG(
    dag_id="elysium_retrain",
    description="From captioned videos to a measured model that was promoted, or why it was not.",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    tags=["elysium"],
    params={
        "workspace": Param("", type="string", description="The run's folder; by default named after the run."),
        "preset": Param("nano", type="string", description="A preset's name, or the path of a YAML file."),
        "overrides": Param([], type="array", items={"type": "string"}, description="Settings, each section.key=value."),
        "runner": Param("local", enum=["local", "kubernetes"], description="A process here, or a Kubernetes Job."),
    },
) as dag:
    tasks = {
        row.name: StepOperator(
            task_id=row.name,
            step=row.name,
            doc_md=row.summary,
            retries=0 if ATTENDED else row.resources.retries,
            retry_delay=datetime.timedelta(minutes=1),
            retry_exponential_backoff=2.0,
            execution_timeout=datetime.timedelta(seconds=row.resources.seconds),
        )
        for row in STEPS
    }
    for row in STEPS:
        for name in dependencies(row):
            tasks[name] >> tasks[row.name]
