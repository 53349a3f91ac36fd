"""Every night: is the champion still as good as when it was promoted, on data that has come in since?

Runs at 04:00 UTC (`ELYSIUM_EVALUATE_CRON`). Takes fresh data in (`ingest.source` of the preset or of the settings),
curates and checks it like training data, and measures the champion on it. `champion` compares that with the figures
that it was promoted with; a drop beyond the promotion policy's tolerance skips the task, with the reason, and tells
people (see `ELYSIUM_NOTIFY_URL`).

The params are those of `elysium_retrain`.
"""

from __future__ import annotations

from airflow.sdk import DAG

from elysium.pipeline.dag_parts import DEFAULT_ARGS, chain, command_task, run_params, when
from elysium.pipeline.steps import step

with DAG(
    dag_id="elysium_evaluate",
    description="Measures the champion on fresh data, and tells people when it has become worse.",
    doc_md=__doc__,
    schedule=when("EVALUATE", "0 4 * * *"),
    catchup=False,
    max_active_runs=1,
    tags=["elysium", "evaluation"],
    default_args=DEFAULT_ARGS,
    params=run_params(),
) as dag:
    steps = chain("ingest", "validate-raw", "curate", "validate-tracks", "snapshot")
    steps["snapshot"] >> command_task(
        "champion",
        ["evaluate", "champion", "--workspace", "{workspace}", "--json"],
        step("evaluate").resources,
        "Measures the champion on the snapshot and compares it with what it was promoted with.",
    )
