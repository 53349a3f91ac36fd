"""An ablation study (`elysium ablate`) beside the paper's Table 7: the same question at another size."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from elysium.errors import UsageError
from elysium.evaluation.paper.cells import Measured
from elysium.evaluation.paper.filling import Results
from elysium.evaluation.paper.tables import PaperTable, Row

# How the rows' systems are called in a study.
_SELECTORS = {
    "none": "none",
    "concatenation": "concat",
    "cross-attention": "cross_attention",
    "T-Selector": "gated",
}
# Of the paper's frames of 336 pixels.
_PATCHES = 576
# A budget stands for another one if neither keeps more than this many times the other's share.
_NEAR = 1.4
_NEEDED = ("selector", "kept", "position_ids", "accuracy")


def read_study(path: Path) -> list[dict[str, Any]]:
    """Returns the cells of a study.

    Args:
        path: Its folder, or what `elysium ablate --json` printed.

    Raises:
        UsageError: If it is neither.
    """
    file = path / "results.jsonl" if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"{file} does not exist; `elysium ablate --output {path}` writes it")
    lines = file.read_text(encoding="utf-8").splitlines()
    try:
        if path.is_dir():
            # A line that a kill cut short is the last one.
            rows = [json.loads(line) for line in lines if line.endswith("}")]
        else:
            rows = json.loads(lines[-1] if lines and lines[-1].startswith("{") else "\n".join(lines))["results"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} is no study: the last line of `elysium ablate --json` is needed ({error})") from error
    for number, row in enumerate(rows, start=1):
        lacking = [name for name in _NEEDED if not isinstance(row, dict) or name not in row]
        if lacking:
            raise UsageError(f"{file}, result {number} has no {lacking[0]}; `elysium ablate` writes it")
    if not rows:
        raise UsageError(f"{file} holds no result yet")
    return rows


def patches_of(path: Path, rows: Sequence[Mapping[str, Any]]) -> int:
    """Returns how many patches a frame of a study has: what `none` keeps, or what its settings say.

    Raises:
        UsageError: If neither tells.
    """
    whole = {int(row["kept"]) for row in rows if row["selector"] == "none"}
    if whole:
        return max(whole)
    plan = path / "study.json"
    if path.is_dir() and plan.is_file():
        vision = json.loads(plan.read_text(encoding="utf-8"))["model"]["vision"]
        return int(vision["image_size"] // vision["patch_size"]) ** 2
    raise UsageError(f"{path} does not say how many patches a frame has: the selector none is needed in the study")


def with_study(table: PaperTable, results: Mapping[str, Results], path: Path) -> dict[str, Results]:
    """Returns the results with a study's figures in the rows that they stand for, where nothing else was measured.

    A study's models are small, its scenes simulated and its budgets shares of fewer patches: its figures are never
    called reproduced.

    Args:
        table: The paper's Table 7.
        results: Measured otherwise.
        path: See `read_study`.

    Raises:
        UsageError: If the table is another one, or there is no study.
    """
    if table.name != "table7":
        raise UsageError(f"a study belongs beside table7, not {table.name}")
    rows = read_study(path)
    patches = patches_of(path, rows)
    found = dict(results)
    for row in table.rows:
        if row.key is None:
            continue
        own = found.get(row.key, Results())
        measured = _stands_for(row, rows, patches)
        if measured is None or own.measured:
            continue
        found[row.key] = replace(own, direct={column.key: measured for column in table.measured_columns})
    return found


def _stands_for(row: Row, rows: Sequence[Mapping[str, Any]], patches: int) -> Measured | None:
    tokens = row.printed["tokens"].value if "tokens" in row.printed else None
    if tokens is None:
        return None
    wanted = tokens / _PATCHES
    same = [
        entry
        for entry in rows
        if entry["selector"] == _SELECTORS.get(row.system)
        and entry["position_ids"] == "packed"
        and max(wanted, entry["kept"] / patches) <= _NEAR * min(wanted, entry["kept"] / patches)
    ]
    if not same:
        return None
    kept = min((int(entry["kept"]) for entry in same), key=lambda kept: abs(kept / patches - wanted))
    figures = [float(entry["accuracy"]) for entry in same if entry["kept"] == kept]
    runs = "1 run" if len(figures) == 1 else f"the mean of {len(figures)} runs"
    return Measured(
        value=round(sum(figures) / len(figures), 4),
        contradictions=(
            f"it is {runs} of a study on simulated frames, of small models that keep {kept} of {patches} tokens "
            f"({kept / patches:.1%}; the paper's row keeps {wanted:.1%})",
        ),
    )
