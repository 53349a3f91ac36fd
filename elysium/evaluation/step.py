"""The step `evaluate`: the new model, the current champion and the baselines on the same held-out records."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from elysium.evaluation.evaluating import LEAK_CACHE, collect, look_for_leaks, measure_all, told
from elysium.evaluation.leaks import open_indexes
from elysium.evaluation.opening import open_works
from elysium.evaluation.report import Sources, render_sources
from elysium.evaluation.report.scenes import draw_scenes
from elysium.evaluation.report.showing import scene_finder
from elysium.evaluation.report.tables import write_tables
from elysium.evaluation.request import EvaluationRequest, HeldOutRequest
from elysium.evaluation.results import (
    METRICS_FILE,
    PREDICTIONS_FILE,
    REPORT_FILE,
    Evaluation,
    ItemResult,
    TaskFigures,
    prediction_lines,
)
from elysium.evaluation.tasks.work import Work
from elysium.pipeline.steps import StepContext, StepResult
from elysium.pipeline.workspace import write_atomic
from elysium.registry.tracking import champion

logger = logging.getLogger(__name__)


def run(context: StepContext) -> StepResult:
    """Measures everything, item by item; what is finished when the process is killed is not measured again."""
    data = context.inputs["snapshot"] / "data"
    data_hash = json.loads((context.inputs["snapshot"] / "lineage.json").read_text(encoding="utf-8"))["data_hash"]
    request = _request(context, context.inputs["finetune"] / "model")
    works = open_works(request)
    training = open_indexes(context.settings.training, data, request.leak_cache)
    leaks = look_for_leaks(works, request, context.output, training)
    model, items = _measure(context, works, request, "model")
    measured = Evaluation(data_hash=data_hash, tasks=model, **told(leaks))
    measured.write(context.output / METRICS_FILE)
    write_atomic(context.output / PREDICTIONS_FILE, prediction_lines(items))

    compared = {"this model": measured}
    best = champion(context.settings, context.home)
    if best is not None:
        logger.info("measuring the champion, version %s, on the same records", best.version)
        theirs, _ = _measure(context, works, _request(context, best.model), f"champion-{best.version}")
        beside = Evaluation(data_hash=data_hash, version=best.version, tasks=theirs)
        beside.write(context.output / "champion.json")
        compared[f"champion, version {best.version}"] = beside
    draw_scenes(context.output / "clips", model, scene_finder(works, items))
    samples, seed = context.settings.evaluate.bootstrap_samples, context.settings.seed
    write_tables(compared, context.output, samples=samples, seed=seed)
    sources = Sources(
        {**context.inputs, "evaluation": context.output},
        run_id=context.run_id,
        seed=seed,
        bootstrap_samples=samples,
    )
    write_atomic(context.output / REPORT_FILE, render_sources(sources))
    # Last: killed before, the step goes on from what is measured.
    shutil.rmtree(context.output / "parts")

    figures: dict[str, Any] = {
        f"{task}.{metric}": value for task, entry in model.items() for metric, value in entry.model.items()
    }
    shown = ", ".join(f"{task} {entry.model[entry.primary]:.1f}" for task, entry in model.items())
    return StepResult(summary=f"{shown} (percent, first metric of each task)", metrics=figures)


def _request(context: StepContext, checkpoint: Path) -> EvaluationRequest:
    return EvaluationRequest(
        checkpoint=checkpoint,
        sets=(HeldOutRequest(data=context.inputs["snapshot"] / "data"),),
        settings=context.settings.evaluate,
        leak_cache=context.home / LEAK_CACHE,
        seed=context.settings.seed,
        threads=context.settings.training.threads,
    )


def _measure(
    context: StepContext, works: list[Work], request: EvaluationRequest, name: str
) -> tuple[dict[str, TaskFigures], dict[str, list[ItemResult]]]:
    """Returns task → figures and items of one checkpoint."""
    folder = context.output / "parts" / name
    measure_all(works, request, folder)
    found = collect(works, folder, request)
    for task, (figures, _) in found.items():
        logger.info("%s %s: %s", name, task, figures.model)
    return {task: figures for task, (figures, _) in found.items()}, {
        task: list(items) for task, (_, items) in found.items()
    }
