"""From captioned videos to a measured model that was promoted, or why it was not: one task a step of the table.

Runs every Sunday at 02:00 UTC (`ELYSIUM_RETRAIN_CRON`) in a workspace of its own, and whenever `elysium_curate` has
published new tracks: then in the workspace that the event names, where everything up to the tracks is found finished.

| param | says |
| --- | --- |
| workspace | the run's folder or `s3://` place; by default named after the run |
| preset, overrides | the settings, as of `elysium pipeline run` |
| runner | `local`: processes here; `kubernetes`: Jobs |

A gate that says no skips its task, with the reason, and all that would build on it. What a retry may mend is retried
as the table says; bad settings are not. Clear a task to run it again: what is finished is skipped, what is half done
goes on.
"""

from __future__ import annotations

from airflow.sdk import DAG

from elysium.pipeline.dag_parts import DEFAULT_ARGS, TRACKS, chain, run_params, when
from elysium.pipeline.steps import STEPS

with DAG(
    dag_id="elysium_retrain",
    description="From captioned videos to a measured model that was promoted, or why it was not.",
    doc_md=__doc__,
    schedule=when("RETRAIN", "0 2 * * 0", TRACKS),
    catchup=False,
    max_active_runs=1,
    tags=["elysium", "training"],
    default_args=DEFAULT_ARGS,
    params=run_params(),
) as dag:
    chain(*(row.name for row in STEPS))
