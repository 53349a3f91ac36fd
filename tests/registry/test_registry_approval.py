"""A policy with `approval: manual`: the model waits as challenger until somebody agrees, who is written down."""

import json

import pytest
from click.testing import CliRunner
from registry_figures import figures, write_json

from elysium.errors import GateRefused, UsageError
from elysium.pipeline.steps import step
from elysium.pipeline.workspace import Manifest, Workspace
from elysium.registry import models, promotion
from elysium.registry.approval import approve, candidate
from elysium.registry.commands import registry

INPUTS = ("evaluation", "finetune", "snapshot", "tracks_report")
POLICY = "floors: [{task: sot-simulated, metric: auc, minimum: 10}]\napproval: manual\n"


@pytest.fixture
def promote(make_context, home):
    """Runs the step promote of a run with a model of some AUC, and returns its decision."""
    (home / "policy.yaml").write_text(POLICY)

    def run(run_id="first", auc=40.0):
        context = make_context(run_id=run_id, inputs=INPUTS, overrides=[f"promote.policy={home / 'policy.yaml'}"])
        folder = home / run_id
        write_json(folder / "evaluation" / "metrics.json", figures([auc] * 6))
        current = champion_of(home)
        if current is not None:
            write_json(folder / "evaluation" / "champion.json", {**figures([auc] * 6), "version": current})
        write_json(folder / "snapshot" / "lineage.json", {"data_hash": "abc.dir", "counts": {"train": 90}})
        write_json(folder / "tracks_report" / "result.json", {"success": True, "expectations": []})
        write_json(folder / "finetune" / "model" / "config.json", {"model_type": "elysium", "run": run_id})
        result = promotion.run(context)
        return json.loads((context.output / "decision.json").read_text()), result

    return run


def champion_of(home):
    from elysium.config import RegistrySettings
    from elysium.registry.store import open_store

    return models.aliases(open_store(RegistrySettings(), home)).get("champion")


def test_a_model_that_passed_waits_as_challenger(promote, store):
    decision, result = promote()
    assert (decision["promoted"], decision["awaits_approval"]) == (False, True)
    assert "awaits approval" in result.summary
    assert models.aliases(store) == {"challenger": "1"}
    told = candidate(store, models.find(store, "1"))
    assert (told["decision"], told["approval"], told["champion"]) == ("awaits approval", "manual", None)
    assert "sot-simulated auc is 40" in told["card"]


def test_who_approves_is_written_down_and_the_model_is_champion(promote, store):
    promote()
    done = approve(store, models.find(store, "1"), "Ada Lovelace")
    assert (done["champion"], done["approved_by"]) == ("1", "Ada Lovelace")
    assert models.aliases(store) == {"champion": "1"}
    tags = models.find(store, "1").tags
    assert tags["elysium.approved_by"] == "Ada Lovelace"
    assert tags["elysium.decision"] == "promoted"
    assert "Ada Lovelace approved it" in tags["elysium.decision_summary"]
    assert approve(store, models.find(store, "1"), "somebody else")["approved_by"] == "Ada Lovelace"
    assert models.history(store) == ["1"]


def test_an_approval_that_was_killed_half_way_is_completed(promote, store):
    promote()
    models.make_champion(store, "1")
    assert approve(store, models.find(store, "1"), "Ada")["approved_by"] == "Ada"
    assert models.find(store, "1").tags["elysium.decision"] == "promoted"


def test_the_step_run_again_after_an_approval_says_champion(promote, store):
    promote()
    approve(store, models.find(store, "1"), "Ada")
    decision, _ = promote()
    assert (decision["promoted"], decision["approved_by"]) == (True, "Ada")


def test_a_model_that_the_policy_refused_cannot_be_approved(promote, store):
    promote(auc=3.0)
    with pytest.raises(GateRefused, match="stands not to be approved"):
        approve(store, models.find(store, "1"), "Ada")
    assert models.aliases(store) == {"challenger": "1"}


def test_a_model_that_was_compared_with_another_champion_cannot_be_approved(promote, store):
    promote("first")
    promote("second")
    approve(store, models.find(store, "1"), "Ada")
    with pytest.raises(UsageError, match="was compared with version none as champion, and now it is 1"):
        approve(store, models.find(store, "2"), "Ada")


def test_a_person_must_be_named(promote, store):
    promote()
    with pytest.raises(UsageError, match="--by"):
        approve(store, models.find(store, "1"), " ")


def test_the_commands_find_the_model_of_a_run(promote, store, home):
    decision, result = promote()
    place = Workspace.at(home / "first")
    place.settings("nano", (f"promote.policy={home / 'policy.yaml'}",))
    manifest = Manifest(
        step="promote", status="done", key="", digest="", files={}, summary=result.summary, metrics={}, started="",
        seconds=0, peak_mib=0, code="",
    )  # fmt: skip
    write_json(place.folder(step("promote")) / "decision.json", decision)
    place.folder(step("promote")).joinpath("_manifest.json").write_text(manifest.model_dump_json())
    shown = CliRunner().invoke(registry, ["candidate", "--workspace", str(place.root), "--json"])
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.output.splitlines()[-1])["version"] == "1"
    done = CliRunner().invoke(registry, ["approve", "--by", "Ada", "--workspace", str(place.root), "--json"])
    assert json.loads(done.output.splitlines()[-1])["approved_by"] == "Ada"
    assert models.aliases(store) == {"champion": "1"}
