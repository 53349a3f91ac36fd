"""The promotion policy: what it may say, and what it says of a model's figures."""

from __future__ import annotations

import math
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from elysium.errors import ElysiumError, UsageError

NUM_FAILURES = "num_failures"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Floor(_Part):
    """A bound that a figure must keep, whatever the champion does.

    Attributes:
        task: A task of `metrics.json`, or `*` for every one that was measured.
        metric: One of the task's metrics, percent, or `num_failures`.
        minimum: Lowest figure that passes.
        maximum: Highest figure that passes.
        relative_to: A baseline; the bounds are then counted from its figure.
        if_measured: Passes over the floor where the task has no sequence, instead of failing it.
    """

    task: str
    metric: str
    minimum: float | None = None
    maximum: float | None = None
    relative_to: Literal["static_box", "frame_by_frame", "csrt"] | None = None
    if_measured: bool = False

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.minimum is None) == (self.maximum is None):
            raise ValueError(f"the floor of {self.task} {self.metric} needs either minimum or maximum")
        return self


class Compared(_Part):
    """A figure that is compared with the champion's."""

    task: str
    metric: str


class Regression(_Part):
    """How much worse than the champion a model may be, percent points."""

    tolerance: float = Field(0.0, ge=0)
    max_drop: float = Field(100.0, ge=0)
    metrics: tuple[Compared, ...] = ()


class Policy(_Part):
    """The whole policy file.

    Attributes:
        data_gate: Whether the data must have passed its validation.
        approval: `manual` leaves the last word to a person: a model that passed waits for `elysium registry approve`.
        floors: Bounds whatever the champion does.
        regression: Bounds to what is lost against the champion.
    """

    data_gate: bool = True
    approval: Literal["none", "manual"] = "none"
    floors: tuple[Floor, ...] = ()
    regression: Regression = Regression()


class Check(_Part):
    """One question the policy put, and its answer.

    Attributes:
        name: Unique in a decision.
        kind: `gate`, `floor` or `regression`.
        task: The task, empty for gates.
        metric: The metric, empty for gates.
        value: The figure that was judged; for a regression the mean difference to the champion. None if not measured.
        bound: What it was judged by.
        interval: Bootstrap confidence interval of a regression's difference.
        passed: The answer.
        text: The answer as a sentence.
    """

    name: str
    kind: Literal["gate", "floor", "regression"]
    task: str
    metric: str
    value: float | None
    bound: float
    interval: tuple[float, float] | None
    passed: bool
    text: str


def load_policy(path: str | None) -> Policy:
    """Returns a policy file's content; the project's own (`mlflow/promotion.yaml`) where `path` is None.

    Raises:
        UsageError: If the file is missing or not a valid policy; the message names the field.
    """
    if path is None:
        text = (resources.files("elysium.registry") / "promotion.yaml").read_text(encoding="utf-8")
    elif Path(path).is_file():
        text = Path(path).read_text(encoding="utf-8")
    else:
        raise UsageError(f"the promotion policy {path} does not exist; see promote.policy")
    try:
        return Policy.model_validate(yaml.safe_load(text) or {})
    except yaml.YAMLError as error:
        raise UsageError(f"the promotion policy {path} is not valid YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UsageError(f"the promotion policy {path}: {where}: {first['msg']}") from error


def judge(
    policy: Policy,
    metrics: dict[str, Any],
    champion: dict[str, Any] | None,
    gates: dict[str, int],
    *,
    samples: int,
    seed: int,
) -> list[Check]:
    """Returns every check of the policy with its answer.

    Args:
        policy: The policy.
        metrics: The new model's `metrics.json`.
        champion: The champion's figures on the same data in the same form; None where there is no champion.
        gates: By gate the number of its rules that were broken.
        samples: Bootstrap samples.
        seed: Of the bootstrap.

    Raises:
        ElysiumError: If champion and model were not measured on the same data.
    """
    if champion is not None and champion["data_hash"] != metrics["data_hash"]:
        raise ElysiumError(
            f"the champion was measured on data {champion['data_hash']}, the new model on {metrics['data_hash']}; "
            "run the step evaluate again"
        )
    checks = [_gate(name, broken) for name, broken in gates.items()] if policy.data_gate else []
    for floor in policy.floors:
        names = _measured(metrics) if floor.task == "*" else [floor.task]
        found = (_floor(floor, name, metrics["tasks"].get(name)) for name in names)
        checks += [check for check in found if check is not None]
    if champion is not None:
        for pair in policy.regression.metrics:
            check = _regression(policy.regression, pair, metrics, champion, samples, seed)
            checks += [check] if check is not None else []
    return checks


def _measured(metrics: dict[str, Any]) -> list[str]:
    return [name for name, task in metrics["tasks"].items() if task["num_sequences"] > 0]


def _gate(name: str, broken: int) -> Check:
    text = f"{name}: passed" if not broken else f"{name}: {broken} rule{'s' if broken > 1 else ''} broken"
    return Check(
        name=name, kind="gate", task="", metric="", value=broken, bound=0, interval=None, passed=not broken, text=text
    )


def _floor(floor: Floor, name: str, task: dict[str, Any] | None) -> Check | None:
    measured = task is not None and task["num_sequences"] > 0
    if not measured and floor.if_measured:
        return None
    value = _figure(task["model"], floor.metric, task) if task is not None and measured else None
    start = 0.0
    against = f" against {floor.relative_to}" if floor.relative_to else ""
    if floor.relative_to and task is not None and measured:
        baseline = _figure(task["baselines"].get(floor.relative_to, {}), floor.metric, task)
        if baseline is None:
            value = None
        start = baseline or 0.0
    offset = floor.minimum if floor.minimum is not None else floor.maximum
    bound = round(start + (offset or 0.0), 4)
    lower = floor.minimum is not None
    passed = value is not None and (value >= bound if lower else value <= bound)
    limit = f"{'at least' if lower else 'at most'} {bound:g}"
    if floor.relative_to:
        limit += f" ({floor.relative_to} {offset:+g})"
    shown = "was not measured" if value is None else f"is {value:.4g}"
    return Check(
        name=f"floor {name} {floor.metric}{against}",
        kind="floor",
        task=name,
        metric=floor.metric,
        value=value,
        bound=bound,
        interval=None,
        passed=passed,
        text=f"{name} {floor.metric} {shown}, the policy asks for {limit}",
    )


def _figure(figures: dict[str, Any], metric: str, task: dict[str, Any]) -> float | None:
    value = task["num_failures"] if metric == NUM_FAILURES else figures.get(metric)
    return None if value is None or not math.isfinite(value) else float(value)


def _regression(
    rule: Regression, pair: Compared, metrics: dict[str, Any], champion: dict[str, Any], samples: int, seed: int
) -> Check | None:
    """Returns the paired comparison of one metric; None where neither model was measured in it."""
    from elysium.evaluation.statistics import compare_figures

    new, old = (_per_sequence(figures, pair) for figures in (metrics, champion))
    if not new and not old:
        return None
    if set(new) != set(old):
        raise ElysiumError(
            f"{pair.task} was measured on {len(new)} sequences for the new model and {len(old)} for the champion, "
            "not the same ones; run the step evaluate again"
        )
    names = sorted(new)
    for name in names:
        if not (math.isfinite(new[name]) and math.isfinite(old[name])):
            raise ElysiumError(f"{pair.task} {pair.metric} of sequence {name} is not a number; run evaluate again")
    videos = metrics["tasks"][pair.task].get("videos", {})
    found = compare_figures(
        [new[name] for name in names],
        [old[name] for name in names],
        samples=samples,
        seed=seed,
        videos=[videos.get(name, name) for name in names],
        margin=rule.tolerance,
    )
    mean, low, high = (round(value, 4) for value in (found.difference, found.low, found.high))
    proven, dropped = found.says == "worse", mean < -rule.max_drop
    text = f"{pair.task} {pair.metric} is {mean:+.2f} against the champion (95 % between {low:+.2f} and {high:+.2f})"
    if proven:
        text += f", worse by more than the tolerance of {rule.tolerance:g}"
    elif dropped:
        text += f", a drop of more than {rule.max_drop:g}"
    elif found.too_few:
        text += f"; {found.num_videos} videos are too few to tell"
    return Check(
        name=f"regression {pair.task} {pair.metric}",
        kind="regression",
        task=pair.task,
        metric=pair.metric,
        value=mean,
        bound=-(rule.max_drop if dropped and not proven else rule.tolerance),
        interval=(low, high),
        passed=not (proven or dropped),
        text=text,
    )


def _per_sequence(figures: dict[str, Any], pair: Compared) -> dict[str, float]:
    task = figures["tasks"].get(pair.task, {})
    found = {name: entry["model"].get(pair.metric) for name, entry in task.get("per_sequence", {}).items()}
    return {name: float(value) for name, value in found.items() if value is not None}
