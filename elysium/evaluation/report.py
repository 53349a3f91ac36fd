"""One self-contained page about a run, from whatever it has published so far."""

from __future__ import annotations

import base64
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from elysium.config import PHASES
from elysium.evaluation.charts import bar_chart, line_chart
from elysium.pipeline.steps import STEPS
from elysium.pipeline.versions import code_version
from elysium.pipeline.workspace import Manifest, Workspace, read_manifest

_SYSTEM_NAMES = {
    "model": "this model",
    "champion": "champion",
    "static_box": "static box",
    "frame_by_frame": "frame by frame",
}
_TASK_NAMES = {
    "sot": "Follow a given box",
    "rsot": "Find and follow by name",
    "rec": "Find in one frame",
    "video-reg": "Describe the object",
}
_METRIC_NAMES = {
    "auc": "AUC",
    "precision": "precision",
    "norm_precision": "norm. precision",
    "accuracy": "Acc@0.5",
    "exact_match": "exact match",
    "head_noun": "head noun",
}
_LIBRARIES = ("torch", "transformers", "opencv-contrib-python-headless", "av", "mlflow", "dvc", "great-expectations")


@dataclass(frozen=True)
class Sources:
    """What a report may read.

    Attributes:
        folders: Artifact name to its folder; what is missing is told on the page.
        run_id: Of the run.
        docs: Prefix of links to the data docs, relative to where the page lies.
        run: Content of `run.json`, if there is one.
    """

    folders: Mapping[str, Path]
    run_id: str
    docs: str = "../"
    run: dict[str, Any] = field(default_factory=dict)


def render(workspace_root: Path) -> str:
    """Returns the page of a run, to lie in its workspace folder as `report.html`."""
    workspace = Workspace.at(workspace_root)
    folders = {row.output.name: workspace.folder(row) for row in STEPS if workspace.manifest(row) is not None}
    info = workspace.info()
    return render_sources(
        Sources(folders, workspace.run_id, docs="", run={} if info is None else info.model_dump(mode="json"))
    )


def render_sources(sources: Sources) -> str:
    """Returns the page made from given folders."""
    manifests = {
        row.name: read_manifest(sources.folders[row.output.name]) for row in STEPS if row.output.name in sources.folders
    }
    refused = [manifest for manifest in manifests.values() if manifest is not None and manifest.status == "refused"]
    metrics = _read(sources, "evaluation", "metrics.json")
    champion = _read(sources, "evaluation", "champion.json")
    decision = _read(sources, "promotion", "decision.json")
    lineage = _read(sources, "snapshot", "lineage.json")
    page = (
        _environment()
        .from_string(_template())
        .render(
            run_id=sources.run_id,
            run=sources.run,
            decision=decision,
            verdict=_verdict(decision, refused, metrics),
            steps=[(row, manifests.get(row.name)) for row in STEPS],
            total_seconds=sum(manifest.seconds for manifest in manifests.values() if manifest is not None),
            counts=_record_counts(sources),
            funnel=_funnel_chart(sources),
            rejects=_reject_chart(sources),
            gates=[
                (row.output, manifests[row.name])
                for row in STEPS
                if row.output.name.endswith("_report") and row.name in manifests
            ],
            docs=sources.docs,
            lineage=lineage,
            curves=_training_curves(sources),
            success=_success_plots(metrics, champion),
            table=_metric_rows(metrics, champion),
            has_champion=bool(champion),
            champion_version=champion.get("version"),
            clips=_clips(sources),
            versions=_versions(sources, lineage, decision),
            task_name=_task_name,
        )
    )
    return page


def _verdict(decision: dict[str, Any], refused: list[Manifest], metrics: dict[str, Any]) -> tuple[str, str]:
    if refused:
        return "bad", f"Stopped by {refused[0].step}: {refused[0].summary}"
    if decision:
        return ("good", "Promoted to champion") if decision["promoted"] else ("held", "Not promoted")
    return ("held", "Measured, not judged yet") if metrics else ("held", "Not finished")


def _record_counts(sources: Sources) -> list[tuple[str, str, int, int]]:
    """Returns split, kind, number of records and number of clips."""
    rows = []
    for split in ("train", "evaluation"):
        path = sources.folders.get("tracks", Path()) / f"{split}.jsonl"
        if "tracks" not in sources.folders or not path.is_file():
            continue
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for kind in ("real", "simulated"):
            chosen = [record for record in records if record["metadata"]["kind"] == kind]
            rows.append((split, kind, len(chosen), len({record["vid"] for record in chosen})))
    return rows


def _funnel_chart(sources: Sources) -> str:
    stats = _read(sources, "tracks", "stats.json")
    if not stats or not stats.get("funnel"):
        return ""
    passed = {f"after {entry['stage']}": float(entry["passed"]) for entry in stats["funnel"]}
    return bar_chart({"candidates": float(stats["num_candidates"]), **passed}, "candidates left")


def _reject_chart(sources: Sources) -> str:
    path = sources.folders.get("tracks", Path()) / "rejects.jsonl"
    if "tracks" not in sources.folders or not path.is_file():
        return ""
    counts: dict[str, int] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        name = f"{entry['stage']}: {entry['reason'].replace('_', ' ')}"
        counts[name] = counts.get(name, 0) + 1
    ordered = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    return bar_chart(ordered, "rejected candidates")


def _training_curves(sources: Sources) -> list[tuple[str, str, str]]:
    found = []
    for phase in PHASES:
        history = _read(sources, phase, "history.json") or []
        if not history:
            continue
        loss = line_chart({"loss": [(entry["step"], entry["loss"]) for entry in history]}, "step", "loss")
        rate = [(entry["step"], 1e3 * entry["learning_rate"]) for entry in history if "learning_rate" in entry]
        found.append((phase, loss, line_chart({"learning rate": rate}, "step", "learning rate × 1000")))
    return found


def _success_plots(metrics: dict[str, Any], champion: dict[str, Any]) -> list[tuple[str, str]]:
    plots = []
    for task, entry in metrics.get("tasks", {}).items():
        if not entry.get("curves"):
            continue
        curves = {name: curve["success"] for name, curve in entry["curves"].items()}
        other = champion.get("tasks", {}).get(task, {}).get("curves", {}).get("model")
        if other:
            curves["champion"] = other["success"]
        lines = {
            _SYSTEM_NAMES.get(name, name): [(i / (len(values) - 1), value) for i, value in enumerate(values)]
            for name, values in curves.items()
        }
        plots.append((task, line_chart(lines, "overlap threshold (IoU)", "success, %", (0, 100))))
    return plots


def _metric_rows(metrics: dict[str, Any], champion: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for task, entry in metrics.get("tasks", {}).items():
        beaten = champion.get("tasks", {}).get(task, {}).get("model", {})
        for number, (metric, value) in enumerate(entry["model"].items()):
            baselines = {name: figures.get(metric) for name, figures in entry["baselines"].items()}
            rows.append(
                {
                    "task": task if number == 0 else "",
                    "span": len(entry["model"]),
                    "sequences": entry["num_sequences"],
                    "failures": entry["num_failures"],
                    "metric": _METRIC_NAMES.get(metric, metric),
                    "value": value,
                    "interval": entry.get("intervals", {}).get(metric),
                    "champion": beaten.get(metric),
                    "static_box": baselines.get("static_box"),
                    "frame_by_frame": baselines.get("frame_by_frame"),
                }
            )
    return rows


def _clips(sources: Sources) -> list[dict[str, Any]]:
    clips: list[dict[str, Any]] = []
    for entry in _read(sources, "evaluation", "clips/index.json") or []:
        path = sources.folders["evaluation"] / "clips" / entry["file"]
        if path.is_file():
            image = base64.b64encode(path.read_bytes()).decode()
            clips.append({**entry, "image": f"data:image/webp;base64,{image}"})
    return clips


def _versions(sources: Sources, lineage: dict[str, Any], decision: dict[str, Any]) -> dict[str, str]:
    found = {
        "code": code_version(),
        "data": str(lineage.get("data_hash", "–")),
        "model": str(decision.get("version", "–")),
    }
    found["Python"] = platform.python_version()
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _read(sources: Sources, artifact: str, name: str) -> Any:
    if artifact not in sources.folders:
        return {}
    path = sources.folders[artifact] / name
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _task_name(task: str) -> str:
    kind, _, where = task.rpartition("-")
    return f"{_TASK_NAMES.get(kind, kind)}, {where} clips"


@cache
def _template() -> str:
    return (resources.files("elysium.evaluation") / "report.html.j2").read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
