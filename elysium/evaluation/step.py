"""The step `evaluate`: the new model, the current champion and the baselines on the same held-out records."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import torch

from elysium.data.records import TrackRecord
from elysium.evaluation.clips import write_clip
from elysium.evaluation.report import render_sources
from elysium.evaluation.report_sources import Sources
from elysium.evaluation.tasks import MODEL, evaluate_task, load_sets, open_engine, prediction_lines
from elysium.pipeline.steps import StepContext, StepResult
from elysium.pipeline.workspace import write_atomic
from elysium.registry.tracking import champion

logger = logging.getLogger(__name__)

_SHOWN = ("rsot-simulated", "sot-simulated", "sot-real")


def run(context: StepContext) -> StepResult:
    """Measures everything, task by task; what is finished when the process is killed is not measured again."""
    torch.set_num_threads(context.settings.training.threads)
    data = context.inputs["snapshot"] / "data"
    data_hash = json.loads((context.inputs["snapshot"] / "lineage.json").read_text(encoding="utf-8"))["data_hash"]
    sets = load_sets(data, context.settings.evaluate)
    model = _measure(context, context.inputs["finetune"] / "model", sets, "model")
    _write(context.output / "metrics.json", {"data_hash": data_hash, "tasks": _strip(model)})
    write_atomic(
        context.output / "predictions.jsonl",
        prediction_lines({task: entry["predictions"] for task, entry in model.items()}),
    )

    best = champion(context.settings, context.home)
    if best is not None:
        logger.info("measuring the champion, version %s, on the same records", best.version)
        measured = _measure(context, best.model, sets, f"champion-{best.version}")
        _write(
            context.output / "champion.json",
            {"data_hash": data_hash, "version": best.version, "tasks": _strip(measured)},
        )
    _draw_clips(context.output / "clips", data, sets, model)
    shutil.rmtree(context.output / "parts")
    sources = Sources(
        {**context.inputs, "evaluation": context.output},
        run_id=context.run_id,
        seed=context.settings.seed,
        bootstrap_samples=context.settings.evaluate.bootstrap_samples,
    )
    write_atomic(context.output / "report.html", render_sources(sources))

    figures = {f"{task}.{metric}": value for task, entry in model.items() for metric, value in entry["model"].items()}
    shown = ", ".join(f"{task} {next(iter(entry['model'].values())):.1f}" for task, entry in model.items())
    return StepResult(summary=f"{shown} (percent, first metric of each task)", metrics=figures)


def _measure(
    context: StepContext, checkpoint: Path, sets: dict[str, list[TrackRecord]], name: str
) -> dict[str, dict[str, Any]]:
    """Returns task → figures and predictions of one checkpoint; finished tasks are read back."""
    settings = context.settings.evaluate
    found: dict[str, dict[str, Any]] = {}
    engine = None
    for task, records in sets.items():
        part = context.output / "parts" / name / f"{task}.json"
        if not part.is_file():
            engine = engine or open_engine(checkpoint, settings)
            result = evaluate_task(
                task, records, context.inputs["snapshot"] / "data", engine, settings, context.settings.seed
            )
            _write(part, {**result.as_dict(), "predictions": result.predictions})
            logger.info("%s %s: %s", name, task, result.systems[MODEL])
        found[task] = json.loads(part.read_text(encoding="utf-8"))
    return found


def _draw_clips(
    folder: Path, data: Path, sets: dict[str, list[TrackRecord]], measured: dict[str, dict[str, Any]]
) -> None:
    """Draws the best and the worst sequence of each tracking task, and a page's worth of facts about them."""
    folder.mkdir(exist_ok=True)
    index = []
    for task in _SHOWN:
        if task not in measured:
            continue
        records = {record.id: record for record in sets[task]}
        boxes = {entry["id"]: entry["boxes"] for entry in measured[task]["predictions"]}
        figures = {name: entry[MODEL]["auc"] for name, entry in measured[task]["per_sequence"].items()}
        ranked = sorted(figures, key=lambda name: (figures[name], name))
        for word, name in {"best": ranked[-1], "worst": ranked[0]}.items():
            file = f"{task}-{word}.webp"
            write_clip(folder / file, data, records[name], boxes[name])
            index.append(
                {"file": file, "task": task, "rank": word, "auc": figures[name], "id": name}
                | {"expression": records[name].object_description}
            )
    _write(folder / "index.json", index)


def _strip(measured: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        task: {key: value for key, value in entry.items() if key != "predictions"} for task, entry in measured.items()
    }


def _write(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, indent=1))
