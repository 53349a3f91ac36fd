"""The trigger: it goes on from names alone, leaves Jobs to the next triggerer, and takes those of marked tasks away."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from elysium.pipeline.airflow import airflow_environment

SCENES = Path(__file__).with_name("trigger_scenarios.py")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """What came of every scene, played once in a process and a home of its own."""
    home = tmp_path_factory.mktemp("triggerer")
    environment = {**airflow_environment(home), "KUBECONFIG": str(home / "kubeconfig"), "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, str(SCENES), str(home / "kubeconfig")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


def test_a_trigger_made_from_its_serialised_form_waits_for_the_end_and_hands_lines_on(scenes):
    end = {"complete": True, "reason": "two", "exit_code": 0, "tail": ["one", "two"], "again": False}
    assert scenes["complete"]["event"] == end
    assert scenes["complete"]["said"] == ["one", "two"]


def test_a_failed_job_is_an_event_and_no_crash_of_the_trigger(scenes):
    end = scenes["failed"]["event"]
    assert (end["complete"], end["exit_code"], end["tail"]) == (False, 1, ["one", "two"])


def test_a_triggerer_that_stops_leaves_the_job_and_the_next_one_goes_on(scenes):
    assert scenes["left by a triggerer that stops"]
    assert scenes["gone on with"]


@pytest.mark.parametrize("action", ["marked failed", "marked success", "cleared", "mapped, marked failed"])
def test_a_task_that_is_marked_or_cleared_takes_its_job_with_it(scenes, action):
    """apache/airflow 44014: pods of tasks that were marked by hand lived on."""
    assert scenes["removed"][action]


@pytest.mark.parametrize("reason", ["another triggerer's", "runs again", "not known"])
def test_a_job_that_is_still_wanted_stays(scenes, reason):
    assert not scenes["removed"][reason]


def test_airflow_learns_why_a_trigger_was_cancelled_also_before_the_cluster_has_answered(scenes):
    """Airflow calls `on_kill` by the message of the cancellation, which a wait for a thread would lose."""
    assert scenes["cancelled early"] == ["user-action"]
