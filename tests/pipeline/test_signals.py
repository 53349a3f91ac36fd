"""A pod that is asked to go: `elysium` is the container's first process, and SIGTERM ends whatever it does."""

import os
import signal
import subprocess
import sys

import pytest

FIRST_PROCESS = "import os, sys; os.getpid = lambda: 1; from elysium.cli import main; main(sys.argv[1:])"


def stop(command, pipe, number=signal.SIGTERM):
    """Sends a signal to a process once it waits for what a pipe has to say."""
    os.mkfifo(pipe)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running, pipe.open("w"):
        running.send_signal(number)
        return running.wait(60), running.stderr.read()


@pytest.mark.parametrize(("name", "number"), [("curate", signal.SIGTERM), ("evaluate", signal.SIGINT)])
def test_any_step_ends_with_one_sentence_that_says_how_to_go_on(tmp_path, name, number):
    command = [sys.executable, "-m", "elysium.cli", "step", name, "--workspace", tmp_path]
    code, said = stop(command, tmp_path / "run.json", number)
    assert code == 128 + number
    assert said.splitlines() == [
        f"error: stopped by {number.name}; what is finished is kept: run the same command again to go on"
    ]


def test_the_first_process_of_a_container_takes_the_signal_in_any_command(tmp_path):
    # Its process id stands in for a container: else the kernel would end it without being asked.
    profile = tmp_path / "profile.yaml"
    manifests = ["pipeline", "manifests", "--workspace", "/workspace/x", "--output", tmp_path, "--profile", profile]
    code, said = stop([sys.executable, "-c", FIRST_PROCESS, *manifests], profile)
    assert code == 128 + signal.SIGTERM
    assert said == "error: stopped by SIGTERM\n"
