"""Several training runs side by side: their curves in one picture each, and what their recipes do differently."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from elysium.config import Settings
from elysium.errors import UsageError
from elysium.evaluation.report.charts import Point, Series, legend, line_chart
from elysium.registry.store import first_line, flatten, import_mlflow, open_store

RECIPE, HISTORY = "training.json", "history.json"
_MOST_RUNS = 5  # as many as a chart has colours
# Of a run, at the end: what its last loss is the mean of.
_LAST = 0.1


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        name: As it was asked for.
        curves: Of each figure, the steps and values.
        recipe: Settings of the phase, with dotted names; empty where they were not kept.
    """

    name: str
    curves: Mapping[str, Sequence[Point]]
    recipe: Mapping[str, Any]

    @property
    def last_loss(self) -> float:
        """The mean of the last tenth of the losses."""
        losses = [value for _, value in self.curves["loss"]]
        last = losses[-max(1, round(_LAST * len(losses))) :]
        return sum(last) / len(last)


def read_run(name: str, settings: Settings, home: Path) -> Run:
    """Returns a run.

    Args:
        name: A folder that a phase was trained into (`history.json`), or an MLflow run's id.
        settings: Say where MLflow's store is.
        home: The workspaces' root, as the store needs it.

    Raises:
        UsageError: If there is none of that name, or it has not logged a loss.
    """
    folder = Path(name)
    if folder.exists():
        run = _of_folder(name, folder)
    elif re.fullmatch(r"[0-9a-f]{32}", name):
        run = _of_mlflow(name, settings, home)
    else:
        raise UsageError(
            f"{name} is neither a folder nor an MLflow run's id; name a folder that `elysium train run` or a training "
            "step has finished, or a run's id of 32 hexadecimal digits"
        )
    if not run.curves.get("loss"):
        raise UsageError(f"{name} has logged no loss yet; nothing can be compared")
    return run


def differences(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Returns the settings in which runs differ, with each run's value; None where a run does not say."""
    names = sorted({name for run in runs for name in run.recipe})
    values = {name: [run.recipe.get(name) for run in runs] for name in names}
    return {name: given for name, given in values.items() if any(str(value) != str(given[0]) for value in given)}


def write_page(runs: Sequence[Run], path: Path) -> None:
    """Writes an HTML page that needs no network: a chart for each figure that any of the runs has.

    Raises:
        UsageError: If there are more runs than colours.
    """
    if len(runs) > _MOST_RUNS:
        raise UsageError(f"a chart holds {_MOST_RUNS} runs, got {len(runs)}; leave some out")
    figures = list(dict.fromkeys(figure for run in runs for figure in run.curves))
    charts = "".join(_section(figure, runs) for figure in figures)
    heads = "".join(f"<th>{html.escape(run.name)}</th>" for run in runs)
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td>{''.join(f'<td>{html.escape(str(value))}</td>' for value in values)}</tr>"
        for name, values in differences(runs).items()
    )
    table = f"<table><thead><tr><th>setting</th>{heads}</tr></thead><tbody>{rows}</tbody></table>" if rows else ""
    page = files("elysium.evaluation") / "report"
    style, script = ((page / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    title = html.escape(" and ".join(run.name for run in runs))
    path.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{style}</style>'
        f"<main><h1>{title}</h1><section><h2>What differs</h2>{table or '<p>No setting.</p>'}</section>{charts}</main>"
        f"<script>{script}</script>",
        encoding="utf-8",
    )


def _section(figure: str, runs: Sequence[Run]) -> str:
    lines = [
        Series(f"c{number}", run.name, run.curves.get(figure, []), f"c{number}") for number, run in enumerate(runs)
    ]
    drawing = legend(lines) + line_chart(lines, "step", figure, size=(760, 300))
    return f'<section class="group"><h2>{html.escape(figure)}</h2>{drawing}</section>'


def _of_folder(name: str, folder: Path) -> Run:
    try:
        history = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
        curves: dict[str, list[Point]] = {}
        for entry in history:
            for figure, value in entry.items():
                if figure != "step":
                    curves.setdefault(figure, []).append((entry["step"], value))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UsageError(
            f"{folder} holds no whole {HISTORY} ({error}); name a folder that `elysium train run` or a training step "
            "has finished, or an MLflow run's id"
        ) from error
    recipe = folder / RECIPE
    told = json.loads(recipe.read_text(encoding="utf-8")) if recipe.is_file() else {}
    return Run(name, curves, flatten(told.get("phase", {})))


def _of_mlflow(name: str, settings: Settings, home: Path) -> Run:
    store = open_store(settings.registry, home)
    try:
        found = store.client.get_run(name)
        curves = {
            figure: [(entry.step, entry.value) for entry in store.client.get_metric_history(name, figure)]
            for figure in sorted(found.data.metrics, key=lambda figure: (figure != "loss", figure))
        }
    except import_mlflow().exceptions.MlflowException as error:
        raise UsageError(f"MLflow has no run {name}: {first_line(error)}; its user interface lists them") from error
    return Run(name, curves, dict(found.data.params))
