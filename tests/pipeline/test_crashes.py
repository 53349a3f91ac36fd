"""kill -9 in the middle of long steps: the next run finishes, and its result is an undisturbed run's."""

import os
import signal
import subprocess
import sys
import time

import pytest

from elysium.pipeline.steps import step


@pytest.mark.parametrize(
    ("name", "progress"),
    [("curate", "work/*/*.json"), ("finetune", "trainer/checkpoint-*")],
)
def test_a_step_killed_in_the_middle_ends_as_if_nothing_had_happened(finished, started, elysium, name, progress):
    undisturbed = finished[0].manifest(step(name))
    place = started(name)
    command = [sys.executable, "-m", "elysium.cli", "step", name, "--workspace", str(place.root)]
    process = subprocess.Popen(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None and not any(place.partial(step(name)).glob(progress)):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the step ended before it could be killed: make it longer"
    assert place.manifest(step(name)) is None

    elysium("step", name, "--workspace", place.root, cwd=place.home, check=0)
    assert _content(place.manifest(step(name))) == _content(undisturbed)


def _content(manifest):
    """Checksums of what the step computed; run ids of the model registry and times differ by nature."""
    return {
        path: entry.sha256 for path, entry in manifest.files.items() if path not in ("training.json", "mlflow_run.json")
    }
