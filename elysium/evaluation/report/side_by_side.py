"""One to five evaluations put beside each other: the rows that the report and the tables are made from.

The first model is the one that all others are compared with. Every verdict is `compare_evaluations`'s; a baseline is
compared as if it were a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from elysium.errors import UsageError
from elysium.evaluation.compare import EvaluationComparison, compare_evaluations
from elysium.evaluation.report.names import system_name, task_name
from elysium.evaluation.results import MODEL, Evaluation, TaskFigures, is_mean
from elysium.evaluation.statistics import Comparison, Says, bootstrap_mean

LETTERS = "ABCDE"


@dataclass(frozen=True)
class Model:
    """One of the models.

    Attributes:
        letter: A short name, `A` for the first.
        name: As the reader knows it.
        evaluation: What it was measured to be.
    """

    letter: str
    name: str
    evaluation: Evaluation


@dataclass(frozen=True)
class Cell:
    """One figure of a table.

    Attributes:
        value: Mean over items.
        interval: Its 95 % interval; None where the figure is no mean over items.
        against: What the items say of this system compared with the first model; None for the first model itself, and
            where the two cannot be paired.
        best: Whether it is the highest of the column, and better than the next one by more than chance.
    """

    value: float
    interval: tuple[float, float] | None = None
    against: Comparison | None = None
    best: bool = False


@dataclass(frozen=True)
class Entrant:
    """One row of a task's table: a model, or a baseline.

    Attributes:
        key: Short and unique in the table, e.g. `A` or `A-static_box`.
        letter: Of the model; of a baseline, of the model whose baseline it is, empty where all have the same one.
        name: For the reader.
        system: `model`, or the baseline's name in `metrics.json`.
        figures: Its own, with `figures.model` those of the baseline.
        cells: Metric to figure.
    """

    key: str
    letter: str
    name: str
    system: str
    figures: TaskFigures
    cells: Mapping[str, Cell] = field(default_factory=dict)

    @property
    def is_model(self) -> bool:
        """Whether it is no baseline."""
        return self.system == MODEL


@dataclass(frozen=True)
class TaskTable:
    """All systems in one task.

    Attributes:
        task: As in `metrics.json`.
        metrics: Columns, the deciding one first; none where the truth is not public.
        entrants: Rows: the models, then the baselines.
    """

    task: str
    metrics: tuple[str, ...]
    entrants: tuple[Entrant, ...]

    @property
    def name(self) -> str:
        """Task and set in words."""
        return task_name(self.task)

    @property
    def models(self) -> tuple[Entrant, ...]:
        """The rows that are no baselines."""
        return tuple(entrant for entrant in self.entrants if entrant.is_model)

    @property
    def primary(self) -> str:
        """The metric that decides; empty where the truth is not public, so that there is no figure."""
        return next(iter(self.metrics), "")

    @property
    def baselines(self) -> tuple[str, ...]:
        """The baselines there are, each once."""
        return tuple(dict.fromkeys(entrant.system for entrant in self.entrants if not entrant.is_model))

    @property
    def num_items(self) -> int:
        """Items of the first row."""
        return self.entrants[0].figures.num_sequences


@dataclass(frozen=True)
class SideBySide:
    """One to five models beside each other.

    Attributes:
        models: The first is the one that others are compared with.
        tables: One for each task that any of them was measured in.
        verdicts: Of each other model, compared with the first; models without a common task have none.
        warnings: What makes the comparisons weaker than they look.
    """

    models: tuple[Model, ...]
    tables: tuple[TaskTable, ...]
    verdicts: Mapping[str, EvaluationComparison]
    warnings: tuple[str, ...]

    def sentences(self) -> dict[str, tuple[Says, str]]:
        """Returns what is said of each other model, by its letter: the verdict, and a sentence."""
        names = {model.letter: model.name for model in self.models}
        first = self.models[0].name
        return {letter: (found.says, _sentence(names[letter], first, found)) for letter, found in self.verdicts.items()}


def put_side_by_side(evaluations: Mapping[str, Evaluation], *, samples: int, seed: int) -> SideBySide:
    """Returns models and baselines with their figures, intervals and verdicts.

    Args:
        evaluations: Name to evaluation, one to five; the first is what the others are compared with.
        samples: Bootstrap resamples.
        seed: Of the bootstrap.

    Raises:
        UsageError: If there is none, or more than five.
    """
    if not 1 <= len(evaluations) <= len(LETTERS):
        raise UsageError(f"one to {len(LETTERS)} evaluations fit side by side, got {len(evaluations)}")
    models = tuple(
        Model(letter, name, evaluation)
        for letter, (name, evaluation) in zip(LETTERS, evaluations.items(), strict=False)
    )
    judge = _Judge(samples, seed)
    verdicts: dict[str, EvaluationComparison] = {}
    warnings: list[str] = []
    for model in models[1:]:
        found, noticed = judge.models(model, models[0])
        warnings += noticed
        if found is not None:
            verdicts[model.letter] = found
            warnings += found.warnings
    tasks = dict.fromkeys(task for model in models for task in model.evaluation.tasks)
    tables = tuple(_table(task, models, judge) for task in tasks)
    return SideBySide(models, tables, verdicts, tuple(dict.fromkeys(warnings)))


def as_model(figures: TaskFigures, system: str, *, samples: int, seed: int) -> TaskFigures:
    """Returns a baseline's figures as if it were the model, so that it is shown and compared like one.

    Args:
        figures: Of a task.
        system: The baseline.
        samples: Bootstrap resamples of its intervals.
        seed: Of the bootstrap.
    """
    rows = {name: {MODEL: row[system]} for name, row in figures.per_sequence.items() if system in row}
    intervals = {}
    for metric, mean in figures.baselines[system].items():
        found = figures.per_item(metric, system)
        # A figure that all items together give is no mean of theirs: it has no interval.
        if found and is_mean(mean, list(found.values())):
            videos = [figures.videos.get(name, name) for name in found]
            _, low, high = bootstrap_mean(list(found.values()), samples, seed, videos)
            intervals[metric] = (round(low, 3), round(high, 3))
    return TaskFigures(
        model=figures.baselines[system],
        baselines={},
        intervals=intervals,
        num_sequences=len(rows) or figures.num_sequences,
        num_failures=0,
        per_sequence=rows,
        videos=figures.videos,
        curves={MODEL: figures.curves[system]} if system in figures.curves else {},
        protocol=figures.protocol,
    )


class _Judge:
    """Compares, each pair once."""

    def __init__(self, samples: int, seed: int) -> None:
        self.samples, self.seed = samples, seed
        # Task, row in question, row it is compared with, to what is said of each metric.
        self._known: dict[tuple[str, str, str], dict[str, Comparison]] = {}

    def models(self, other: Model, first: Model) -> tuple[EvaluationComparison | None, list[str]]:
        """Returns what is said of `other` compared with `first`, and what is to be known of it."""
        ours, theirs = dict(first.evaluation.tasks), dict(other.evaluation.tasks)
        warnings = []
        for task in [task for task in ours if task in theirs]:
            both = set(ours[task].per_sequence) & set(theirs[task].per_sequence)
            counts = [len(part.per_sequence) for part in (theirs[task], ours[task])]
            if not both and any(counts):
                warnings.append(f"{task}: {other.name} and {first.name} were measured on wholly other items")
                del ours[task], theirs[task]
            elif counts != [len(both)] * 2:
                warnings.append(
                    f"{task}: {other.name} was measured on {counts[0]} items and {first.name} on {counts[1]}; the "
                    f"verdict is on the {len(both)} that both have"
                )
        if not set(ours) & set(theirs):
            return None, [*warnings, f"{other.name} and {first.name} share no task, so nothing is said of the two"]
        found = compare_evaluations(
            other.evaluation.model_copy(update={"tasks": theirs}),
            first.evaluation.model_copy(update={"tasks": ours}),
            samples=self.samples,
            seed=self.seed,
            common=True,
            names=(other.name, first.name),
        )
        for task in theirs:
            of_task = {row.metric: row.comparison for row in found.rows if row.task == task}
            self._known[task, other.letter, first.letter] = of_task
        return found, warnings

    def rows(self, task: str, a: Entrant, b: Entrant) -> dict[str, Comparison]:
        """Returns what is said of `a` compared with `b`, metric by metric; nothing where they share no item."""
        key = (task, a.key, b.key)
        if key not in self._known:
            one, other = (Evaluation(tasks={task: row.figures}) for row in (a, b))
            try:
                found = compare_evaluations(one, other, samples=self.samples, seed=self.seed, common=True)
                self._known[key] = {row.metric: row.comparison for row in found.rows}
            except UsageError:
                self._known[key] = {}
        return self._known[key]

    def beats(self, task: str, a: Entrant, b: Entrant, metric: str) -> bool:
        """Returns whether `a` is better than `b` in one metric."""
        known = self._known.get((task, b.key, a.key))
        if known is not None:
            return metric in known and known[metric].says == "worse"
        found = self.rows(task, a, b).get(metric)
        return found is not None and found.says == "better"


def _table(task: str, models: Sequence[Model], judge: _Judge) -> TaskTable:
    measured = [(model, model.evaluation.tasks[task]) for model in models if task in model.evaluation.tasks]
    rows = [Entrant(model.letter, model.letter, model.name, MODEL, figures) for model, figures in measured]
    rows += _baselines(measured, judge)
    metrics = tuple(dict.fromkeys(metric for row in rows if row.is_model for metric in row.figures.model))
    # Compared with the first model, where it was measured in this task.
    first = rows[0] if rows[0].letter == LETTERS[0] else None
    against = {row.key: {} if first is None or row is first else judge.rows(task, row, first) for row in rows}
    best = {metric: _best(task, rows, metric, judge) for metric in metrics}
    return TaskTable(
        task,
        metrics,
        tuple(
            replace(
                row,
                cells={
                    metric: Cell(
                        row.figures.model[metric],
                        row.figures.intervals.get(metric),
                        # Items say nothing of a figure that is no mean of theirs.
                        against[row.key].get(metric) if metric in row.figures.intervals else None,
                        best[metric] == row.key,
                    )
                    for metric in metrics
                    if metric in row.figures.model
                },
            )
            for row in rows
        ),
    )


def _baselines(measured: Sequence[tuple[Model, TaskFigures]], judge: _Judge) -> Iterator[Entrant]:
    """Yields every baseline once: one that came out the same for all models is nobody's own."""
    for system in dict.fromkeys(system for _, figures in measured for system in figures.baselines):
        having = [(model, figures) for model, figures in measured if system in figures.baselines]
        rows = [{name: row.get(system) for name, row in figures.per_sequence.items()} for _, figures in having]
        shared = all(
            figures.baselines[system] == having[0][1].baselines[system] and row == rows[0]
            for (_, figures), row in zip(having, rows, strict=True)
        )
        for model, figures in having[:1] if shared else having:
            letter = "" if shared else model.letter
            yield Entrant(
                f"{letter}-{system}",
                letter,
                system_name(system),
                system,
                as_model(figures, system, samples=judge.samples, seed=judge.seed),
            )


def _best(task: str, rows: Sequence[Entrant], metric: str, judge: _Judge) -> str | None:
    """Returns the key of the row that is the best by more than chance; None where one cannot tell."""
    ranked = sorted(
        (row for row in rows if metric in row.figures.model), key=lambda row: row.figures.model[metric], reverse=True
    )
    if len(ranked) < 2 or any(metric not in row.figures.intervals for row in ranked[:2]):
        return None
    if not judge.beats(task, ranked[0], ranked[1], metric):
        return None
    return ranked[0].key


def _sentence(name: str, first: str, found: EvaluationComparison) -> str:
    if found.says == "cannot tell":
        return f"One cannot tell whether {name} is better or worse than {first}: {found.reason}."
    return f"{name} is {found.says} than {first}: {found.reason}."
