"""A tracker's figures as JSON and CSV: overall, by sequence, by attribute, and the curves they are read from."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elysium.evaluation.tracking.attributes import AttributeScore
from elysium.evaluation.tracking.protocols import Protocol, Score

if TYPE_CHECKING:
    from elysium.evaluation.scoring import ScoredSequences

_DIGITS = 3


def figures(protocol: Protocol, score: Score) -> dict[str, float]:
    """Returns a score's figures by name, in percent, rounded as they are shown."""
    return {name: round(value, _DIGITS) for name, value in protocol.figures_of(score).items()}


def attribute_rows(protocol: Protocol, table: Mapping[str, AttributeScore]) -> dict[str, dict[str, Any]]:
    """Returns each attribute's number of sequences and figures."""
    return {name: {"sequences": entry.num_sequences, **figures(protocol, entry.mean)} for name, entry in table.items()}


def curves(protocol: Protocol, score: Score) -> dict[str, dict[str, list[float]]]:
    """Returns a score's curves: thresholds, and percent of frames at each."""
    return {
        name: {
            "thresholds": np.round(thresholds, 6).tolist(),
            "percent": np.round(getattr(score, f"{name}_curve"), _DIGITS).tolist(),
        }
        for name, thresholds in protocol.curves.items()
    }


def write_curves(path: Path, scored: ScoredSequences) -> None:
    """Writes the mean curves: as CSV rows of `curve,threshold,percent` for `.csv`, else as JSON."""
    from elysium.pipeline.workspace import write_atomic

    found = curves(scored.protocol, scored.mean)
    if path.suffix.lower() != ".csv":
        write_atomic(path, json.dumps({"protocol": scored.protocol.name, "curves": found}, indent=1) + "\n")
        return
    rows = [
        (name, *point)
        for name, curve in found.items()
        for point in zip(curve["thresholds"], curve["percent"], strict=True)
    ]
    write_atomic(path, _csv(["curve", "threshold", "percent"], rows))


def write_scores(folder: Path, scored: ScoredSequences, summary: Mapping[str, Any]) -> None:
    """Writes `scores.json` (everything), `sequences.csv`, and `attributes.csv` where attributes are known.

    Args:
        folder: Is made.
        scored: The figures.
        summary: What the command shows.
    """
    from elysium.pipeline.workspace import write_atomic

    protocol = scored.protocol
    names = list(protocol.figures)
    sequences = {name: figures(protocol, score) for name, score in scored.sequences.items()}
    known = all(scored.attributes.get(name) is not None for name in scored.sequences)
    table = attribute_rows(protocol, scored.by_attribute()) if known else {}
    content = {
        **summary,
        "protocol": protocol.name,
        "source": protocol.source,
        "notes": list(scored.notes),
        "missing_rows": scored.short,
        "left_out": list(scored.left_out),
        "curves": curves(protocol, scored.mean),
        "by_attribute": table,
        "by_sequence": {
            name: {**entry, "attributes": list(scored.attributes.get(name) or ())} for name, entry in sequences.items()
        },
    }
    write_atomic(folder / "scores.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    rows = [(name, *entry.values()) for name, entry in sequences.items()]
    write_atomic(folder / "sequences.csv", _csv(["sequence", *names], rows))
    if table:
        held = [(name, *entry.values()) for name, entry in table.items()]
        write_atomic(folder / "attributes.csv", _csv(["attribute", "sequences", *names], held))


def _csv(header: list[str], rows: list[tuple[Any, ...]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
