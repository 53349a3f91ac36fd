"""Makes a model champion that has passed the policy, after somebody has agreed where the policy asks for that.

`candidate` finds the model and what the policy said of it; a model that did not pass ends the run there. `approve`
waits for a person (Browse, Required Actions) where `approval: manual` stands in the policy, else it goes on by itself.
`promote` moves the alias, and writes down who agreed.

| param | says |
| --- | --- |
| workspace | the run whose model is meant |
| version | or a version of the registry; the workspace then only says where the registry is |
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from elysium.pipeline.dag_approval import ApprovalIfAsked
from elysium.pipeline.dag_parts import DEFAULT_ARGS, command_task, run_params
from elysium.pipeline.steps import step

with DAG(
    dag_id="elysium_promote",
    description="Makes a model champion that has passed the policy, with approval where the policy asks for it.",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    tags=["elysium", "registry"],
    default_args=DEFAULT_ARGS,
    params=run_params(
        version=Param(
            "",
            type="string",
            pattern=r"^(\d+|challenger)?$",
            title="Version",
            description="Number of a registered model, or challenger; empty: the one of the workspace's run.",
        )
    ),
) as dag:
    candidate = command_task(
        "candidate",
        ["registry", "candidate", "{{ params.version }}", "--workspace", "{workspace}", "--json"],
        step("promote").resources,
        "Finds the model and what the policy said of it.",
    )
    approve = ApprovalIfAsked(
        task_id="approve",
        subject="Make version {{ ti.xcom_pull('candidate')['version'] }} champion?",
        body="{{ ti.xcom_pull('candidate')['card'] }}",
        doc_md="Waits for a person where the policy says `approval: manual`.",
    )
    promote = command_task(
        "promote",
        [
            "registry", "approve", "{{ ti.xcom_pull('candidate')['version'] }}",
            "--by", "{{ ti.xcom_pull('approve')['by'] }}", "--workspace", "{workspace}", "--json",
        ],
        step("promote").resources,
        "Moves the alias `champion` and writes down who agreed.",
    )  # fmt: skip
    candidate >> approve >> promote
