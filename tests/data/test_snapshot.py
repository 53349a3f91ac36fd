import json
import os
import shutil

import numpy as np
import pytest
import yaml

from elysium.config import SnapshotSettings
from elysium.data.assemble import folder_md5
from elysium.data.snapshot import CONTENT, run
from elysium.data.versions import pull_folder, push_folder, read_pointer, remote_location
from elysium.data.video import write_video
from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.workspace import MANIFEST, scan


@pytest.fixture
def tracks(tmp_path):
    folder = tmp_path / "tracks"
    for number in range(3):
        frame = folder / f"frames/v{number % 2}/{number:06d}.jpg"
        frame.parent.mkdir(parents=True, exist_ok=True)
        frame.write_bytes(bytes([number]) * 100)
    for name, lines in (("train", 2), ("evaluation", 1), ("rejects", 4)):
        (folder / f"{name}.jsonl").write_text('{"n":1}\n' * lines)
    (folder / "stats.json").write_text("{}")
    (folder / MANIFEST).write_text("{}")
    return folder


@pytest.fixture
def context(make_context, tracks, tmp_path):
    inputs = {"raw": tmp_path, "tracks": tracks, "raw_report": tmp_path, "tracks_report": tmp_path}
    return make_context("snapshot", inputs=inputs)


def digests(folder):
    return {name: entry.sha256 for name, entry in scan(folder).items()}


def test_the_snapshot_holds_exactly_the_tracks(context, tracks):
    run(context)
    assert digests(context.output / "data") == digests(tracks)
    assert sorted(path.name for path in context.output.iterdir()) == ["data", "data.dvc", "lineage.json"]
    assert sorted(path.name for path in (context.output / "data").iterdir()) == sorted((*CONTENT, "frames"))


def test_the_content_is_linked_and_not_copied(context, tracks):
    run(context)
    for name in ("train.jsonl", "frames/v0/000000.jpg"):
        assert (context.output / "data" / name).stat().st_ino == (tracks / name).stat().st_ino


def test_without_hard_links_the_content_is_copied(context, tracks, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    run(context)
    assert digests(context.output / "data") == digests(tracks)


def test_the_pointer_names_the_content(context):
    result = run(context)
    out = yaml.safe_load((context.output / "data.dvc").read_text())["outs"][0]
    assert out["path"] == "data"
    assert out["md5"] == folder_md5(context.output / "data") == result.metrics["data_hash"]


def test_the_lineage_counts_and_names_no_folder_of_this_machine(context, tmp_path):
    run(context)
    text = (context.output / "lineage.json").read_text()
    lineage = json.loads(text)
    assert {name: lineage["counts"][name] for name in ("train", "evaluation", "rejects", "frames")} == {
        "train": 2,
        "evaluation": 1,
        "rejects": 4,
        "frames": 3,
    }
    assert lineage["data_hash"] == read_pointer(context.output / "data.dvc")
    assert str(tmp_path) not in text + (context.output / "data.dvc").read_text()


def test_the_same_content_gives_the_same_version_and_other_content_another(context, tracks):
    first = run(context).metrics["data_hash"]
    assert run(context).metrics["data_hash"] == first
    (tracks / "stats.json").unlink()
    (tracks / "stats.json").write_text('{"more":1}')
    assert run(context).metrics["data_hash"] != first


def test_a_second_attempt_goes_over_what_a_killed_one_left(context, tracks):
    (context.output / ".dvc/tmp").mkdir(parents=True)
    (context.output / ".dvc/config").write_text("[core]\n  broken")
    (context.output / "data").mkdir()
    (context.output / "data/half.jsonl").write_text("half")
    run(context)
    assert digests(context.output / "data") == digests(tracks)
    assert not (context.output / ".dvc").exists()


def test_tracks_that_lack_a_part_are_named(context, tracks):
    (tracks / "rejects.jsonl").unlink()
    with pytest.raises(ElysiumError, match=r"the tracks hold no rejects\.jsonl"):
        run(context)


def test_an_empty_list_of_rejects_is_kept(context, tracks, tmp_path):
    (tracks / "rejects.jsonl").write_text("")
    version = run(context).metrics["data_hash"]
    pull_folder(version, str(context.home / "dvc-remote"), tmp_path / "back")
    assert (tmp_path / "back/rejects.jsonl").read_bytes() == b""


def test_a_version_comes_back_as_it_was_and_can_be_changed(context, tracks, tmp_path):
    version = run(context).metrics["data_hash"]
    pull_folder(version, str(context.home / "dvc-remote"), tmp_path / "back")
    assert digests(tmp_path / "back") == digests(tracks)
    (tmp_path / "back/stats.json").write_text("edited")
    assert (tracks / "stats.json").read_text() == "{}"
    assert not list(tmp_path.glob(".back*"))


def test_every_version_pushed_comes_back(tmp_path):
    versions = {}
    for number in range(2):
        (tmp_path / f"r{number}/data").mkdir(parents=True)
        (tmp_path / f"r{number}/data/a").write_text(f"content {number}")
        versions[number] = push_folder(tmp_path / f"r{number}", str(tmp_path / "remote"))
    for number, version in versions.items():
        pull_folder(version, str(tmp_path / "remote"), tmp_path / f"back{number}")
        assert (tmp_path / f"back{number}/a").read_text() == f"content {number}"


def test_a_remote_that_does_not_have_the_version_says_so(context, tmp_path):
    run(context)
    with pytest.raises(ElysiumError, match="could not be brought"):
        pull_folder("0" * 32 + ".dir", str(context.home / "dvc-remote"), tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_damaged_remote_is_noticed(tmp_path):
    (tmp_path / "r/data").mkdir(parents=True)
    (tmp_path / "r/data/a").write_text("content")
    version = push_folder(tmp_path / "r", str(tmp_path / "remote"))
    (stored,) = (path for path in (tmp_path / "remote").rglob("*") if path.is_file() and path.suffix != ".dir")
    stored.chmod(0o644)
    stored.write_text("damaged")
    with pytest.raises(ElysiumError, match=r"it is damaged|could not be brought"):
        pull_folder(version, str(tmp_path / "remote"), tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_remote_that_is_gone_is_named(tmp_path):
    with pytest.raises(ElysiumError, match=r"nowhere does not exist; .*--remote"):
        pull_folder("0" * 32 + ".dir", str(tmp_path / "nowhere"), tmp_path / "back")


def test_nothing_is_brought_over_something_else(tmp_path):
    (tmp_path / "back").mkdir()
    (tmp_path / "back/mine").write_text("mine")
    with pytest.raises(UsageError, match="exists and is not empty"):
        pull_folder("0" * 32 + ".dir", str(tmp_path), tmp_path / "back")


@pytest.mark.parametrize(
    ("remote", "place"),
    [(None, "{home}/dvc-remote"), ("s3://bucket/dvc", "s3://bucket/dvc"), ("/srv/dvc", "/srv/dvc")],
)
def test_the_remote_lies_beside_the_runs_unless_named(tmp_path, remote, place):
    assert remote_location(SnapshotSettings(remote=remote), tmp_path) == place.format(home=tmp_path)


def test_a_remote_of_another_kind_is_refused(tmp_path):
    with pytest.raises(UsageError, match="neither a folder nor s3"):
        remote_location(SnapshotSettings(remote="gs://bucket"), tmp_path)


def test_clips_are_taken_and_their_frames_counted(context, tracks):
    shutil.rmtree(tracks / "frames")
    (tracks / "clips/00000").mkdir(parents=True)
    write_video(tracks / "clips/00000/v0.mp4", np.zeros((5, 32, 32, 3), dtype=np.uint8), 12)
    run(context)
    assert digests(context.output / "data") == digests(tracks)
    assert json.loads((context.output / "lineage.json").read_text())["counts"]["frames"] == 5


def test_tracks_without_any_media_are_named(context, tracks):
    shutil.rmtree(tracks / "frames")
    with pytest.raises(ElysiumError, match="the tracks hold no frames"):
        run(context)
