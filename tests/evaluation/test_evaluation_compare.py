import numpy as np
import pytest

from elysium.errors import UsageError
from elysium.evaluation.compare import compare_evaluations
from elysium.evaluation.results import Evaluation, ItemResult, summarise


def measured(values, tasks=("sot-lasot",), protocol=None, **changes):
    """Returns an evaluation with one item for each of `values`."""
    figures = {}
    for task in tasks:
        items = [
            ItemResult(id=f"clip-{n}", video=f"v{n}", figures={"model": {"auc": float(value)}})
            for n, value in enumerate(values)
        ]
        figures[task] = summarise(items, samples=100, seed=0, protocol=protocol)
    return Evaluation(tasks=figures, **changes)


def compare(a, b, **options):
    return compare_evaluations(a, b, samples=500, seed=0, **options)


EASY = np.linspace(20, 90, 30)


@pytest.mark.parametrize(("gain", "says"), [(3, "better"), (-3, "worse"), (0, "cannot tell")])
def test_it_says_better_worse_or_cannot_tell(gain, says):
    noise = np.random.default_rng(0).normal(0, 1, 30)
    found = compare(measured(EASY + gain + noise), measured(EASY))
    assert found.says == says
    assert found.rows[0].comparison.says == says


def test_better_in_one_task_and_worse_in_another_is_no_verdict():
    a, b = measured(EASY, tasks=("sot", "rsot")), measured(EASY, tasks=("sot", "rsot"))
    mixed = Evaluation(tasks={"sot": measured(EASY + 5).tasks["sot-lasot"], "rsot": a.tasks["rsot"]})
    assert compare(mixed, b).says == "better"
    worse = Evaluation(tasks={"sot": mixed.tasks["sot"], "rsot": measured(EASY - 5).tasks["sot-lasot"]})
    found = compare(worse, b)
    assert (found.says, found.reason) == ("cannot tell", "better in sot auc, worse in rsot auc")


def test_one_small_win_among_twenty_tasks_does_not_decide():
    rng = np.random.default_rng(3)
    names = [f"task-{n:02}" for n in range(20)]
    other = Evaluation(tasks={name: measured(EASY).tasks["sot-lasot"] for name in names})
    tasks = {name: measured(EASY + rng.normal(0, 5, 30)).tasks["sot-lasot"] for name in names}
    gains = rng.normal(0, 5, 30)
    tasks["task-07"] = measured(EASY + gains - gains.mean() + 2.0).tasks["sot-lasot"]
    row = next(row for row in compare(Evaluation(tasks=tasks), other).rows if row.task == "task-07")
    assert row.comparison.says == "better", "alone it would count"
    assert row.corrected_p > 0.05
    assert compare(Evaluation(tasks=tasks), other).says == "cannot tell"


def test_other_items_are_refused_unless_the_common_ones_are_asked_for():
    a, b = measured(EASY + 5), measured(EASY[:20])
    with pytest.raises(UsageError, match="30 items for the first model and 20 for the second, 20 of them the same"):
        compare(a, b)
    assert compare(a, b, common=True).rows[0].comparison.num_items == 20


def test_evaluations_without_a_common_task_are_refused():
    with pytest.raises(UsageError, match="share no task: the first has sot, the second rsot"):
        compare(measured(EASY, tasks=("sot",)), measured(EASY, tasks=("rsot",)))


def judged(values, metrics):
    items = [
        ItemResult(id=f"{n}", video=f"v{n}", figures={"model": {metric: float(value) for metric in metrics}})
        for n, value in enumerate(values)
    ]
    return Evaluation(tasks={"vqa": summarise(items, samples=100, seed=0)})


def test_the_first_metric_that_both_have_decides_whichever_is_asked_about():
    a, b = judged(EASY + 5, ["judge_accuracy", "exact_match"]), judged(EASY, ["exact_match"])
    assert [(row.metric, row.decides) for row in compare(a, b).rows] == [("exact_match", True)]
    assert (compare(a, b).says, compare(b, a).says) == ("better", "worse")


def test_a_baseline_of_fewer_items_is_said_to_be_one():
    systems = [{"model": {"auc": 50.0}, "static_box": {"auc": 20.0}}, {"model": {"auc": 50.0}}]
    items = [ItemResult(id=f"{n}", video=f"{n}", figures=figures) for n, figures in enumerate(systems)]
    [note] = summarise(items, samples=100, seed=0).notes
    assert "static_box could be measured on 1 of 2 items" in note


def test_nothing_is_said_of_chance_where_no_figure_decides():
    hidden = summarise([ItemResult(id="a", video="v", figures={"model": {}})], samples=100, seed=0)
    found = compare(Evaluation(tasks={"sot": hidden}), Evaluation(tasks={"sot": hidden}))
    assert (found.says, found.reason) == ("cannot tell", "no metric that decides was measured for both")


def test_what_weakens_a_comparison_is_said():
    a = measured(EASY, protocol={"judge": "gpt-a"}, data_hash="1", leaks=3)
    b = measured(EASY, protocol={"judge": "gpt-b"}, data_hash="2")
    warnings = " | ".join(compare(a, b).warnings)
    for part in ("judge differs (gpt-a and gpt-b)", "not the same: 1 and 2", "had seen 3 of the items"):
        assert part in warnings
    assert compare(measured(EASY), measured(EASY)).warnings == ()
