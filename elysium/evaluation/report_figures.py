"""The tables, charts and clips of a report, each from the files of one artifact."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from elysium.config import PHASES
from elysium.evaluation.charts import bar_chart, line_chart
from elysium.evaluation.report_sources import Sources, file_of, read
from elysium.evaluation.statistics import compare_figures

MODEL, CHAMPION = "model", "champion"
_SYSTEMS = {"static_box": "static box", "frame_by_frame": "frame by frame", MODEL: "this model"}
_TASKS = {
    "sot": "Follow a given box",
    "rsot": "Find and follow by name",
    "rec": "Find in one frame",
    "video-reg": "Describe the object",
}
_METRICS = {
    "auc": "AUC",
    "precision": "precision, 20 px",
    "norm_precision": "norm. precision, 0.2",
    "accuracy": "Acc@0.5",
    "exact_match": "exact match",
    "head_noun": "head noun",
}


def task_name(task: str) -> str:
    """Returns a task in words.

    Example:
        >>> task_name("rsot-simulated")
        'Find and follow by name · simulated clips'
    """
    kind, _, where = task.rpartition("-")
    return f"{_TASKS.get(kind, kind)} · {where} clips"


def system_name(system: str) -> str:
    """Returns a column's heading."""
    return _SYSTEMS.get(system, system.replace("_", " "))


def systems(metrics: dict[str, Any], champion: dict[str, Any]) -> list[str]:
    """Returns what stands beside the model, in the order of columns."""
    baselines = {name: None for task in metrics.get("tasks", {}).values() for name in task["baselines"]}
    ordered = [name for name in _SYSTEMS if name in baselines] + [name for name in baselines if name not in _SYSTEMS]
    return ([CHAMPION] if champion else []) + ordered


def cards(metrics: dict[str, Any], champion: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns each task's first metric, of the model and of all that stands beside it."""
    found = []
    for task, entry in metrics.get("tasks", {}).items():
        metric, value = next(iter(entry[MODEL].items()))
        others = {name: figures.get(metric) for name, figures in entry["baselines"].items()}
        others[CHAMPION] = champion.get("tasks", {}).get(task, {}).get(MODEL, {}).get(metric)
        bars = {MODEL: value} | {
            name: others[name] for name in systems(metrics, champion) if others.get(name) is not None
        }
        found.append({"task": task, "metric": _METRICS.get(metric, metric), "value": value, "bars": bars})
    return found


def metric_table(metrics: dict[str, Any], champion: dict[str, Any], samples: int, seed: int) -> list[dict[str, Any]]:
    """Returns one row a task and metric.

    Each row's `cells` map a system to its `value` and, where sequences can be paired, the `difference` of this model
    to it with its 95 % interval and whether that says `better`, `worse` or `unclear` (`few`: too few sequences).
    """
    rows = []
    for task, entry in metrics.get("tasks", {}).items():
        beside = champion.get("tasks", {}).get(task, {})
        sequences, videos = entry.get("per_sequence", {}), entry.get("videos", {})
        for number, metric in enumerate(entry[MODEL]):
            own = {name: values[MODEL].get(metric) for name, values in sequences.items()}
            cells = {}
            for system in systems(metrics, champion):
                if system == CHAMPION:
                    other = {name: values[MODEL].get(metric) for name, values in beside.get("per_sequence", {}).items()}
                    value = beside.get(MODEL, {}).get(metric)
                else:
                    other = {name: values.get(system, {}).get(metric) for name, values in sequences.items()}
                    value = entry["baselines"].get(system, {}).get(metric)
                cells[system] = {"value": value, **_compared(own, other, samples, seed, videos)}
            rows.append(
                {
                    "task": task,
                    "span": len(entry[MODEL]) if number == 0 else 0,
                    "sequences": entry["num_sequences"],
                    "failures": entry["num_failures"],
                    "metric": _METRICS.get(metric, metric),
                    "value": entry[MODEL][metric],
                    "interval": entry.get("intervals", {}).get(metric),
                    "cells": cells,
                }
            )
    return rows


def success_plots(metrics: dict[str, Any], champion: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns the success plot of each tracking task, with the AUC in the legend."""
    plots = []
    for task, entry in metrics.get("tasks", {}).items():
        curves = {name: curve["success"] for name, curve in entry.get("curves", {}).items()}
        beside = champion.get("tasks", {}).get(task, {}).get("curves", {}).get(MODEL)
        if not curves:
            continue
        if beside:
            curves[CHAMPION] = beside["success"]
        lines = {
            f"{system_name(name)} ({sum(values) / len(values):.1f})": [
                (i / (len(values) - 1), value) for i, value in enumerate(values)
            ]
            for name, values in curves.items()
        }
        plots.append((task, line_chart(lines, "overlap threshold (IoU)", "frames above it, %", (0, 100))))
    return plots


def record_counts(sources: Sources) -> list[dict[str, Any]]:
    """Returns the number of records and of frame sequences by split and kind."""
    rows = []
    for split in ("train", "evaluation"):
        path = _data_file(sources, f"{split}.jsonl")
        if path is None:
            continue
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for kind in ("real", "simulated"):
            chosen = [record for record in records if record["metadata"]["kind"] == kind]
            frames = {frame for record in chosen for frame in record["frames"]}
            rows.append(
                {
                    "split": split,
                    "kind": kind,
                    "records": len(chosen),
                    "sequences": len({record["vid"] for record in chosen}),
                    "frames": len(frames),
                }
            )
    return rows


def funnel_chart(sources: Sources) -> str:
    """Returns how many candidates were left after each stage of curation."""
    path = _data_file(sources, "stats.json")
    stats = {} if path is None else json.loads(path.read_text(encoding="utf-8"))
    if not stats.get("funnel"):
        return ""
    passed = {f"after {entry['stage']}": float(entry["passed"]) for entry in stats["funnel"]}
    return bar_chart({"candidates": float(stats["num_candidates"]), **passed}, "candidates left")


def reject_chart(sources: Sources) -> str:
    """Returns how many candidates were rejected, by stage and reason."""
    path = _data_file(sources, "rejects.jsonl")
    counts: dict[str, int] = {}
    for line in [] if path is None else path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        name = f"{entry['stage']}: {entry['reason'].replace('_', ' ')}"
        counts[name] = counts.get(name, 0) + 1
    ordered = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    return bar_chart(ordered, "rejected candidates") if ordered else ""


def training_curves(sources: Sources) -> list[dict[str, Any]]:
    """Returns loss and learning rate of each phase, with its size in words."""
    found = []
    for phase in PHASES:
        history = [entry for entry in read(sources, phase, "history.json") or [] if "loss" in entry]
        if not history:
            continue
        facts = read(sources, phase, "training.json")
        loss = {"loss": [(entry["step"], entry["loss"]) for entry in history]}
        rate = {
            "rate": [(entry["step"], 1e3 * entry["learning_rate"]) for entry in history if "learning_rate" in entry]
        }
        found.append(
            {
                "phase": phase,
                "samples": facts.get("samples"),
                "parameters": facts.get("trained_parameters"),
                "seconds": facts.get("seconds"),
                "last": history[-1]["loss"],
                "loss": line_chart(loss, "step", "loss"),
                "rate": line_chart(rate, "step", "learning rate × 1000"),
            }
        )
    return found


def clips(sources: Sources) -> list[dict[str, Any]]:
    """Returns the drawn sequences, each with its image inlined: the best of every task, then the worst."""
    found: list[dict[str, Any]] = []
    index = read(sources, "evaluation", "clips/index.json") or []
    for entry in sorted(index, key=lambda entry: entry["rank"] != "best"):
        path = file_of(sources, "evaluation", f"clips/{entry['file']}")
        if path is not None:
            image = base64.b64encode(path.read_bytes()).decode()
            found.append({**entry, "image": f"data:image/webp;base64,{image}"})
    return found


def _compared(
    own: dict[str, Any], other: dict[str, Any], samples: int, seed: int, videos: dict[str, str]
) -> dict[str, Any]:
    names = sorted(name for name, value in own.items() if value is not None and other.get(name) is not None)
    if not names or len(names) < len(own):
        return {"difference": None, "low": None, "high": None, "says": ""}
    found = compare_figures(
        [own[name] for name in names],
        [other[name] for name in names],
        samples=samples,
        seed=seed,
        videos=[videos.get(name, name) for name in names],
    )
    if found.too_few:
        return {"difference": found.difference, "low": None, "high": None, "says": "few"}
    says = {"cannot tell": "unclear"}.get(found.says, found.says)
    return {"difference": found.difference, "low": found.low, "high": found.high, "says": says}


def _data_file(sources: Sources, name: str) -> Path | None:
    """Returns a file of the curated tracks: from curation, or from the snapshot that holds the same."""
    return file_of(sources, "tracks", name) or file_of(sources, "snapshot", f"data/{name}")
