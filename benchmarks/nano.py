"""What a checkpoint can do on held-out simulated clips, beside the box that never moves and the frame-by-frame answer.

    python benchmarks/nano.py [--checkpoint nano] [--clips 60] [--output FILE]

The clips go through the pipeline's own steps (ingest, both gates, curation, snapshot), as evaluation data always does;
their seeds are never trained on. Figures are percent, with 95 % bootstrap intervals over sequences; a track that is
always right has an AUC of 95.2 (PROTOCOL §7). The last line is JSON.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from reporting import finish

from elysium.boxes import iou
from elysium.config import load_settings
from elysium.data.records import TrackRecord, read_jsonl
from elysium.data.vocabulary import SIZES
from elysium.evaluation.evaluating import collect, measure_all
from elysium.evaluation.opening import open_works
from elysium.evaluation.request import EvaluationRequest, HeldOutRequest
from elysium.evaluation.tasks.held_out import RECORDS
from elysium.inference.checkpoints import find_checkpoint

HIT, MISS = 0.5, 0.1
STEPS = ("ingest", "validate-raw", "curate", "validate-tracks", "snapshot")


def main() -> None:
    """Prints a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="nano")
    parser.add_argument("--home", type=Path, default=Path("runs"))
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--data", type=Path, help="a snapshot's data folder; by default one is made")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = arguments.data or make_data(Path(scratch), arguments.clips)
        report = {"tasks": measure(find_checkpoint(arguments.checkpoint, arguments.home), data)}
    for task, entry in report["tasks"].items():
        print(task, f"({entry['sequences']} sequences)")
        for name in ("model", *entry["baselines"]):
            figures = entry["model"] if name == "model" else entry["baselines"][name]
            print(f"  {name:<16}", "  ".join(f"{metric} {value:.1f}" for metric, value in figures.items()))
        if "answers" in entry:
            print("  answers         ", "  ".join(f"{name} {value:.1f}" for name, value in entry["answers"].items()))
    finish(report, arguments.output)


def make_data(folder: Path, clips: int, train_clips: int = 8) -> Path:
    """Returns the data folder of a snapshot with so many simulated clips held out, and to train on."""
    changes = ["--set", f"ingest.num_simulated_train={train_clips}"]
    changes += ["--set", f"ingest.num_simulated_evaluation={clips}"]
    for step in STEPS:
        command = [sys.executable, "-m", "elysium.cli", "step", step, "--workspace", str(folder / "data"), *changes]
        subprocess.run(command, check=True)
    return folder / "data" / "snapshot" / "data"


def measure(checkpoint: Path, data: Path) -> dict[str, Any]:
    """Returns task → figures of the model and the baselines."""
    settings = load_settings("nano", ["evaluate.max_sequences=1000"])
    request = EvaluationRequest(
        checkpoint=checkpoint, sets=(HeldOutRequest(data=data),), settings=settings.evaluate, seed=settings.seed
    )
    known = {record.id: record for record in read_jsonl(data / RECORDS, TrackRecord)}
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        works = open_works(request)
        measure_all(works, request, Path(scratch))
        results = collect(works, Path(scratch), request)
    for task, (figures, items) in results.items():
        found[task] = {
            "sequences": figures.num_sequences,
            "failures": figures.num_failures,
            "model": figures.model,
            "intervals": figures.intervals,
            "baselines": figures.baselines,
            "frames_per_second": figures.speed.frames_per_second if figures.speed else None,
        }
        if task in ERRORS:
            records = [known[item.id] for item in items]
            found[task]["answers"] = ERRORS[task](records, [item.prediction for item in items])
    return found


def where_boxes_lie(records: Sequence[TrackRecord], predictions: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Returns how many percent of the answers are right, near, another object of the frame, or nothing of these."""
    counts = dict.fromkeys(("right", "poor box", "another object", "nowhere"), 0)
    for record, prediction in zip(records, predictions, strict=True):
        clip = [other for other in records if other.vid == record.vid]
        overlaps = {other.id: float(iou(np.array(prediction["box"]), np.array(other.box[0]))) for other in clip}
        best = max(overlaps, key=lambda name: overlaps[name])
        if overlaps[record.id] >= HIT:
            counts["right"] += 1
        elif best == record.id and overlaps[best] > MISS:
            counts["poor box"] += 1
        else:
            counts["another object" if overlaps[best] > MISS else "nowhere"] += 1
    return shares(counts, len(records))


def which_words_are_wrong(records: Sequence[TrackRecord], predictions: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Returns how many percent of the answers have a wrong size, colour or shape; one may have several."""
    counts = dict.fromkeys(("size", "colour", "shape"), 0)
    for record, prediction in zip(records, predictions, strict=True):
        said, true = looks(prediction["text"]), looks(record.object_description)
        for kind, one, other in zip(counts, said, true, strict=True):
            counts[kind] += one != other
    return shares(counts, len(records))


def looks(text: str) -> tuple[str, str, str]:
    """Returns size, colour and shape that a description names."""
    words = ["", "", *text.lower().rstrip(".").split()]
    return next((word for word in words if word in SIZES), "medium"), words[-2], words[-1]


def shares(counts: dict[str, int], total: int) -> dict[str, float]:
    """Returns counts as percent."""
    return {name: round(100 * count / total, 1) for name, count in counts.items()}


ERRORS = {"rec-simulated": where_boxes_lie, "video-reg-simulated": which_words_are_wrong}


if __name__ == "__main__":
    main()
