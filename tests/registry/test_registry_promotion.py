"""The step `promote` from its inputs to registry and decision, also when it is killed on the way."""

import json
import signal
import subprocess
import sys

import pytest
from registry_figures import figures, write_json

from elysium.config import load_settings
from elysium.errors import ElysiumError
from elysium.registry import models, promotion
from elysium.registry.tracking import champion

GOOD = [40.0, 42.0, 38.0, 45.0, 40.5, 42.0]
INPUTS = ("evaluation", "finetune", "snapshot", "tracks_report")
POLICY = """
floors: [{task: sot-simulated, metric: auc, minimum: 10}]
regression: {tolerance: 0.5, max_drop: 10, metrics: [{task: sot-simulated, metric: auc}]}
"""


@pytest.fixture
def prepare(make_context, home):
    """Returns a function that writes the inputs of a run and gives the step's context."""
    (home / "policy.yaml").write_text(POLICY)

    def prepare(run_id, auc=GOOD, *, against=None, weights="weights", report=True, champion_version=None):
        context = make_context(run_id=run_id, inputs=INPUTS, overrides=[f"promote.policy={home / 'policy.yaml'}"])
        folder = home / run_id
        write_json(folder / "evaluation" / "metrics.json", figures(auc))
        (folder / "evaluation" / "champion.json").unlink(missing_ok=True)
        if against is not None:
            version = {} if champion_version is None else {"version": champion_version}
            write_json(folder / "evaluation" / "champion.json", {**figures(against), **version})
        write_json(folder / "snapshot" / "lineage.json", {"data_hash": "abc.dir", "counts": {"train": 90}})
        result = {"success": report, "expectations": [{"name": "boxes", "success": report}]}
        write_json(folder / "tracks_report" / "result.json", result)
        write_json(folder / "finetune" / "model" / "config.json", {"model_type": "elysium"})
        (folder / "finetune" / "model" / "model.safetensors").write_text(f"{weights} of {run_id}")
        return context

    return prepare


def decision(context):
    return json.loads((context.output / "decision.json").read_text())


def test_the_first_model_that_passes_becomes_champion(prepare, store):
    context = prepare("first")
    result = promotion.run(context)
    assert decision(context)["promoted"]
    assert (decision(context)["version"], decision(context)["champion_before"]) == ("1", None)
    assert "first champion" in result.summary
    assert models.aliases(store) == {"champion": "1"}


def test_a_model_below_a_floor_is_refused_in_plain_words_and_stays_challenger(prepare, store):
    context = prepare("first", [3.0, 4.0])
    result = promotion.run(context)
    assert not decision(context)["promoted"]
    assert "sot-simulated auc is 3.5, the policy asks for at least 10" in result.summary
    assert decision(context)["reasons"] == ["sot-simulated auc is 3.5, the policy asks for at least 10"]
    assert models.aliases(store) == {"challenger": "1"}


def test_a_better_model_replaces_the_champion(prepare, store):
    promotion.run(prepare("first"))
    context = prepare("second", [value + 5 for value in GOOD], against=GOOD, champion_version="1")
    promotion.run(context)
    assert (decision(context)["promoted"], decision(context)["champion_before"]) == (True, "1")
    assert models.aliases(store) == {"champion": "2"}
    assert models.history(store) == ["1", "2"]


def test_a_worse_model_leaves_the_champion_where_it_is(prepare, store):
    promotion.run(prepare("first"))
    context = prepare("second", [value - 5 for value in GOOD], against=GOOD, champion_version="1")
    result = promotion.run(context)
    assert not decision(context)["promoted"]
    assert "version 1 stays" in result.summary
    assert models.aliases(store) == {"champion": "1", "challenger": "2"}


def test_data_that_did_not_pass_its_gate_is_a_reason_to_refuse(prepare, store):
    context = prepare("first", report=False)
    promotion.run(context)
    assert decision(context)["reasons"] == ["data validation: 1 rule broken"]
    assert "champion" not in models.aliases(store)


def test_the_version_carries_its_origin_and_the_decisions_numbers(prepare, store, home):
    promotion.run(prepare("first"))
    tags = models.find(store, "champion").tags
    assert {name: tags[name] for name in ("elysium.run_id", "elysium.data_hash", "elysium.decision")} == {
        "elysium.run_id": "first",
        "elysium.data_hash": "abc.dir",
        "elysium.decision": "promoted",
    }
    assert tags["elysium.dvc_remote"] == str(home / "dvc-remote")
    assert tags["elysium.code_version"].startswith("0.")
    assert tags["elysium.check.floor sot-simulated auc"] == (
        "passed: sot-simulated auc is 41.25, the policy asks for at least 10"
    )


def test_the_champion_is_found_with_its_files_and_figures(prepare, home):
    assert champion(load_settings(), home) is None
    promotion.run(prepare("first"))
    found = champion(load_settings(), home)
    assert found.version == "1"
    assert (found.model / "model.safetensors").read_text() == "weights of first"
    assert found.metrics == figures(GOOD)


def test_asking_for_the_champion_makes_no_store(tmp_path):
    assert champion(load_settings(), tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_champion_whose_files_are_gone_is_told(prepare, home, store):
    promotion.run(prepare("first"))
    model = champion(load_settings(), home).model
    model.rename(model.with_name("moved"))
    with pytest.raises(ElysiumError, match="which is not there"):
        champion(load_settings(), home)


def test_the_figures_are_in_the_runs_mlflow_page(prepare, store):
    context = prepare("first")
    promotion.run(context)
    promotion.run(context)
    from elysium.registry.store import run_of

    run = run_of(store, "first", create=False)
    assert run.data.metrics == {
        "sot-simulated/auc": 41.25,
        "sot-simulated/auc_low": 40.25,
        "sot-simulated/auc_high": 42.25,
        "sot-simulated/num_failures": 0.0,
    }
    assert len(store.client.get_metric_history(run.info.run_id, "sot-simulated/auc")) == 1


def test_the_same_checkpoint_is_registered_once_and_another_one_of_the_run_anew(prepare, store):
    context = prepare("first")
    promotion.run(context)
    first = decision(context)
    promotion.run(context)
    assert decision(context) == first
    context = prepare("first", against=GOOD, weights="other weights", champion_version="1")
    promotion.run(context)
    assert [version.version for version in models.versions(store)] == ["1", "2"]


def test_a_champion_that_changed_since_the_evaluation_is_not_overwritten(prepare, store):
    promotion.run(prepare("first"))
    with pytest.raises(ElysiumError, match="version 1 became champion after this run was evaluated"):
        promotion.run(prepare("second"))
    with pytest.raises(ElysiumError, match="compared with version 9 as champion, now it is version 1"):
        promotion.run(prepare("second", against=GOOD, champion_version="9"))
    assert models.aliases(store)["champion"] == "1"


def test_a_champion_that_no_longer_passes_is_not_taken_down_silently(prepare, store, home):
    promotion.run(prepare("first"))
    (home / "policy.yaml").write_text("floors: [{task: sot-simulated, metric: auc, minimum: 90}]")
    result = promotion.run(prepare("first"))
    assert "champion but no longer passes" in result.summary
    assert models.aliases(store) == {"champion": "1"}


def test_an_evaluation_of_other_data_is_refused(prepare, home):
    context = prepare("first")
    write_json(home / "first" / "snapshot" / "lineage.json", {"data_hash": "other.dir"})
    with pytest.raises(ElysiumError, match=r"made on data abc\.dir, the snapshot is other\.dir"):
        promotion.run(context)


class KilledError(BaseException):
    """Stands for SIGKILL: nothing in the package catches or cleans up after it."""


@pytest.mark.parametrize(
    "point",
    [
        "create_model_version",  # files are copied, no version
        "set_model_version_tag",  # registered, no decision
        "set_registered_model_tag",  # decided, history not written
        "set_registered_model_alias",  # registered, challenger not set
        "delete_registered_model_alias",  # champion already, challenger not yet taken away
    ],
)
def test_stopped_anywhere_the_next_attempt_ends_the_same(prepare, store, monkeypatch, point):
    promotion.run(prepare("first"))
    context = prepare("second", [value + 5 for value in GOOD], against=GOOD, champion_version="1")

    def die(*arguments, **keywords):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(f"mlflow.MlflowClient.{point}", die)
        with pytest.raises(KilledError):
            promotion.run(context)
    promotion.run(context)
    assert [version.version for version in models.versions(store)] == ["1", "2"]
    assert models.aliases(store) == {"champion": "2"}
    assert models.history(store) == ["1", "2"]
    assert (decision(context)["promoted"], decision(context)["champion_before"]) == (True, "1")


KILLED = """
import os, signal, pathlib, sys
from elysium.config import load_settings
from elysium.pipeline.steps import StepContext
from elysium.registry import promotion, models

home = pathlib.Path(sys.argv[1])
folders = {name: home / "first" / name for name in sys.argv[2:]}
settings = load_settings("nano", [f"promote.policy={home / 'policy.yaml'}"])
models.make_champion = lambda store, version: os.kill(os.getpid(), signal.SIGKILL)
promotion.run(StepContext("promote", settings, folders, home / "first" / ".partial" / "promote", home, "first"))
"""


def test_killed_between_registering_and_the_alias_there_is_no_second_version(prepare, home, store):
    context = prepare("first")
    assert subprocess.run([sys.executable, "-c", KILLED, str(home), *INPUTS]).returncode == -signal.SIGKILL
    assert models.aliases(store) == {"challenger": "1"}
    promotion.run(context)
    assert models.aliases(store) == {"champion": "1"}
    assert [version.version for version in models.versions(store)] == ["1"]
