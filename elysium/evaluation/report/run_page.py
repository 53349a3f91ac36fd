"""One self-contained page about a run, from whatever it has published so far."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from elysium.evaluation.report import run_figures as figures
from elysium.evaluation.report.gallery import exhibits
from elysium.evaluation.report.page import cards, render_template
from elysium.evaluation.report.parts import task_parts
from elysium.evaluation.report.side_by_side import SideBySide, put_side_by_side
from elysium.evaluation.report.sources import Sources, StepState, file_of, read, workspace_sources
from elysium.evaluation.results import METRICS_FILE, read_evaluation
from elysium.pipeline.steps import STEPS, producer
from elysium.pipeline.versions import code_version

_LIBRARIES = ("torch", "transformers", "opencv-contrib-python-headless", "av", "mlflow", "dvc", "great-expectations")
# What a page may lack: the words for it, and the artifact that it is made from.
_PARTS = (
    ("the data", "tracks"),
    ("training curves", "finetune"),
    ("figures, success plots and clips", "evaluation"),
    ("the promotion decision", "promotion"),
)


def render(workspace_root: Path) -> str:
    """Returns the page of a run, to lie in its workspace folder as `report.html`.

    Args:
        workspace_root: The run's folder, at any point of the run: what is not there yet is told on the page.
    """
    return render_sources(workspace_sources(workspace_root))


def render_sources(sources: Sources) -> str:
    """Returns the page made from given folders."""
    decision = read(sources, "promotion", "decision.json")
    lineage = read(sources, "snapshot", "lineage.json")
    sides = _sides(sources)
    return render_template(
        "run.html.j2",
        sources=sources,
        decision=decision,
        checks=_checks(decision),
        reasons=[text for text in decision.get("reasons", []) if text not in _checks(decision)],
        verdict=_verdict(decision, sources.steps, measured=sides is not None),
        total_seconds=sum(state.manifest.seconds for state in sources.steps if state.manifest),
        longest=max((state.manifest.seconds for state in sources.steps if state.manifest), default=1.0) or 1.0,
        gates=_gates(sources, lineage),
        counts=figures.record_counts(sources),
        funnel=figures.funnel_chart(sources),
        rejects=figures.reject_chart(sources),
        training=figures.training_curves(sources),
        versions=_versions(sources, lineage, decision),
        stopped=any(state.state in ("refused", "unfinished") for state in sources.steps),
        missing=[
            f"{words}: the step {producer(artifact).name} has not finished"
            for words, artifact in _PARTS
            if artifact not in sources.folders
        ],
        **_measured(sources, sides),
    )


def _sides(sources: Sources) -> SideBySide | None:
    """Returns the new model, beside the champion where there is one."""
    metrics, champion = (file_of(sources, "evaluation", name) for name in (METRICS_FILE, "champion.json"))
    if metrics is None:
        return None
    evaluations = {"this model": read_evaluation(metrics)}
    if champion is not None:
        best = read_evaluation(champion)
        evaluations["the champion" if best.version is None else f"the champion, version {best.version}"] = best
    return put_side_by_side(evaluations, samples=sources.bootstrap_samples, seed=sources.seed)


def _measured(sources: Sources, sides: SideBySide | None) -> dict[str, Any]:
    """Returns what the page shows of the evaluation."""
    if sides is None:
        return {"sides": None, "cards": [], "parts": [], "gallery": [], "sentences": {}, "task_names": {}}
    folders = [sources.folders["evaluation"], None][: len(sides.models)]
    return {
        "sides": sides,
        "cards": cards(sides),
        "parts": task_parts(sides),
        "gallery": [exhibit for shown in exhibits(folders, sides).values() for exhibit in shown],
        "sentences": sides.sentences(),
        "task_names": {table.task: table.name for table in sides.tables},
    }


def _verdict(decision: dict[str, Any], steps: tuple[StepState, ...], *, measured: bool) -> tuple[str, str, str]:
    """Returns the colour, the two or three words and the sentence that the page begins with."""
    for state in steps:
        if state.state == "refused" and state.manifest is not None:
            return "bad", f"Stopped at {state.name}", f"The quality gate said no: {state.manifest.summary}."
        if state.state == "unfinished":
            sentence = "What was finished before it is shown below; elysium pipeline run --resume goes on from there."
            return "bad", f"{state.name} has not finished", sentence
    if decision:
        summary = str(decision["summary"])
        sentence = f"{summary[:1].upper()}{summary[1:].rstrip('.')}."
        return ("good", "Promoted", sentence) if decision["promoted"] else ("held", "Not promoted", sentence)
    if measured:
        return "held", "Measured", "The promotion policy has not judged this model yet."
    return "held", "Under way", "The model has not been measured yet."


def _checks(decision: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the policy's questions by the sentence that answers them."""
    return {str(check.get("text") or check["name"]): check for check in decision.get("checks", [])}


def _gates(sources: Sources, lineage: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the data gates that were passed or refused, with the link to their data docs."""
    found = []
    for row in STEPS:
        if not row.output.name.endswith("_report"):
            continue
        manifest = next((state.manifest for state in sources.steps if state.name == row.name), None)
        entry = manifest.model_dump() if manifest else lineage.get("gates", {}).get(row.output.name)
        if entry:
            link = f"{sources.docs}{row.output.folder}/{row.output.html}"
            name = "Raw clips" if row.output.name == "raw_report" else "Expression–track pairs"
            found.append({"name": name, "link": link, "passed": entry["status"] == "done", **entry})
    return found


def _versions(sources: Sources, lineage: dict[str, Any], decision: dict[str, Any]) -> dict[str, str]:
    codes = dict.fromkeys(state.manifest.code for state in sources.steps if state.manifest)
    found = {
        "code": ", then ".join(codes) or code_version(),
        "data": str(lineage.get("data_hash", "–")),
        "model": str(decision.get("version", "–")),
        "champion before": str(decision.get("champion_before") or "–"),
        "seed": str(sources.run.get("settings", {}).get("seed", "–")),
        "Python": platform.python_version(),
    }
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {name: value for name, value in found.items() if value != "–"}
