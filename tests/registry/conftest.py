"""A real MLflow store for every test: the tables are made once a session and copied."""

import shutil

import pytest

from elysium.config import RegistrySettings, load_settings
from elysium.pipeline.steps import StepContext
from elysium.registry.store import open_store


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    home = tmp_path_factory.mktemp("store")
    open_store(RegistrySettings(experiment="unused"), home)
    return home / "mlflow" / "mlflow.db"


@pytest.fixture
def home(tmp_path, empty_store):
    """A folder for runs whose store has its tables and nothing in them."""
    folder = tmp_path / "runs"
    (folder / "mlflow").mkdir(parents=True)
    shutil.copy(empty_store, folder / "mlflow" / "mlflow.db")
    return folder


@pytest.fixture
def store(home):
    return open_store(RegistrySettings(), home)


@pytest.fixture
def make_context(home):
    """Returns a function that gives a step's context in a new run folder."""

    def make(step="promote", run_id="first", overrides=(), inputs=()):
        output = home / run_id / ".partial" / step
        output.mkdir(parents=True, exist_ok=True)
        folders = {name: home / run_id / name for name in inputs}
        return StepContext(step, load_settings("nano", overrides), folders, output, home, run_id)

    return make
