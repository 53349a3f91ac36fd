"""Figures, report and tables of an evaluation in an MLflow run."""

from __future__ import annotations

import re
from pathlib import Path

from elysium.evaluation.report.tables import LATEX_FILE, MARKDOWN_FILE
from elysium.evaluation.results import METRICS_FILE, REPORT_FILE, Evaluation, read_evaluation
from elysium.pipeline.workspace import sha256
from elysium.registry.store import Store, run_of

ARTIFACTS = "evaluation"
_LOGGED = (REPORT_FILE, METRICS_FILE, MARKDOWN_FILE, LATEX_FILE)
_DIGEST_TAG = "elysium.logged"
# MLflow's own limit on one log_batch call.
_MAX_METRICS = 1000


def log_evaluation(store: Store, run_id: str, folder: Path) -> None:
    """Writes an evaluation into the MLflow run of an Elysium run: done twice, it writes nothing twice.

    Figures become metrics, see `metric_values`. What there is of report, `metrics.json` and tables becomes artifacts
    in `evaluation/`; a file that was logged before is logged again only if it has changed.

    Args:
        store: An open store.
        run_id: Of the Elysium run; its MLflow run is made where there is none.
        folder: Of the evaluation.

    Raises:
        UsageError: If there is no evaluation, or it is damaged.
    """
    from mlflow.entities import Metric

    evaluation = read_evaluation(folder)
    run = run_of(store, run_id)
    batch = [
        Metric(name, value, run.info.start_time, 0)
        for name, value in metric_values(evaluation).items()
        if run.data.metrics.get(name) != value
    ]
    for start in range(0, len(batch), _MAX_METRICS):
        store.client.log_batch(run.info.run_id, metrics=batch[start : start + _MAX_METRICS])
    for name in _LOGGED:
        path, tag = folder / name, f"{_DIGEST_TAG}.{name}"
        if not path.is_file():
            continue
        digest = sha256(path)
        if run.data.tags.get(tag) != digest:
            store.client.log_artifact(run.info.run_id, str(path), ARTIFACTS)
            # Last: killed before it, the file is logged once more into the same place.
            store.client.set_tag(run.info.run_id, tag, digest)


def metric_values(evaluation: Evaluation) -> dict[str, float]:
    """Returns an evaluation's figures by their names in MLflow.

    `TASK/METRIC`, the ends of its interval `TASK/METRIC_low` and `TASK/METRIC_high`, `TASK/num_failures`, and where
    speed was measured `TASK/frames_per_second`, `TASK/tokens_per_frame` and `TASK/peak_mib`.
    """
    found: dict[str, float] = {}
    for task, figures in evaluation.tasks.items():
        own: dict[str, float] = {}
        for metric, value in figures.model.items():
            own[metric] = value
            if metric in figures.intervals:
                own[f"{metric}_low"], own[f"{metric}_high"] = figures.intervals[metric]
        own["num_failures"] = float(figures.num_failures)
        if figures.speed is not None:
            own |= {
                name: getattr(figures.speed, name) for name in ("frames_per_second", "tokens_per_frame", "peak_mib")
            }
        found |= {_legal(f"{task}/{name}"): value for name, value in own.items()}
    return found


def _legal(name: str) -> str:
    """Returns a name with what MLflow's names may not hold replaced.

    Example:
        >>> _legal("rec-refcoco+-testA/accuracy")
        'rec-refcocoplus-testA/accuracy'
    """
    return re.sub(r"[^\w./ :-]", "_", name.replace("+", "plus"))
