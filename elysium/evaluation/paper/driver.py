"""Measuring what a table needs: one evaluation after the other, each kept as it is there."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from elysium.errors import ElysiumError, UsageError
from elysium.evaluation.paper.cells import TOLERANCES, Tolerances
from elysium.evaluation.paper.filling import FilledTable, Results, fill
from elysium.evaluation.paper.sets import Missing, find_known_set, locate
from elysium.evaluation.paper.tables import PaperTable
from elysium.evaluation.results import METRICS_FILE, Evaluation, read_evaluation
from elysium.pipeline.workspace import write_atomic

logger = logging.getLogger(__name__)

_CLAIM = "reproduce.json"


class Measure(Protocol):
    """Runs one evaluation of one model: the seam to whatever measures."""

    def __call__(self, task: str, set_name: str, folder: Path, output: Path) -> Evaluation:
        """Returns the evaluation of a task on a set; one that was stopped goes on.

        Args:
            task: `sot`, `rsot`, `rec`, `video-reg` or `vqa`.
            set_name: E.g. `refcoco-testA`; the result's task is `TASK-SET`.
            folder: Of the set, as `locate` found it.
            output: For the evaluation's files; kept between attempts.

        Raises:
            ElysiumError: If it cannot be measured; so may anything else.
        """


@dataclass(frozen=True)
class Model:
    """A model that fills rows.

    Attributes:
        checkpoint: As the user named it.
        measure: Runs its evaluations.
        settings: What else decides its answers (not who judges them), e.g. what `--set` was given; finished results of
            other settings are refused.
        digest: Of the checkpoint's files, which may change under the same name.
        checks_leaks: Whether training data is known: finished results that nobody looked for in it are looked for.
    """

    checkpoint: str
    measure: Measure
    settings: Sequence[str] = field(default_factory=tuple)
    digest: str = ""
    checks_leaks: bool = False


def reproduce(
    table: PaperTable,
    models: Mapping[str, Model],
    data: Path,
    output: Path,
    *,
    tolerances: Tolerances = TOLERANCES,
    found: Mapping[str, Results] | None = None,
    after_each: Callable[[FilledTable], object] = lambda _: None,
) -> FilledTable:
    """Measures what a table needs and returns it filled.

    A set that is missing and an evaluation that fails cost their cells alone. Finished evaluations lie in
    `output/TASK-SET/` (`output/MODEL/TASK-SET/` where a table has several models) and are not measured again.

    Args:
        table: Of the paper.
        models: Name of the model, as `table.keys` has it, to the model.
        data: Folder with one folder a set, see `sets.locate`.
        output: For evaluations; one folder may serve several tables.
        tolerances: How near is near enough.
        found: Results that are there already, e.g. by `read_results`; they are not measured.
        after_each: Is given the table as it stands after every evaluation, so that a stop loses nothing.

    Raises:
        UsageError: If a model's name is no row of the table, or `output` holds results of another model or of other
            data.
    """
    check_names(table, models)
    _claim(output, models, data)
    results = dict(found or {})
    for key, model in models.items():
        results[key] = replace(results.get(key, Results()), checkpoint=model.checkpoint)
        for task, set_name in table.needs(key):
            name = f"{task}-{set_name}"
            if name in results[key].measured:
                continue
            folder = output / key / name if len(table.keys) > 1 else output / name
            wanted = _Wanted(task, set_name, table.metrics(key, task, set_name))
            results[key] = _with(results[key], wanted, model, data, folder)
            after_each(fill(table, results, tolerances))
    return fill(table, results, tolerances)


def check_names(table: PaperTable, names: Mapping[str, Any]) -> None:
    """Checks that models are called what a table's rows are.

    Raises:
        UsageError: If one is not.
    """
    unknown = [name for name in names if name not in table.keys]
    if unknown:
        raise UsageError(
            f"{table.number} has no row for a model called {unknown[0]!r}; its rows are {', '.join(table.keys)}"
        )


def read_results(table: PaperTable, folder: Path) -> dict[str, Results]:
    """Returns what a table needs of the evaluations in a folder, at any depth.

    Args:
        table: Of the paper.
        folder: With evaluations; where a table has several models, each one's in a folder of its name.

    Raises:
        UsageError: If there is no folder, an evaluation is damaged, or two have the same task.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder of evaluations")
    several = len(table.keys) > 1
    results = {}
    for key in table.keys:
        place = folder / key if several else folder
        wanted = {f"{task}-{name}" for task, name in table.needs(key)}
        measured: dict[str, Evaluation] = {}
        places: dict[str, Path] = {}
        for file in sorted(place.rglob(METRICS_FILE)) if place.is_dir() else ():
            evaluation = read_evaluation(file)
            for task in wanted & set(evaluation.tasks):
                if task in places:
                    raise UsageError(f"{task} is measured twice, in {places[task]} and {file.parent}; leave one")
                measured[task], places[task] = evaluation, file.parent
        if measured or not several:
            absent = {
                f"{task}-{name}": f"there is no evaluation of {task}-{name} in {place}; the set is at {_page(name)}"
                for task, name in table.needs(key)
                if f"{task}-{name}" not in measured
            }
            results[key] = Results(measured=measured, missing=absent)
    return results


def _page(name: str) -> str:
    return find_known_set(name).page


@dataclass(frozen=True)
class _Wanted:
    task: str
    set_name: str
    metrics: frozenset[str]

    @property
    def name(self) -> str:
        return f"{self.task}-{self.set_name}"


def _with(results: Results, wanted: _Wanted, model: Model, data: Path, folder: Path) -> Results:
    """Returns the results with one more evaluation, or with why there is none."""
    name = wanted.name
    # What earlier attempts or another folder lacked is not said of this one.
    results = replace(results, missing={key: reason for key, reason in results.missing.items() if key != name})
    finished = _finished(folder, wanted)
    if finished is not None and (finished.leak_check.get("checked") or not model.checks_leaks):
        logger.info("%s is measured already; remove %s to measure it again", name, folder)
        return replace(results, measured={**results.measured, name: finished})
    place = locate(data, wanted.set_name)
    if isinstance(place, Missing):
        logger.warning("%s: %s", name, place.reason)
        return replace(results, missing={**results.missing, name: place.reason})
    logger.info("measuring %s on %s", name, place)
    try:
        evaluation = model.measure(wanted.task, wanted.set_name, place, folder)
        if name not in evaluation.tasks:
            raise ElysiumError(f"it measured {', '.join(evaluation.tasks) or 'nothing'} instead")
    except Exception as error:  # whatever breaks one evaluation must not take the others with it
        logger.error("%s failed: %s", name, error, exc_info=not isinstance(error, ElysiumError))
        reason = f"{name} failed: {str(error) or type(error).__name__}"
        return replace(results, failed={**results.failed, name: reason})
    return replace(results, measured={**results.measured, name: evaluation})


def _finished(folder: Path, wanted: _Wanted) -> Evaluation | None:
    """Returns the evaluation in a folder if it has all that is needed: who adds a judge, or Java, goes on."""
    if not (folder / METRICS_FILE).is_file():
        return None
    try:
        evaluation = read_evaluation(folder)
    except UsageError as error:
        logger.warning("%s; %s is measured again", error, wanted.name)
        return None
    figures = evaluation.tasks.get(wanted.name)
    return evaluation if figures is not None and wanted.metrics <= set(figures.model) else None


def _claim(output: Path, models: Mapping[str, Model], data: Path) -> None:
    """Notes what the evaluations in a folder are of, and refuses to go on with those of something else."""
    path = output / _CLAIM
    claimed: dict[str, Any] = {}
    if path.is_file():
        try:
            claimed = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UsageError(f"{path} is damaged ({error}); name another folder") from error
    for key, model in models.items():
        own = {
            "checkpoint": model.checkpoint,
            "checkpoint's digest": model.digest,
            "data": str(data.resolve()),
            "settings": list(model.settings),
        }
        for what, value in claimed.get(key, own).items():
            if value != own.get(what):
                raise UsageError(
                    f"{output} holds evaluations with the {what} {value}, not {own.get(what)}; name another folder, or "
                    f"give the same {what}"
                )
        claimed[key] = own
    write_atomic(path, json.dumps(claimed, indent=1))
