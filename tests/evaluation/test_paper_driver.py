"""The order of the evaluations, what is kept, and what a missing set or a broken evaluation costs."""

import json

import pytest
from paper_results import evaluation

from elysium.errors import ElysiumError, UsageError
from elysium.evaluation.paper.driver import Model, read_results, reproduce
from elysium.evaluation.paper.tables import load_table

FIGURES = {"auc": 56.1, "precision": 50.1, "norm_precision": 61.0}
COUNTS = {"lasot": 280, "uav123": 123}


class Recorder:
    """Measures nothing, and notes what it was asked for."""

    def __init__(self, fails=(), interrupts=(), figures=FIGURES):
        self.asked, self.fails, self.interrupts, self.figures = [], fails, interrupts, figures

    def __call__(self, task, set_name, folder, output):
        self.asked.append((task, set_name, folder.name, output))
        if set_name in self.interrupts:
            raise KeyboardInterrupt
        if set_name in self.fails:
            raise RuntimeError("CUDA is out of memory")
        found = evaluation(f"{task}-{set_name}", COUNTS[set_name], self.figures)
        found.write(output / "metrics.json")
        return found


@pytest.fixture
def data(tmp_path):
    for file in ("LaSOT/airplane/airplane-1/groundtruth.txt", "UAV123/anno/UAV123/bike1.txt"):
        path = tmp_path / "sets" / file
        path.parent.mkdir(parents=True)
        path.touch()
    return tmp_path / "sets"


def run(data, output, measure, checkpoint="ours", **more):
    return reproduce(load_table("table4"), {"elysium": Model(checkpoint, measure)}, data, output, **more)


def test_each_set_is_measured_once_though_several_columns_need_it(data, tmp_path):
    measure = Recorder()
    filled = run(data, tmp_path / "out", measure)
    assert [entry[1:3] for entry in measure.asked] == [("lasot", "LaSOT"), ("uav123", "UAV123")]
    assert measure.asked[0][3] == tmp_path / "out" / "sot-lasot"
    assert filled.counts == {"reproduced": 4, "differs": 1}


def test_a_missing_set_costs_its_own_cells(data, tmp_path):
    (data / "UAV123").rename(data / "other")
    measure = Recorder()
    filled = run(data, tmp_path / "out", measure)
    assert [entry[1] for entry in measure.asked] == ["lasot"]
    assert filled.counts == {"reproduced": 3, "data missing": 2}


def test_an_evaluation_that_breaks_costs_its_own_cells_and_is_tried_again(data, tmp_path, caplog):
    filled = run(data, tmp_path / "out", Recorder(fails=["lasot"]))
    assert filled.counts["failed"] == 3
    said = next(cell for _, _, cell in filled.cells() if cell.state == "failed")
    assert said.reasons == ("sot-lasot failed: CUDA is out of memory",)
    assert "CUDA is out of memory" in caplog.text

    again = Recorder()
    filled = run(data, tmp_path / "out", again)
    assert [entry[1] for entry in again.asked] == ["lasot"]
    assert filled.counts == {"reproduced": 4, "differs": 1}


def test_a_run_that_is_stopped_keeps_the_table_and_goes_on(data, tmp_path):
    seen = []
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "out", Recorder(interrupts=["uav123"]), after_each=seen.append)
    assert [filled.counts for filled in seen] == [{"reproduced": 3, "data missing": 2}]
    again = Recorder()
    run(data, tmp_path / "out", again)
    assert [entry[1] for entry in again.asked] == ["uav123"]


def test_results_of_another_model_or_of_other_data_are_not_gone_on_with(data, tmp_path):
    run(data, tmp_path / "out", Recorder())
    with pytest.raises(UsageError, match="with the checkpoint ours, not theirs"):
        run(data, tmp_path / "out", Recorder(), checkpoint="theirs")
    (tmp_path / "more").mkdir()
    with pytest.raises(UsageError, match="with the data"):
        run(tmp_path / "more", tmp_path / "out", Recorder())
    models = {"elysium": Model("ours", Recorder(), ["evaluate.clip_frames=4"])}
    with pytest.raises(UsageError, match="with the settings"):
        reproduce(load_table("table4"), models, data, tmp_path / "out")
    trained_on = {"elysium": Model("ours", Recorder(), digest="1")}
    with pytest.raises(UsageError, match="with the checkpoint's digest"):
        reproduce(load_table("table4"), trained_on, data, tmp_path / "out")


def test_finished_results_are_looked_for_in_training_data_that_is_named_later(data, tmp_path):
    run(data, tmp_path / "out", Recorder())
    again = Recorder()
    models = {"elysium": Model("ours", again, checks_leaks=True)}
    reproduce(load_table("table4"), models, data, tmp_path / "out")
    assert [entry[1] for entry in again.asked] == ["lasot", "uav123"]


def test_one_folder_serves_several_tables(data, tmp_path):
    run(data, tmp_path / "out", Recorder())
    filled = reproduce(load_table("table6"), {"elysium": Model("ours", Recorder())}, data, tmp_path / "out")
    assert filled.counts == {"data missing": 2}


def test_a_damaged_result_is_measured_again(data, tmp_path, caplog):
    run(data, tmp_path / "out", Recorder())
    (tmp_path / "out" / "sot-lasot" / "metrics.json").write_text("{")
    again = Recorder()
    run(data, tmp_path / "out", again)
    assert [entry[1] for entry in again.asked] == ["lasot"]
    assert "measured again" in caplog.text


def test_what_lacks_a_figure_is_gone_on_with(data, tmp_path):
    """As where the first attempt had no judge, or no Java for METEOR."""
    run(data, tmp_path / "out", Recorder(figures={"auc": 56.1, "precision": 50.1}))
    again = Recorder()
    filled = run(data, tmp_path / "out", again)
    # UAV123 needs no normalised precision.
    assert [entry[1] for entry in again.asked] == ["lasot"]
    assert filled.counts == {"reproduced": 4, "differs": 1}


def test_a_measure_that_measures_something_else_has_failed(data, tmp_path):
    def wrong(task, set_name, folder, output):
        return evaluation("sot-otb", 100, FIGURES)

    filled = run(data, tmp_path / "out", wrong)
    assert filled.counts == {"failed": 5}
    assert "it measured sot-otb instead" in next(cell for _, _, cell in filled.cells()).reasons[0]


def test_several_models_have_a_folder_each(tmp_path):
    for name in ("RefCOCO", "RefCOCO+"):
        (tmp_path / "sets" / name).mkdir(parents=True)
        (tmp_path / "sets" / name / "refs(unc).p").touch()
    asked = []

    def measure(task, set_name, folder, output):
        asked.append(output.relative_to(tmp_path).as_posix())
        raise ElysiumError("no")

    models = {"T-Selector-36": Model("a", measure), "T-Selector-108": Model("b", measure)}
    filled = reproduce(load_table("table7"), models, tmp_path / "sets", tmp_path)
    assert len(asked) == 12
    assert asked[0] == "T-Selector-36/rec-refcoco-val"
    assert asked[-1] == "T-Selector-108/rec-refcoco+-testB"
    # What failed weighs more than what is missing: RefCOCOg is not there.
    assert filled.counts == {"data missing": 7, "failed": 2}


def test_a_model_that_is_no_row_is_refused_before_anything_runs(data, tmp_path):
    with pytest.raises(UsageError, match="no row for a model called 'mine'"):
        reproduce(load_table("table4"), {"mine": Model("x", Recorder())}, data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_results_that_are_there_already_are_taken(data, tmp_path):
    evaluation("sot-lasot", 280, FIGURES).write(tmp_path / "old" / "deep" / "metrics.json")
    measure = Recorder()
    filled = run(data, tmp_path / "out", measure, found=read_results(load_table("table4"), tmp_path / "old"))
    assert [entry[1] for entry in measure.asked] == ["uav123"]
    assert filled.counts == {"reproduced": 4, "differs": 1}


def test_existing_evaluations_fill_a_table_and_say_what_is_not_there(tmp_path):
    evaluation("sot-lasot", 280, FIGURES).write(tmp_path / "a" / "metrics.json")
    evaluation("rec-refcoco-val", 5, {"accuracy": 1.0}).write(tmp_path / "b" / "metrics.json")
    found = read_results(load_table("table4"), tmp_path)["elysium"]
    assert set(found.measured) == {"sot-lasot"}
    assert "no evaluation of sot-uav123" in found.missing["sot-uav123"]
    assert "https://cemse.kaust.edu.sa/ivul/uav123" in found.missing["sot-uav123"]


def test_two_evaluations_of_one_task_are_refused_by_name(tmp_path):
    for name in ("a", "b"):
        evaluation("sot-lasot", 280, FIGURES).write(tmp_path / name / "metrics.json")
    with pytest.raises(UsageError, match=r"sot-lasot is measured twice, in .*a and .*b"):
        read_results(load_table("table4"), tmp_path)


def test_evaluations_of_several_models_lie_in_folders_of_their_names(tmp_path):
    evaluation("rec-refcoco-val", 10_834, {"accuracy": 70.0}).write(tmp_path / "T-Selector-36" / "x" / "metrics.json")
    assert set(read_results(load_table("table7"), tmp_path)) == {"T-Selector-36"}


def test_the_claim_is_plain(data, tmp_path):
    run(data, tmp_path / "out", Recorder())
    claim = json.loads((tmp_path / "out" / "reproduce.json").read_text())
    assert claim == {"elysium": {"checkpoint": "ours", "checkpoint's digest": "", "data": str(data), "settings": []}}
