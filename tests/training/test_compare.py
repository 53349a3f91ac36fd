"""Training runs side by side: from folders and from MLflow, with what differs between them."""

import json
import re

import pytest
from training_data import SETTINGS, write_snapshot

from elysium.cli import run
from elysium.registry.store import open_store
from elysium.training.compare import Run, differences

STEPS = ("steps=10", "logging_steps=1", "batch_size=2", "precision=float32", "coordinate_smoothing=0", "save_steps=50")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two runs that differ in their learning rate."""
    home = tmp_path_factory.mktemp("runs")
    data = write_snapshot(home) / "data"
    for name, rate in (("slow", "1e-4"), ("fast", "1e-3")):
        changes = [*SETTINGS, *(f"training.finetune.{step}" for step in (*STEPS, f"learning_rate={rate}"))]
        words = [word for change in changes for word in ("--set", change)]
        assert run(["train", "run", "finetune", "--data", str(data), "--output", str(home / name), *words]) == 0
    return home


def test_runs_are_drawn_together_with_what_differs(trained, capsys):
    folders, page = [str(trained / name) for name in ("slow", "fast")], trained / "page.html"
    assert run(["train", "compare", *folders, "--output", str(page), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["differences"] == {"learning_rate": [1e-4, 1e-3]}
    losses = [entry["loss"] for entry in json.loads((trained / "fast" / "history.json").read_text())]
    assert told["loss"][folders[1]] == pytest.approx(losses[-1])
    text = page.read_text()
    assert {"loss", "learning_rate", "grad_norm"} == set(re.findall(r"<h2>(\w+)</h2>", text))
    assert len(re.findall("<polyline", text)) == 6
    assert "http" not in text.replace("http://www.w3.org", "")


def test_mlflow_runs_come_with_their_parameters(trained, settings_of, capsys):
    store = open_store(settings_of.registry, trained)
    ids = []
    for start in (3.0, 2.0):
        made = store.client.create_run(store.experiment_id)
        ids.append(made.info.run_id)
        for step in range(1, 21):
            store.client.log_metric(made.info.run_id, "loss", start / step, step=step)
            store.client.log_metric(made.info.run_id, "loss_sot", start, step=step)
        store.client.log_param(made.info.run_id, "batch_size", str(int(start)))
    assert run(["train", "compare", *ids, "--home", str(trained), "--output", str(trained / "p.html"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["loss"][ids[0]] == pytest.approx((3 / 19 + 3 / 20) / 2)
    assert told["differences"] == {"batch_size": ["3", "2"]}
    assert "loss_sot" in (trained / "p.html").read_text()


@pytest.fixture(scope="module")
def settings_of():
    from elysium.config import load_settings

    return load_settings("nano", [])


def test_settings_that_one_run_does_not_say_differ():
    runs = [Run("a", {}, {"steps": 3, "seed": 1}), Run("b", {}, {"steps": 3})]
    assert differences(runs) == {"seed": [1, None]}


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (None, "neither a folder nor an MLflow run's id"),
        ("empty", "holds no whole history.json"),
        ("cut", "holds no whole history.json"),
        ("silent", "has logged no loss yet"),
    ],
)
def test_what_is_no_run_is_told_by_name(tmp_path, made, message, capsys):
    folder = tmp_path / "given"
    if made:
        folder.mkdir()
    if made in ("cut", "silent"):
        (folder / "history.json").write_text('[{"step": 1,' if made == "cut" else "[]")
    assert run(["train", "compare", str(folder), "--output", str(tmp_path / "page.html")]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert str(folder) in told
    assert not (tmp_path / "page.html").exists()


def test_a_chart_has_so_many_colours(trained, capsys):
    assert run(["train", "compare", *[str(trained / "slow")] * 6, "--output", str(trained / "many.html")]) == 2
    assert "a chart holds 5 runs, got 6" in capsys.readouterr().err
