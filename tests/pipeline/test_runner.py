import json
import os
import re
import subprocess
import sys

import pytest

from elysium.errors import UsageError
from elysium.pipeline.runner import failure_lines, find_run, new_run, run_process
from elysium.pipeline.steps import STEPS, step
from elysium.pipeline.workspace import Workspace


def elysium(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "elysium.cli", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )


def test_new_runs_never_share_a_folder(tmp_path):
    first = new_run(tmp_path)
    first.mkdir()
    assert new_run(tmp_path) != first


def test_runs_are_found_by_id_by_path_and_by_age(tmp_path):
    for number, name in enumerate(["old", "new"]):
        Workspace.at(tmp_path / name).settings("nano")
        os.utime(tmp_path / name / "run.json", (number, number))
    assert find_run("old", tmp_path) == tmp_path / "old"
    assert find_run(str(tmp_path / "old"), tmp_path) == tmp_path / "old"
    assert find_run("latest", tmp_path) == tmp_path / "new"
    with pytest.raises(UsageError, match="runs there: new, old"):
        find_run("nope", tmp_path)


def test_a_process_is_logged_as_it_runs_and_its_last_lines_are_kept(tmp_path):
    log = tmp_path / "logs" / "x.log"
    code, tail = run_process([sys.executable, "-c", "for i in range(50): print(i)\nraise SystemExit(3)"], log)
    assert code == 3
    assert tail[-1] == "49"
    assert len(tail) < 50
    assert log.read_text().splitlines() == [str(i) for i in range(50)]


def test_a_killed_process_is_told_as_a_shell_does(tmp_path):
    assert run_process([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], tmp_path / "log")[0] == 137


def test_no_process_outlives_who_waits_for_it(tmp_path):
    processes = []

    def give_up(_):
        raise TimeoutError

    with pytest.raises(TimeoutError):
        run_process(
            [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(600)"],
            *(tmp_path / "log", give_up, processes.append),
        )
    assert processes[0].poll() == -15


def test_a_failure_shows_the_last_lines_and_the_way_on(tmp_path):
    place = Workspace.at(tmp_path / "run")
    text = "\n".join(failure_lines(place, step("curate"), 3, ["one", "two"]))
    assert "curate refused by its quality gate" in text
    assert "    two" in text
    assert f"elysium pipeline run --resume {place.root}" in text


@pytest.mark.parametrize(
    "arguments", [("--help",), ("pipeline", "--help"), ("pipeline", "run", "--help"), ("step", "-h")]
)
def test_help_shows_an_example(arguments, tmp_path):
    result = elysium(*arguments, cwd=tmp_path)
    assert result.returncode == 0
    assert re.search(r"Examples?:", result.stdout) or arguments[-2:] == ("pipeline", "--help")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("step", "nope", "--workspace", "x"), "ingest"),
        (("step", "ingest"), "--workspace"),
        (("step", "ingest", "--workspace", "gs://bucket/x"), "a workspace is a folder"),
        (("step", "ingest", "--workspace", "x", "--set", "ingest.sorce=1"), "did you mean 'ingest.source'"),
        (("pipeline", "run", "--resume", "nope"), "there is no run 'nope'"),
        (("pipeline", "run", "--preset", "nanu"), "did you mean 'nano'"),
        (("pipeline", "run", "--resume", "a", "--workspace", "b"), "leave --workspace out"),
        (("nope",), "No such command 'nope'"),
    ],
)
def test_bad_usage_ends_with_2_and_one_line_before_anything_runs(arguments, message, tmp_path):
    result = elysium(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_failed_step_ends_the_run_with_its_last_lines_and_a_report(tmp_path):
    source = tmp_path / "clips.csv"
    source.touch()
    result = elysium(
        "pipeline", "run", "--workspace", tmp_path / "run", "--set", f"ingest.source={source}", "--json", cwd=tmp_path
    )
    assert result.returncode in (1, 2)
    assert "step ingest failed" in result.stderr
    assert "clips.csv" in result.stderr
    assert "--resume" in result.stderr
    shown = json.loads(result.stdout.splitlines()[-1])
    assert shown["run"] == "run"
    assert shown["steps"] == {}
    assert "<html" in (tmp_path / "run" / "report.html").read_text()


def test_every_step_is_a_choice_of_the_step_command(tmp_path):
    shown = elysium("step", "nope", "--workspace", "x", cwd=tmp_path).stderr
    assert all(row.name in shown for row in STEPS)
