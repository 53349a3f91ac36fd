"""What tests share: one finished toy run, a Kubernetes API, an S3 server and the machines that use it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from jobs_api import JobsApi
from object_server import KEYS, serving
from remote_steps import QUICK, RUN

from elysium.data import objects
from elysium.data.objects import ObjectStore
from elysium.pipeline.remote import RemoteWorkspace
from elysium.pipeline.steps import dependencies, step
from elysium.pipeline.workspace import Workspace

TOY = Path(__file__).parents[1] / "toy.yaml"


@pytest.fixture(scope="session")
def toy():
    """The preset of the end-to-end tests."""
    return TOY


@pytest.fixture(scope="session")
def elysium():
    """Runs the command line in a process of its own and returns how it ended."""

    def run(*arguments, cwd, check=None, **options):
        result = subprocess.run(
            [sys.executable, "-m", "elysium.cli", *map(str, arguments)],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
            **options,
        )
        if check is not None:
            assert result.returncode == check, f"exit code {result.returncode}:\n{result.stdout}\n{result.stderr}"
        return result

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory, elysium, worker_id):
    """The workspace of a toy run that went through the local runner, and the JSON it ended with.

    Made once, whichever of pytest's processes asks first; the others wait for it.
    """
    base = tmp_path_factory.getbasetemp()
    home = (base if worker_id == "master" else base.parent) / "finished"
    shown = home / "shown.json"
    with FileLock(f"{home}.lock"):
        if not shown.exists():
            home.mkdir(exist_ok=True)
            arguments = ("pipeline", "run", "--preset", TOY, "--workspace", home / "first", "--json")
            result = elysium(*arguments, cwd=home, check=0)
            shown.write_text(result.stdout.splitlines()[-1])
    return Workspace.at(home / "first"), json.loads(shown.read_text())


@pytest.fixture
def started(finished, tmp_path):
    """Makes a new run that has everything before a step, and nothing of the step or after it."""

    def make(name):
        source, _ = finished
        place = Workspace.at(tmp_path / "run")
        place.settings(str(TOY))
        needed = list(dependencies(step(name)))
        while needed:
            row = step(needed.pop())
            if not place.folder(row).exists():
                shutil.copytree(source.folder(row), place.folder(row))
                needed.extend(dependencies(row))
        return place

    return make


@pytest.fixture
def jobs_api():
    """A server that answers as the Kubernetes API does."""
    with JobsApi().serving() as api:
        yield api


@pytest.fixture(scope="module")
def running():
    with serving() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": server.address}.items():
            patch.setenv(name, value)
        server.client = objects._client(4)
        yield server


@pytest.fixture
def server(running, monkeypatch):
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "MLFLOW_TRACKING_URI", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": running.address}.items():
        monkeypatch.setenv(name, value)
    running.objects.clear()
    running.uploads.clear()
    running.changes.clear()
    running.reads.clear()
    running.denied.clear()
    running.conditions, running.tick = False, 0
    running.on_change = lambda method, key: None
    return running


@pytest.fixture
def one_client(server, monkeypatch):
    """Lets all stores share one client: making one takes a third of a second."""
    monkeypatch.setattr(objects, "_client", lambda threads: server.client)


@pytest.fixture
def machine(server, one_client, tmp_path):
    """Makes the workspace as a machine sees it, with a scratch folder of its own."""

    def make(name="here", run=RUN):
        mirror = Workspace(tmp_path / name / "home" / "run")
        place = RemoteWorkspace(ObjectStore(f"s3://bucket/{run}"), mirror, QUICK)
        place.settings("nano")
        return place

    return make
