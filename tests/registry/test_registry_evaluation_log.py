"""An evaluation in an MLflow run: figures and files, and none of them twice."""

import pytest
from registry_figures import figures, task, write_json

from elysium.errors import UsageError
from elysium.evaluation.results import Evaluation
from elysium.registry.evaluation_log import log_evaluation, metric_values
from elysium.registry.store import run_of

SPEED = {"frames_per_second": 24.5, "tokens_per_frame": 13.0, "peak_mib": 2048.0}


@pytest.fixture
def folder(tmp_path):
    """An evaluation with a report and tables."""
    folder = tmp_path / "evaluation"
    write_json(folder / "metrics.json", {"tasks": {"sot-lasot": {**task([40.0, 42.0]), "speed": SPEED}}})
    for name in ("report.html", "tables.md", "tables.tex"):
        (folder / name).write_text(name)
    (folder / "predictions.jsonl").write_text("{}\n")
    return folder


def logged(store):
    run = run_of(store, "first", create=False)
    return run.data.metrics, sorted(file.path for file in store.client.list_artifacts(run.info.run_id, "evaluation"))


def test_figures_become_metrics_and_files_artifacts(store, folder):
    log_evaluation(store, "first", folder)
    metrics, files = logged(store)
    assert metrics == {
        "sot-lasot/auc": 41.0,
        "sot-lasot/auc_low": 40.0,
        "sot-lasot/auc_high": 42.0,
        "sot-lasot/num_failures": 0.0,
        "sot-lasot/frames_per_second": 24.5,
        "sot-lasot/tokens_per_frame": 13.0,
        "sot-lasot/peak_mib": 2048.0,
    }
    assert files == [f"evaluation/{name}" for name in ("metrics.json", "report.html", "tables.md", "tables.tex")]


def test_nothing_is_logged_twice(store, folder, monkeypatch):
    log_evaluation(store, "first", folder)
    written = []
    monkeypatch.setattr(type(store.client), "log_artifact", lambda self, run, path, place: written.append(path))
    monkeypatch.setattr(type(store.client), "log_batch", lambda self, run, metrics: written.append(metrics))
    log_evaluation(store, "first", folder)
    assert written == []
    (folder / "report.html").write_text("another")
    log_evaluation(store, "first", folder)
    assert written == [str(folder / "report.html")]


def test_stopped_on_its_way_it_goes_on(store, folder, monkeypatch):
    real = type(store.client).log_artifact

    def until_tables(self, run, path, place):
        if path.endswith(".md"):
            raise KeyboardInterrupt
        real(self, run, path, place)

    with monkeypatch.context() as patched:
        patched.setattr(type(store.client), "log_artifact", until_tables)
        with pytest.raises(KeyboardInterrupt):
            log_evaluation(store, "first", folder)
    log_evaluation(store, "first", folder)
    metrics, files = logged(store)
    assert len(files) == 4
    run = run_of(store, "first", create=False)
    assert len(store.client.get_metric_history(run.info.run_id, "sot-lasot/auc")) == 1
    assert len(metrics) == 7


def test_a_thousand_figures_and_more_are_taken(store, tmp_path):
    many = {"tasks": {f"sot-{number}": task([40.0]) for number in range(300)}}
    write_json(tmp_path / "metrics.json", many)
    log_evaluation(store, "first", tmp_path)
    assert len(logged(store)[0]) == 1200


def test_names_are_such_as_mlflow_takes():
    evaluation = Evaluation.model_validate({"tasks": {"rec-refcoco+-testA": task([40.0])}})
    assert "rec-refcocoplus-testA/auc" in metric_values(evaluation)


def test_a_folder_without_figures_is_refused(store, tmp_path):
    with pytest.raises(UsageError, match=r"metrics\.json does not exist"):
        log_evaluation(store, "first", tmp_path)


def test_what_a_file_lacks_is_no_obstacle(store, tmp_path):
    write_json(tmp_path / "metrics.json", figures([40.0]))
    log_evaluation(store, "first", tmp_path)
    assert logged(store)[1] == ["evaluation/metrics.json"]
