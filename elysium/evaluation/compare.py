"""Whether one model is better than another, from what both were measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from elysium.errors import UsageError
from elysium.evaluation.results import Evaluation, TaskFigures
from elysium.evaluation.statistics import CONFIDENCE, Comparison, Says, compare_figures, holm


@dataclass(frozen=True)
class MetricRow:
    """One metric of one task, of both models.

    Attributes:
        task: Of `metrics.json`.
        metric: Of the task.
        decides: Whether it is the task's first metric that both have, by which the whole comparison is decided.
        first: The first model's figure over the compared items.
        second: The second's.
        comparison: Of the two, item by item.
        corrected_p: Its p-value with the other deciding metrics taken into account; of others the plain one.
    """

    task: str
    metric: str
    decides: bool
    first: float
    second: float
    comparison: Comparison
    corrected_p: float


@dataclass(frozen=True)
class EvaluationComparison:
    """Two models, compared.

    Attributes:
        says: Of the first model: `better` where a deciding metric is better and none is worse, `worse` likewise.
        reason: Why, in a sentence.
        rows: Every metric that both were measured in.
        warnings: What makes the comparison weaker than it looks.
    """

    says: Says
    reason: str
    rows: tuple[MetricRow, ...]
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Returns plain data."""
        rows = []
        for row in self.rows:
            entry = {key: value for key, value in asdict(row).items() if key != "comparison"}
            rows.append(entry | asdict(row.comparison))
        return {"says": self.says, "reason": self.reason, "warnings": list(self.warnings), "rows": rows}


def compare_evaluations(
    first: Evaluation,
    second: Evaluation,
    *,
    samples: int,
    seed: int,
    common: bool = False,
    names: tuple[str, str] = ("the first model", "the second model"),
) -> EvaluationComparison:
    """Returns whether the first model is better than the second, by every task that both were measured in.

    Each metric is compared item by item (`compare_figures`). The whole is decided by each task's first metric, of those
    that both have, with p-values corrected for their number (Holm), so that twenty tasks do not make one of them better
    by chance.

    Args:
        first: Of the model in question.
        second: Of what it is compared with.
        samples: Bootstrap resamples.
        seed: Of the bootstrap.
        common: Compares on the items that both have, where they are not the same ones.
        names: What warnings call the two.

    Raises:
        UsageError: If they share no task, or were measured on other items and `common` is not set.
    """
    tasks = [task for task in first.tasks if task in second.tasks]
    if not tasks:
        raise UsageError(
            f"the two evaluations share no task: the first has {', '.join(first.tasks) or 'none'}, "
            f"the second {', '.join(second.tasks) or 'none'}"
        )
    warnings = _warnings(first, second, names)
    plain: list[MetricRow] = []
    for task in tasks:
        a, b = first.tasks[task], second.tasks[task]
        plain += _rows(task, a, b, samples, seed, common=common)
        warnings += _task_warnings(task, a, b, names)
    rows = _corrected(plain)
    says, reason = _verdict(rows)
    return EvaluationComparison(says, reason, tuple(rows), tuple(warnings))


def _rows(task: str, a: TaskFigures, b: TaskFigures, samples: int, seed: int, *, common: bool) -> list[MetricRow]:
    rows: list[MetricRow] = []
    for metric in a.model:
        first, second = a.per_item(metric), b.per_item(metric)
        if not first or not second:
            continue
        if set(first) != set(second) and not common:
            raise UsageError(
                f"{task} was measured on {len(first)} items for the first model and {len(second)} for the second, "
                f"{len(set(first) & set(second))} of them the same; measure both on the same ones, or compare on "
                "those with --common"
            )
        names = sorted(set(first) & set(second))
        if not names:
            raise UsageError(f"{task} was measured on wholly other items for the two models")
        ours, theirs = [first[name] for name in names], [second[name] for name in names]
        videos = [a.videos.get(name, name) for name in names]
        found = compare_figures(ours, theirs, samples=samples, seed=seed, videos=videos)
        rows.append(
            MetricRow(
                task, metric, not rows, sum(ours) / len(ours), sum(theirs) / len(theirs), found,
                found.p_value,
            )
        )  # fmt: skip
    return rows


def _corrected(rows: Sequence[MetricRow]) -> list[MetricRow]:
    deciding = [row for row in rows if row.decides]
    corrected = dict(zip(map(id, deciding), holm([row.comparison.p_value for row in deciding]), strict=True))
    return [
        MetricRow(row.task, row.metric, row.decides, row.first, row.second, row.comparison, corrected[id(row)])
        if row.decides
        else row
        for row in rows
    ]


def _verdict(rows: Sequence[MetricRow]) -> tuple[Says, str]:
    sure = [row for row in rows if row.decides and row.corrected_p < 1 - CONFIDENCE]
    better = [f"{row.task} {row.metric}" for row in sure if row.comparison.says == "better"]
    worse = [f"{row.task} {row.metric}" for row in sure if row.comparison.says == "worse"]
    if better and worse:
        return "cannot tell", f"better in {', '.join(better)}, worse in {', '.join(worse)}"
    if better:
        return "better", f"better in {', '.join(better)}, worse in none"
    if worse:
        return "worse", f"worse in {', '.join(worse)}, better in none"
    if not any(row.decides for row in rows):
        return "cannot tell", "no metric that decides was measured for both"
    few = [row.task for row in rows if row.decides and row.comparison.too_few]
    reason = "no deciding metric differs by more than chance"
    return "cannot tell", f"{reason}; too few videos in {', '.join(few)}" if few else reason


def _warnings(first: Evaluation, second: Evaluation, names: tuple[str, str]) -> list[str]:
    found = []
    if first.data_hash and second.data_hash and first.data_hash != second.data_hash:
        found.append(f"the data is not the same: {first.data_hash} and {second.data_hash}")
    for name, entry in zip(names, (first, second), strict=True):
        if entry.leaks:
            found.append(f"{name} had seen {entry.leaks} of the items in training")
    for name, entry, other in ((names[0], first, second), (names[1], second, first)):
        alone = sorted(set(entry.tasks) - set(other.tasks))
        if alone:
            found.append(f"only {name} was measured in {', '.join(alone)}")
    return found


def _task_warnings(task: str, a: TaskFigures, b: TaskFigures, names: tuple[str, str]) -> list[str]:
    found = []
    for key in sorted(set(a.protocol) | set(b.protocol)):
        if a.protocol.get(key) != b.protocol.get(key):
            found.append(
                f"{task}: {key.replace('_', ' ')} differs ({a.protocol.get(key)} and {b.protocol.get(key)}), "
                "so part of the difference may be the protocol's"
            )
    for name, entry in zip(names, (a, b), strict=True):
        if entry.num_failures:
            found.append(f"{task}: {entry.num_failures} answers of {name} failed and count as wrong")
    return found
