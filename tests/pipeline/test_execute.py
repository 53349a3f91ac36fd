"""How a step is skipped, resumed, refused and published, with small steps of this file's own."""

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from elysium.errors import ElysiumError, GateRefused
from elysium.pipeline.execute import run_step
from elysium.pipeline.steps import Artifact, Step, StepResult, step
from elysium.pipeline.workspace import Workspace

HERE = Path(__file__).parent


def write_two_files(context):
    """Writes `first`, perhaps dies, writes `second` that says what it found."""
    found = (context.output / "first").exists()
    (context.output / "first").write_text("first")
    if os.environ.get("DIE_AT") == "middle":
        os.kill(os.getpid(), signal.SIGKILL)
    (context.output / "second").write_text(f"seed {context.settings.seed}")
    return StepResult(summary="resumed" if found else "from the start", metrics={"files": 2})


def refuse(context):
    (context.output / "report.txt").write_text("bad")
    raise GateRefused("3 of 4 clips are too short")


def fill_the_disk(context):
    raise OSError(errno.ENOSPC, "No space left on device", str(context.output / "big"))


def fail(context):
    raise ElysiumError("the clip x.mp4 is not readable")


ROW = Step(
    name="ingest",
    summary="",
    function="test_execute:write_two_files",
    inputs=(),
    output=Artifact("raw", "raw", "Dataset"),
    sections=("seed",),
)


def row(function):
    return dataclasses.replace(ROW, function=f"test_execute:{function}")


@pytest.fixture
def place(tmp_path):
    workspace = Workspace.at(tmp_path / "run")
    workspace.settings("nano")
    return workspace


def test_a_finished_step_is_skipped(place):
    first = run_step(place, ROW, place.settings())
    second = run_step(place, ROW, place.settings())
    assert (first.skipped, second.skipped) == (False, True)
    assert second.manifest == first.manifest
    assert set(first.manifest.files) == {"first", "second"}


def test_other_settings_run_the_step_again_from_the_start(place):
    run_step(place, ROW, place.settings())
    outcome = run_step(place, ROW, place.settings(overrides=("seed=9",)))
    assert (outcome.skipped, outcome.manifest.summary) == (False, "from the start")
    assert (place.folder(ROW) / "second").read_text() == "seed 9"


def test_settings_of_other_sections_do_not_matter(place):
    run_step(place, ROW, place.settings())
    assert run_step(place, ROW, place.settings(overrides=("evaluate.batch_size=3",))).skipped


def digests(settings, name):
    """What a step reads beside its inputs."""
    return {name: os.environ["OUTSIDE"]}


def test_what_is_read_beside_the_inputs_matters(place, monkeypatch):
    reads = dataclasses.replace(ROW, outside="test_execute")
    settings = place.settings("nano")
    skipped = []
    for content in ("old", "old", "new"):
        monkeypatch.setenv("OUTSIDE", content)
        skipped.append(run_step(place, reads, settings).skipped)
    assert skipped == [False, True, False]


def test_a_damaged_output_is_made_again(place):
    run_step(place, ROW, place.settings())
    (place.folder(ROW) / "second").write_text("seed 8")
    assert not run_step(place, ROW, place.settings()).skipped
    assert (place.folder(ROW) / "second").read_text() == "seed 7"


def test_a_refused_gate_publishes_what_it_found_and_runs_again_next_time(place):
    for _ in range(2):
        outcome = run_step(place, row("refuse"), place.settings())
        assert (outcome.manifest.status, outcome.skipped) == ("refused", False)
        assert outcome.manifest.summary == "3 of 4 clips are too short"
        assert (place.folder(ROW) / "report.txt").read_text() == "bad"


def test_nothing_builds_on_a_refused_gate(place):
    run_step(place, row("refuse"), place.settings())
    with pytest.raises(ElysiumError, match="ingest refused: 3 of 4 clips"):
        run_step(place, step("validate-raw"), place.settings())


def test_a_missing_input_names_the_step_to_run(place):
    with pytest.raises(ElysiumError, match="run `elysium step ingest"):
        run_step(place, step("validate-raw"), place.settings())


def test_a_damaged_input_is_named(place):
    run_step(place, ROW, place.settings())
    (place.folder(ROW) / "first").unlink()
    with pytest.raises(ElysiumError, match="first is missing"):
        run_step(place, step("validate-raw"), place.settings())


def test_a_full_disk_is_told_in_plain_words(place):
    with pytest.raises(ElysiumError, match=r"no space left on the device while writing .*big .*free some space"):
        run_step(place, row("fill_the_disk"), place.settings())


def test_a_failed_step_publishes_nothing_and_keeps_the_older_result(place):
    before = run_step(place, ROW, place.settings()).manifest
    with pytest.raises(ElysiumError, match="not readable"):
        run_step(place, row("fail"), place.settings(overrides=("seed=9",)))
    assert place.manifest(ROW) == before


def test_a_step_killed_half_way_goes_on_with_what_it_left(place):
    killed = _run_in_process(place, DIE_AT="middle")
    assert killed == -signal.SIGKILL
    assert not place.folder(ROW).exists()
    assert run_step(place, ROW, place.settings()).manifest.summary == "resumed"


def test_leftovers_of_other_settings_are_thrown_away(place):
    _run_in_process(place, DIE_AT="middle")
    outcome = run_step(place, ROW, place.settings(overrides=("seed=9",)))
    assert outcome.manifest.summary == "from the start"


def test_a_step_killed_just_before_publishing_is_published_without_running_again(place):
    run_step(place, ROW, place.settings())
    place.folder(ROW).rename(place.partial(ROW))
    outcome = run_step(place, ROW, place.settings())
    assert outcome.skipped
    assert place.folder(ROW).is_dir()


def test_two_processes_cannot_run_one_step(place):
    code = f"""
        from pathlib import Path
        from elysium.errors import ElysiumError
        from elysium.pipeline.workspace import Workspace
        import test_execute
        try:
            with Workspace.at({str(place.root)!r}).lock(test_execute.ROW):
                print("got it")
        except ElysiumError as error:
            print(error)
    """
    with place.lock(ROW):
        assert "another process is running step ingest" in _python(code).stdout
    assert "got it" in _python(code).stdout


def _run_in_process(place, **environment):
    code = f"""
        from elysium.pipeline.execute import run_step
        from elysium.pipeline.workspace import Workspace
        import test_execute
        place = Workspace.at({str(place.root)!r})
        run_step(place, test_execute.ROW, place.settings())
    """
    return _python(code, **environment).returncode


def _python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": str(HERE), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
