"""What the page of a run shows of data and training, each from the files of one artifact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from elysium.config import PHASES
from elysium.evaluation.report.bars import bar_chart
from elysium.evaluation.report.charts import Series, line_chart
from elysium.evaluation.report.sources import Sources, file_of, read

# Two in a row.
_WIDE = (500, 250)


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
        loss = [(entry["step"], entry["loss"]) for entry in history]
        rate = [(entry["step"], 1e3 * entry["learning_rate"]) for entry in history if "learning_rate" in entry]
        found.append(
            {
                "phase": phase,
                "samples": facts.get("samples"),
                "parameters": facts.get("trained_parameters"),
                "seconds": facts.get("seconds"),
                "last": history[-1]["loss"],
                "loss": line_chart([Series("loss", "loss", loss)], "step", "loss", size=_WIDE),
                "rate": line_chart([Series("rate", "rate", rate)], "step", "learning rate × 1000", size=_WIDE),
            }
        )
    return found


def _data_file(sources: Sources, name: str) -> Path | None:
    """Returns a file of the curated tracks: from curation, or from the snapshot that holds the same."""
    return file_of(sources, "tracks", name) or file_of(sources, "snapshot", f"data/{name}")
