"""What the promotion policy asks, and what it answers."""

from pathlib import Path

import pytest
from registry_figures import figures, task

from elysium.errors import ElysiumError, UsageError
from elysium.registry.policy import Compared, Floor, Policy, Regression, judge, load_policy

ROOT = Path(__file__).parents[2]
CLEAN = {"data validation": 0}


def answers(policy, metrics, champion=None, gates=CLEAN):
    return {check.name: check for check in judge(policy, metrics, champion, gates, samples=500, seed=7)}


def floor(**changes):
    return Policy(data_gate=False, floors=(Floor(**{"task": "sot-simulated", "metric": "auc", **changes}),))


def compared(tolerance=0.5, max_drop=10.0):
    metrics = (Compared(task="sot-simulated", metric="auc"),)
    return Policy(data_gate=False, regression=Regression(tolerance=tolerance, max_drop=max_drop, metrics=metrics))


@pytest.mark.parametrize(("minimum", "passed"), [(19.9, True), (20, True), (20.1, False)])
def test_a_floor_holds_the_models_own_figure(minimum, passed):
    (check,) = answers(floor(minimum=minimum), figures([10.0, 30.0])).values()
    assert (check.kind, check.value, check.bound, check.passed) == ("floor", 20.0, minimum, passed)


@pytest.mark.parametrize(("minimum", "passed"), [(-10, True), (-9.9, False)])
def test_a_floor_may_be_counted_from_a_baseline(minimum, passed):
    policy = floor(minimum=minimum, relative_to="static_box")
    (check,) = answers(policy, figures([20.0], static=30.0)).values()
    assert (check.bound, check.passed) == (30.0 + minimum, passed)


def test_a_maximum_counts_answers_without_a_box_in_every_task():
    metrics = figures([20.0])
    metrics["tasks"]["rsot-simulated"] = task([5.0], num_failures=2)
    found = answers(floor(task="*", metric="num_failures", maximum=0), metrics)
    assert {name: check.passed for name, check in found.items()} == {
        "floor sot-simulated num_failures": True,
        "floor rsot-simulated num_failures": False,
    }


def test_a_task_that_was_not_measured_fails_its_floor_unless_the_policy_allows_it():
    (check,) = answers(floor(task="sot-real", minimum=1), figures([20.0])).values()
    assert (check.value, check.passed) == (None, False)
    assert "was not measured" in check.text
    assert answers(floor(task="sot-real", minimum=1, if_measured=True), figures([20.0])) == {}


def test_a_figure_that_is_not_a_number_fails_its_floor():
    metrics = figures([20.0])
    metrics["tasks"]["sot-simulated"]["model"]["auc"] = float("nan")
    (check,) = answers(floor(minimum=0), metrics).values()
    assert not check.passed


@pytest.mark.parametrize(("broken", "passed"), [(0, True), (2, False)])
def test_the_data_gate(broken, passed):
    (check,) = answers(Policy(), figures([20.0]), gates={"data validation": broken}).values()
    assert (check.kind, check.passed) == ("gate", passed)


OLD = [20.0, 30.0, 40.0, 50.0, 60.0, 35.0, 25.0, 45.0]


@pytest.mark.parametrize(
    ("change", "passed"),
    [
        ([0.0] * 8, True),
        ([5.0] * 8, True),
        ([-0.4] * 8, True),  # within the tolerance
        ([-2.0] * 8, False),  # small, but the same everywhere: proven
        ([-8.0, 8.0, -9.0, 7.0, -8.0, 6.0, -5.0, 3.0], True),  # noise
        ([-90.0, 0, 0, 0, 0, 0, 0, 0], False),  # not proven, but a mean drop of 11.25
    ],
)
def test_a_regression_is_refused_when_it_is_proven_or_large(change, passed):
    new = [old + delta for old, delta in zip(OLD, change, strict=True)]
    (check,) = answers(compared(), figures(new), figures(OLD)).values()
    assert (check.kind, check.passed) == ("regression", passed)
    assert check.value == pytest.approx(sum(change) / 8, abs=1e-3)
    assert check.interval[0] <= check.value <= check.interval[1]


def test_without_a_champion_there_is_nothing_to_regress_from():
    assert answers(compared(), figures(OLD)) == {}


def test_figures_of_other_data_are_not_compared():
    with pytest.raises(ElysiumError, match=r"champion was measured on data old\.dir"):
        answers(compared(), figures(OLD), figures(OLD, data_hash="old.dir"))


def test_figures_of_other_sequences_are_not_compared():
    with pytest.raises(ElysiumError, match="not the same ones"):
        answers(compared(), figures(OLD), figures(OLD[:-1]))


def test_a_sequence_without_a_number_is_not_passed_over():
    with pytest.raises(ElysiumError, match="sequence clip-07 is not a number"):
        answers(compared(), figures([*OLD[:-1], float("nan")]), figures(OLD))


def test_the_same_figures_give_the_same_checks():
    new = [old + 3 for old in OLD]
    assert answers(compared(), figures(new), figures(OLD)) == answers(compared(), figures(new), figures(OLD))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("floors: [{task: a, metric: auc}]", "needs either minimum or maximum"),
        ("flors: []", "flors: Extra inputs"),
        ("floors: [", "not valid YAML"),
        ("regression: {tolerance: -1}", r"regression\.tolerance"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(tmp_path, text, message):
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_policy(str(path))


def test_a_policy_that_is_missing_is_named():
    with pytest.raises(UsageError, match=r"nowhere\.yaml does not exist"):
        load_policy("nowhere.yaml")


def test_the_projects_policy_asks_gate_floors_and_regressions():
    policy = load_policy(None)
    assert policy.data_gate
    assert any(entry.metric == "num_failures" and entry.maximum == 0 for entry in policy.floors)
    assert {entry.task for entry in policy.regression.metrics} >= {"sot-simulated", "rsot-simulated", "sot-real"}


@pytest.mark.parametrize("name", ["promotion.yaml", "model-card.md.j2"])
def test_the_folder_mlflow_shows_the_very_files_that_the_package_carries(name):
    assert (ROOT / "mlflow" / name).resolve() == (ROOT / "elysium" / "registry" / name).resolve()


def test_the_folder_mlflow_holds_no_python():
    assert not list((ROOT / "mlflow").rglob("*.py"))
