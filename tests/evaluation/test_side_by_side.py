import pytest
from report_samples import IDS, answers, evaluation, task

from elysium.errors import UsageError
from elysium.evaluation.compare import compare_evaluations
from elysium.evaluation.report.parts import style_of
from elysium.evaluation.report.side_by_side import put_side_by_side
from elysium.evaluation.results import Evaluation, ItemResult, summarise


def beside(*aucs, **named):
    evaluations = {f"model-{number}": evaluation(auc) for number, auc in enumerate(aucs)} | named
    return put_side_by_side(evaluations, samples=300, seed=0)


def rows(sides):
    return {entrant.key: entrant for entrant in sides.tables[0].entrants}


def test_models_and_baselines_stand_in_rows_with_intervals():
    sides = beside(50, 60)
    found = rows(sides)
    assert list(found) == ["A", "B", "-static_box"], "a baseline that is the same for all stands once"
    assert found["B"].cells["auc"].value == 60
    low, high = found["-static_box"].cells["auc"].interval
    assert low < 30 < high


def test_every_verdict_is_the_comparisons():
    sides = beside(50, 60, 49.9)
    found = rows(sides)
    expected = compare_evaluations(evaluation(60), evaluation(50), samples=300, seed=0)
    assert found["B"].cells["auc"].against == expected.rows[0].comparison
    assert {key: row.cells["auc"].against and row.cells["auc"].against.says for key, row in found.items()} == {
        "A": None,
        "B": "better",
        "C": "worse",
        "-static_box": "worse",
    }
    assert sides.sentences()["B"] == ("better", f"model-1 is better than model-0: {expected.reason}.")


def test_the_best_is_the_best_only_beyond_chance():
    assert rows(beside(50, 60))["B"].cells["auc"].best
    assert not rows(beside(50, 60))["A"].cells["auc"].best
    twins = rows(beside(60, 60))
    assert not any(row.cells["auc"].best for row in twins.values())


def test_the_best_beside_a_second_that_is_not_the_first_model():
    found = rows(beside(30, 50, 60))
    assert [key for key, row in found.items() if row.cells["auc"].best] == ["C"]
    assert rows(beside(30, 60, 60))["B"].cells["auc"].best is False


def test_a_baseline_that_depends_on_the_model_is_that_models_own():
    sides = put_side_by_side({"a": evaluation(50), "b": evaluation(60, static=31.0)}, samples=100, seed=0)
    assert list(rows(sides)) == ["A", "B", "A-static_box", "B-static_box"]


def test_other_items_are_told_and_the_verdict_is_on_the_common_ones():
    sides = beside(50, fewer=evaluation(60, ids=IDS[:8]))
    assert sides.warnings == (
        "sot-lasot: fewer was measured on 8 items and model-0 on 12; the verdict is on the 8 that both have",
    )
    assert rows(sides)["B"].cells["auc"].against.num_items == 8


def test_wholly_other_items_or_tasks_have_no_verdict():
    other = beside(50, other=evaluation(60, ids=[f"x{n}" for n in range(12)]))
    assert "wholly other items" in other.warnings[0]
    assert other.sentences() == {}
    assert rows(other)["B"].cells["auc"].against is None
    apart = put_side_by_side({"a": evaluation(50), "b": answers([1, 0, 1])}, samples=100, seed=0)
    assert [table.task for table in apart.tables] == ["sot-lasot", "rec-refcoco-val"]
    assert "share no task" in apart.warnings[0]


def test_warnings_name_the_models():
    judged = {"a": evaluation(50, leaks=2, protocol={"scale": 100}), "b": evaluation(60, protocol={"scale": 1000})}
    warnings = " | ".join(put_side_by_side(judged, samples=100, seed=0).warnings)
    assert "a had seen 2 of the items in training" in warnings
    assert "scale differs (1000 and 100)" in warnings
    assert "first" not in warnings


def test_a_figure_that_is_no_mean_over_items_has_no_interval_and_no_verdict():
    tasks = {"video-reg-x": task(50).model_copy(update={"model": {"auc": 50.0, "cider": 115.3}})}
    first = Evaluation(tasks=tasks)
    cell = rows(put_side_by_side({"a": first, "b": first}, samples=100, seed=0))["B"].cells["cider"]
    assert (cell.value, cell.interval, cell.against, cell.best) == (115.3, None, None, False)


@pytest.mark.parametrize("count", [0, 6])
def test_one_to_five_fit(count):
    with pytest.raises(UsageError, match=f"one to 5 evaluations fit side by side, got {count}"):
        beside(*range(count))


def test_a_set_whose_truth_is_not_public_has_rows_and_no_figures():
    items = [ItemResult(id=f"i{n}", video=f"v{n}", figures={"model": {}}, failures={"unparsed": 1}) for n in range(8)]
    found = Evaluation(tasks={"sot-got10k-test": summarise(items, samples=50, seed=0)})
    [table] = put_side_by_side({"a": found, "b": found}, samples=50, seed=0).tables
    assert (table.metrics, table.primary, table.entrants[0].cells) == ((), "", {})
    assert table.entrants[0].figures.num_failures == 8


def test_the_only_model_of_a_task_and_its_baselines_have_different_colours():
    sides = put_side_by_side({"a": evaluation(50), "b": evaluation(60, name="sot-uav123")}, samples=200, seed=0)
    for table in sides.tables:
        styles = [style_of(entrant, table) for entrant in table.entrants]
        assert len(styles) > 1
        assert len(set(styles)) == len(styles), styles
