"""A step is one entry and one function: what `docs/pipeline.md` promises, done."""

import json

import pytest

from elysium.pipeline import steps
from elysium.pipeline.execute import run_step
from elysium.pipeline.steps import STEPS, Artifact, Step, StepResult, dependencies
from elysium.pipeline.workspace import Workspace


def count_files(context):
    """The one function of the added step."""
    count = sum(1 for path in context.inputs["raw"].rglob("*") if path.is_file() and path.name != "_manifest.json")
    (context.output / "count.json").write_text(json.dumps({"files": count}))
    return StepResult(summary=f"{count} files", metrics={"files": count})


def take_in(context):
    (context.output / "clip").write_text("clip")
    return StepResult(summary="one clip")


ADDED = Step(
    name="count-files",
    summary="Counts the raw files.",
    function=f"{__name__}:count_files",
    inputs=("raw",),
    output=Artifact("file_count", "file_count", "Metrics"),
    sections=(),
)


@pytest.fixture
def table(monkeypatch):
    monkeypatch.setattr(steps, "STEPS", (*STEPS, ADDED))


@pytest.mark.usefixtures("table")
def test_one_entry_and_one_function_make_a_step(tmp_path):
    place = Workspace.at(tmp_path / "run")
    settings = place.settings("nano")
    ingest = steps.step("ingest")
    taken = Step(**{**ingest.__dict__, "function": f"{__name__}:take_in"})
    run_step(place, taken, settings)
    outcome = run_step(place, steps.step("count-files"), settings)
    assert outcome.manifest.metrics == {"files": 1}
    assert json.loads((place.root / "file_count" / "count.json").read_text()) == {"files": 1}
    assert dependencies(ADDED) == ("ingest",)
