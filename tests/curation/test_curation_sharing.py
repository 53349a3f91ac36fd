"""Several processes at one curation: claims, shares, and who makes the data set."""

import os
import subprocess
import sys
import threading

import pytest

from elysium.config import load_settings
from elysium.curation import sharing
from elysium.curation.curation import curate
from elysium.curation.shards import ShardStore
from elysium.curation.step import list_raw
from elysium.errors import ElysiumError, UsageError

SMALL = ["curate.shard_videos=2"]


def begin(raw, folder, *overrides, share=(0, 1)):
    settings = load_settings("nano", [*SMALL, *overrides])
    listing = list_raw(raw, settings.curate)
    return curate(folder, settings, listing, digest=listing.digest, share=share)


class Log:
    """Says when a process begins to wait."""

    def __init__(self, monkeypatch):
        self.waiting = threading.Event()
        monkeypatch.setattr(sharing.logger, "info", lambda *_: self.waiting.set())


def test_those_that_finish_together_make_the_data_set_once(tmp_path, monkeypatch):
    log, results, made = Log(monkeypatch), [], []
    store = ShardStore(tmp_path, load_settings("nano", SMALL).curate)
    (tmp_path / "shards" / "00000").mkdir(parents=True)
    (tmp_path / "shards" / "00000" / "manifest.json").write_text("{}")
    second = threading.Thread(target=lambda: results.append(sharing.make_data_set(store, 1, publish)))

    def publish(store, num_shards):
        made.append(num_shards)
        second.start()
        assert log.waiting.wait(20)
        (tmp_path / "train.jsonl").write_text("one\n")
        (tmp_path / "stats.json").write_text('{"videos": 2}')
        return {"videos": 2}

    results.append(sharing.make_data_set(store, 1, publish))
    second.join()
    assert (results, made) == ([{"videos": 2}, {"videos": 2}], [1])
    assert not (tmp_path / "work").exists()


def test_what_the_last_one_did_not_finish_is_made_by_the_next(tmp_path):
    store = ShardStore(tmp_path, load_settings("nano").curate)
    (tmp_path / "shards" / "00000").mkdir(parents=True)
    (tmp_path / "shards" / "00000" / "manifest.json").write_text("{}")
    (tmp_path / ".dataset.7.tmp").mkdir()

    def killed(store, num_shards):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sharing.make_data_set(store, 1, killed)
    (tmp_path / "stats.json").write_text("{}")
    assert sharing.make_data_set(store, 1, lambda *_: {}) == {}
    assert not list(tmp_path.glob(".dataset.*"))
    # A shard that was done again makes the data set another one.
    (tmp_path / "shards" / "00000" / "manifest.json").write_text("{ }")
    assert sharing.make_data_set(store, 1, lambda *_: {"anew": 1}) == {"anew": 1}


def test_nobody_s_work_is_cleared_away(tmp_path):
    store = ShardStore(tmp_path, load_settings("nano").curate)
    with sharing.alone(tmp_path, 1, 2):
        (tmp_path / "work" / "00001").mkdir()
        sharing.make_data_set(store, 0, lambda *_: {})
        assert (tmp_path / "work" / "00001").is_dir()
    sharing.make_data_set(store, 0, lambda *_: {})
    assert not (tmp_path / "work").exists()


def test_a_share_is_held_against_other_processes_and_let_go_with_its_own(tmp_path):
    program = (
        "import sys, pathlib; from elysium.curation.sharing import alone\n"
        "with alone(pathlib.Path(sys.argv[1]), 0, 2): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ}) as process:
        assert process.stdout.readline() == b"held\n"
        assert sharing.is_held(tmp_path)
        assert not sharing.is_held(tmp_path, but=(0, 2))
        with pytest.raises(ElysiumError, match="another process is at work"), sharing.alone(tmp_path, 0, 2):
            pass
        with sharing.alone(tmp_path, 1, 2):
            assert sharing.is_held(tmp_path, but=(0, 2))
        process.kill()
    with sharing.alone(tmp_path, 0, 2):
        pass


@pytest.mark.parametrize("count", [1, 3])
def test_shares_of_another_division_are_not_begun_meanwhile(tmp_path, count):
    with (
        sharing.alone(tmp_path, 1, 2),
        pytest.raises(ElysiumError, match="give --shard the same count"),
        sharing.alone(tmp_path, 0, count),
    ):
        pass
    with sharing.alone(tmp_path, 0, count):
        pass


def test_looking_at_a_lock_keeps_nobody_from_beginning(tmp_path, monkeypatch):
    looks = []

    def look(seconds):
        looks.append(seconds)
        looker.close()

    monkeypatch.setattr(sharing.time, "sleep", look)
    with sharing.alone(tmp_path, 0, 1):
        pass
    looker = (tmp_path / "work" / ".share-0-of-1.lock").open("rb")
    sharing.fcntl.flock(looker, sharing.fcntl.LOCK_SH)
    with sharing.alone(tmp_path, 0, 1):
        assert len(looks) == 1


def test_other_settings_are_refused_while_another_share_is_at_work(raw, tmp_path):
    with sharing.alone(tmp_path, 1, 2):
        plan = tmp_path / "plan.json"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("elysium.curation.curation.run_job", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                begin(raw, tmp_path, share=(0, 2))
            before = plan.read_bytes()
            with pytest.raises(UsageError, match=r"curate\.min_iou: 0\.3 there, 0\.5 now"):
                begin(raw, tmp_path, "curate.min_iou=0.5", share=(0, 2))
    assert plan.read_bytes() == before
