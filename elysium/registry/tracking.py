"""One MLflow run a training phase, which goes on as the same run when the phase is resumed."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from elysium.pipeline.steps import StepContext
from elysium.pipeline.workspace import write_atomic
from elysium.registry.models import Champion, champion
from elysium.registry.store import Store, available, find_runs, first_line, import_mlflow, open_store, run_of, run_tags
from elysium.registry.store import log_params as write_params

__all__ = ["RUN_FILE", "Champion", "PhaseRun", "champion", "phase_run"]

logger = logging.getLogger(__name__)

RUN_FILE = "mlflow_run.json"


class PhaseRun(Protocol):
    """What training logs to: an MLflow run, or nothing where MLflow is not installed."""

    @property
    def run_id(self) -> str | None:
        """Returns the MLflow run's id; None when nothing is logged."""

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Logs figures of one step."""

    def log_params(self, params: dict[str, Any]) -> None:
        """Logs settings; nested mappings become dotted names."""

    def log_artifact(self, path: Path) -> None:
        """Logs a file, or a folder with all in it."""


@contextlib.contextmanager
def phase_run(context: StepContext, phase: str) -> Iterator[PhaseRun]:
    """Opens the MLflow run of a phase, and closes it as finished, failed or killed.

    The run's id is kept in `mlflow_run.json` in the step's output, so a resumed step goes on with the same run, and
    figures of steps that were logged before the kill are not logged twice. Of several processes only rank 0 logs.

    Args:
        context: The step's context.
        phase: `warmup`, `pretrain` or `finetune`.

    Raises:
        ElysiumError: If the store cannot be reached: better before hours of training than after.
    """
    if os.environ.get("RANK", "0") != "0":
        yield _NullRun()
        return
    if not available():
        logger.warning("MLflow is not installed: %s is not logged (install 'elysium[registry]' to log it)", phase)
        yield _NullRun()
        return
    store = open_store(context.settings.registry, context.home)
    run = _MlflowRun(store, *_begin(store, context, phase))
    status = "FAILED"
    try:
        yield run
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        run.close(status)


class _NullRun:
    run_id: str | None = None

    def log_metrics(self, metrics: dict[str, float], step: int) -> None: ...

    def log_params(self, params: dict[str, Any]) -> None: ...

    def log_artifact(self, path: Path) -> None: ...


class _MlflowRun:
    """Logs to one MLflow run; a store that stops answering costs figures, never the training."""

    def __init__(self, store: Store, run_id: str, logged: dict[str, int]) -> None:
        self.run_id: str | None = run_id
        self._store = store
        self._id = run_id
        self._logged = logged
        self._warned = False

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        new = [
            Metric(key, float(value), now, step) for key, value in metrics.items() if step > self._logged.get(key, -1)
        ]
        if new:
            with self._forgiving():
                self._store.client.log_batch(self._id, metrics=new)

    def log_params(self, params: dict[str, Any]) -> None:
        with self._forgiving():
            write_params(self._store, self._id, params)

    def log_artifact(self, path: Path) -> None:
        with self._forgiving():
            if path.is_dir():
                self._store.client.log_artifacts(self._id, str(path), path.name)
            else:
                self._store.client.log_artifact(self._id, str(path))

    def close(self, status: str) -> None:
        with self._forgiving():
            self._store.client.set_terminated(self._id, status)

    @contextlib.contextmanager
    def _forgiving(self) -> Iterator[None]:
        try:
            yield
        except import_mlflow().exceptions.MlflowException as error:
            if not self._warned:
                logger.warning("MLflow did not take what was logged (%s); going on without", first_line(error))
            self._warned = True


def _begin(store: Store, context: StepContext, phase: str) -> tuple[str, dict[str, int]]:
    """Returns the id of the run to log to, and by metric the last step that it holds."""
    path = context.output / RUN_FILE
    if path.is_file():
        run_id = str(json.loads(path.read_text(encoding="utf-8"))["run_id"])
        logged = _resume(store, run_id)
        if logged is not None:
            return run_id, logged
    for orphan in find_runs(store, context.run_id, phase):
        if orphan.info.status == "RUNNING":
            # The workspace's lock is ours, so whoever began that run is dead.
            store.client.set_terminated(orphan.info.run_id, "KILLED")
    parent = run_of(store, context.run_id)
    tags = {**run_tags(context.run_id, phase), "mlflow.parentRunId": parent.info.run_id}
    run = store.client.create_run(store.experiment_id, run_name=f"{context.run_id} {phase}", tags=tags)
    write_atomic(path, json.dumps({"run_id": run.info.run_id}))
    return run.info.run_id, {}


def _resume(store: Store, run_id: str) -> dict[str, int] | None:
    try:
        run = store.client.get_run(run_id)
        if run.info.lifecycle_stage != "active":
            return None
        store.client.update_run(run_id, status="RUNNING")
        keys = list(run.data.metrics)
        return {key: max(entry.step for entry in store.client.get_metric_history(run_id, key)) for key in keys}
    except import_mlflow().exceptions.MlflowException as error:
        logger.warning(
            "the MLflow run %s of an earlier attempt is gone (%s); a new one is begun", run_id, first_line(error)
        )
        return None
