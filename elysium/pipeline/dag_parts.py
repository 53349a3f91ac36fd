"""What the DAGs have in common: params with their form, callbacks, limits, GPU pools, and the tasks of steps.

Read by Airflow every half minute: nothing heavy is imported here.
"""

from __future__ import annotations

import datetime
import os
from typing import Any

from airflow.sdk import Asset, AssetOrTimeSchedule, CronTriggerTimetable, Param

from elysium.pipeline import notify
from elysium.pipeline.operators import CommandOperator, StepOperator
from elysium.pipeline.profile import load_profile
from elysium.pipeline.steps import Resources, Step, dependencies, step

# Changes when curated tracks that passed their gate are there; the event says in which workspace.
TRACKS = Asset(name="elysium_tracks", uri="elysium://tracks", group="elysium")

# Somebody who waits at a terminal wants to see a failure, not a retry in five minutes or a message elsewhere.
ATTENDED = bool(os.environ.get("ELYSIUM_ATTENDED"))
# Airflow runs no task of a pool that does not exist, so there is one only where it is named.
_GPU_POOL = "ELYSIUM_GPU_POOL"
# A triggerer watches Jobs, unless there is none.
_DEFERRABLE = os.environ.get("ELYSIUM_DEFERRABLE", "1") != "0"

DEFAULT_ARGS: dict[str, Any] = {
    "owner": "elysium",
    "retry_delay": datetime.timedelta(minutes=1),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": datetime.timedelta(minutes=30),
    **({} if ATTENDED else {"on_failure_callback": notify.task_failed, "on_skipped_callback": notify.task_refused}),
}


def when(name: str, cron: str, *assets: Asset) -> Any:
    """Returns when a DAG runs by itself.

    Args:
        name: `RETRAIN`, say: `ELYSIUM_RETRAIN_CRON` holds other times, UTC; empty is none.
        cron: The times where that is not set.
        *assets: Whose change starts it, too.

    Raises:
        ValueError: If the times are no cron expression; Airflow shows it as an import error.
    """
    cron = os.environ.get(f"ELYSIUM_{name}_CRON", cron).strip()
    if not cron:
        return list(assets) or None
    times = CronTriggerTimetable(cron, timezone="UTC")
    return AssetOrTimeSchedule(timetable=times, assets=list(assets)) if assets else times


def run_params(**more: Param) -> dict[str, Param]:
    """Returns the params that say on what a run works, with what belongs to one DAG alone."""
    return {
        "workspace": Param(
            "",
            type="string",
            title="Workspace",
            description="The run's folder, as the steps see it, or s3://bucket/prefix/run; by default named after the "
            "run, below ELYSIUM_RUNS.",
        ),
        "preset": Param(
            os.environ.get("ELYSIUM_PRESET", "nano"),
            type="string",
            title="Preset",
            minLength=1,
            description="A preset's name (nano, small, vicuna-7b …), or a YAML file's path, as the steps see it.",
        ),
        "overrides": Param(
            [],
            type="array",
            title="Settings",
            items={"type": "string", "pattern": r"^[\w.]+=.*$"},
            description="Each section.key=value, one a line, as `--set` takes them.",
        ),
        "runner": Param(
            os.environ.get("ELYSIUM_RUNNER", "local"),
            type="string",
            enum=["local", "kubernetes"],
            title="Runner",
            description="local: processes on Airflow's worker; kubernetes: Jobs.",
        ),
        **more,
    }


def step_task(name: str, task_id: str | None = None, **options: Any) -> StepOperator:
    """Returns the task of a step, with the limits and retries of the table.

    Args:
        name: Of the step.
        task_id: By default the step's name.
        **options: Of the operator.
    """
    row = step(name)
    profile = load_profile()
    parts = profile.shards if row.share and options.get("divided", True) else 1
    found = limits(row, pods=max(parts, profile.nodes if row.multi_node else 1))
    return StepOperator(task_id=task_id or name, step=name, doc_md=row.summary, **found, **options)


def shard_tasks(name: str, task_id: str, shards: Any) -> Any:
    """Returns a mapped task that does a step's parts, one each of `shards` (`I/N`)."""
    row = step(name)
    made = StepOperator.partial(task_id=task_id, step=name, doc_md=f"{row.summary} One part of it.", **limits(row))
    return made.expand(shard=shards)


def command_task(task_id: str, command: list[str], needs: Resources, doc: str, **options: Any) -> CommandOperator:
    """Returns the task of a command that is no step.

    Args:
        task_id: Of the task.
        command: Arguments of `elysium`.
        needs: What it asks of a cluster.
        doc: What it does, for the UI.
        **options: Of the operator.
    """
    return CommandOperator(
        task_id=task_id, command=command, needs=needs, doc_md=doc, **_limits(task_id, needs), **options
    )


def chain(*names: str, undivided: tuple[str, ...] = ()) -> dict[str, StepOperator]:
    """Returns the tasks of steps by name, each behind those of them that it reads from.

    Args:
        *names: Of the steps, in the table's order.
        undivided: Those whose parts, if the job profile has several, are tasks of their own.
    """
    tasks = {name: step_task(name, divided=name not in undivided) for name in names}
    for name in names:
        for before in dependencies(step(name)):
            if before in tasks:
                tasks[before] >> tasks[name]
    return tasks


def limits(row: Step, pods: int = 1) -> dict[str, Any]:
    """Returns retries, time limit and pool of a step's task, as its operator takes them.

    Args:
        row: Of the table.
        pods: That are at work at once.
    """
    return _limits(row.name, row.resources, pods)


def _limits(name: str, needs: Resources, pods: int = 1) -> dict[str, Any]:
    # The cluster's own figures, where there is a job profile: its Jobs have them too.
    needs = load_profile().resources_of(name, needs)
    found: dict[str, Any] = {
        "retries": 0 if ATTENDED else needs.retries,
        "execution_timeout": datetime.timedelta(seconds=needs.seconds),
        "deferrable": _DEFERRABLE,
    }
    pool = os.environ.get(_GPU_POOL)
    if pool and needs.gpu:
        found |= {"pool": pool, "pool_slots": pods * needs.gpu}
    return found
