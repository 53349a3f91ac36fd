import json

import pytest

from elysium.cli import run
from elysium.config import RegistrySettings
from elysium.data.versions import push_folder
from elysium.pipeline.workspace import Workspace


@pytest.fixture
def home(tmp_path):
    """A runs folder with one run whose snapshot was pushed."""
    workspace = Workspace.at(tmp_path / "runs" / "first")
    workspace.create("nano", [])
    snapshot = workspace.root / "snapshot"
    (snapshot / "data").mkdir(parents=True)
    (snapshot / "data/train.jsonl").write_text("records\n")
    push_folder(snapshot, str(workspace.home / "dvc-remote"))
    return workspace.home


def checkout(home, what, output, *more):
    return run(["data", "checkout", what, "--home", str(home), "--output", str(output), *more])


@pytest.mark.parametrize("what", ["first", "latest"])
def test_a_runs_data_comes_back(home, tmp_path, capsys, what):
    assert checkout(home, what, tmp_path / "back", "--json") == 0
    assert (tmp_path / "back/train.jsonl").read_text() == "records\n"
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["num_files"] == 1
    assert said["data_hash"].endswith(".dir")


def test_a_run_is_also_found_by_its_folder(home, tmp_path):
    assert checkout(tmp_path, str(home / "first"), tmp_path / "back") == 0
    assert (tmp_path / "back/train.jsonl").is_file()


def test_the_remote_may_have_moved(home, tmp_path):
    (home / "dvc-remote").rename(tmp_path / "moved")
    assert checkout(home, "first", tmp_path / "back") == 1
    assert checkout(home, "first", tmp_path / "back", "--remote", str(tmp_path / "moved")) == 0


def test_an_unknown_run_is_bad_usage(home, tmp_path, capsys):
    assert checkout(home, "second", tmp_path / "back") == 2
    assert "there is no run 'second'" in capsys.readouterr().err


def test_a_run_without_snapshot_says_what_to_do(home, tmp_path, capsys):
    (home / "first/snapshot/data.dvc").unlink()
    assert checkout(home, "first", tmp_path / "back") == 1
    assert "run its step snapshot first" in capsys.readouterr().err


def test_a_model_without_registry_is_bad_usage(home, tmp_path, capsys):
    assert checkout(home, "@champion", tmp_path / "back") == 2
    assert "there is no registry" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow")
def test_a_models_data_comes_back_by_version_and_by_alias(home, tmp_path, capsys):
    from elysium.data.versions import POINTER, read_pointer
    from elysium.registry.store import open_store

    store = open_store(RegistrySettings(), home)
    store.client.create_registered_model(store.model_name)
    tags = {
        "elysium.data_hash": read_pointer(home / "first/snapshot" / POINTER),
        "elysium.dvc_remote": str(home / "dvc-remote"),
    }
    version = store.client.create_model_version(store.model_name, str(tmp_path), tags=tags).version
    store.client.create_model_version(store.model_name, str(tmp_path))
    store.client.set_registered_model_alias(store.model_name, "champion", version)
    for number, what in enumerate(["1", "models:/elysium/1", "@champion", "models:/elysium@champion"]):
        assert checkout(home, what, tmp_path / f"back{number}") == 0
        assert (tmp_path / f"back{number}/train.jsonl").read_text() == "records\n"
    assert checkout(home, "7", tmp_path / "none") == 2
    assert "no model version 7" in capsys.readouterr().err
    assert checkout(home, "2", tmp_path / "none") == 1
    assert "does not say which data it was trained on" in capsys.readouterr().err
