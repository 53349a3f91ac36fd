"""The ledger's promise: every video once, none lost, the same bytes however often the work was broken off."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from elysium.config import load_settings
from elysium.curation import curation as module
from elysium.curation import shards
from elysium.curation.curation import curate
from elysium.curation.engine import ahead
from elysium.curation.evidence import VideoRow
from elysium.curation.locating import find_curation
from elysium.curation.sharing import alone
from elysium.curation.step import list_raw
from elysium.data.records import RawClip, read_jsonl, write_jsonl
from elysium.errors import ElysiumError, UsageError

SMALL = ["curate.shard_videos=2", "curate.batch_videos=1", "curate.batch_pieces=1", "engine.decode_ahead=0"]


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def source(raw, tmp_path_factory):
    """Five clips: three simulated ones, one that is no video and one that is gone."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("clips", "annotations"):
        (folder / name).symlink_to(raw / name)
    clips = list(read_jsonl(raw / "manifest.jsonl", RawClip))
    gone = RawClip(id="gone", path="clips/none.mp4", caption="A man walks.", source="x", sha256="0" * 64)
    write_jsonl(folder / "manifest.jsonl", [*clips, gone])
    return folder


@pytest.fixture(scope="module")
def begin(source):
    """Curates the source into a folder."""

    def run(folder, *overrides, share=(0, 1)):
        settings = load_settings("nano", [*SMALL, *overrides])
        listing = list_raw(source, settings.curate)
        return curate(folder, settings, listing, digest=listing.digest, share=share)

    return run


@pytest.fixture(scope="module")
def undisturbed(begin, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, begin(folder)


def test_every_video_has_one_outcome_in_the_ledger(undisturbed):
    store = find_curation(undisturbed[0]).store
    rows = [row for shard in range(3) for row in store.ledger(shard)]
    assert [(row.number, row.id) for row in rows] == [
        *((0, "sim-3"), (1, "broken"), (2, "sim-4"), (3, "sim-5"), (4, "gone")),
    ]
    assert {row.id: (row.outcome, row.stage, row.reason) for row in rows if row.id in ("broken", "gone")} == {
        "broken": ("failed", "decode", "unreadable"),
        "gone": ("failed", "fetch", "missing"),
    }
    assert all(row.outcome == "kept" and row.num_tracks > 0 for row in rows if row.id.startswith("sim"))


@pytest.mark.parametrize("at", ["write_block", "_settle_media", "publish"])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_broken_off_anywhere_it_goes_on_and_ends_with_the_same_bytes(
    begin, undisturbed, monkeypatch, tmp_path, at, call
):
    real, calls = getattr(shards.ShardStore, at), []

    def breaking(self, *arguments):
        calls.append(at)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(self, *arguments)

    monkeypatch.setattr(shards.ShardStore, at, breaking)
    with pytest.raises(KeyboardInterrupt):
        begin(tmp_path)
    monkeypatch.undo()
    begin(tmp_path)
    assert content(tmp_path) == content(undisturbed[0])


@pytest.mark.parametrize("renamed", [1, 2])
def test_broken_off_between_the_renames_of_publishing(begin, undisturbed, monkeypatch, tmp_path, renamed):
    real, calls = Path.rename, []

    def breaking(self, target):
        if "curation" not in str(self) and (self.name.endswith(".tmp") or self.parent.name in ("frames", "shards")):
            calls.append(self)
            if len(calls) == renamed:
                raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "rename", breaking)
    with pytest.raises(KeyboardInterrupt):
        begin(tmp_path)
    monkeypatch.undo()
    begin(tmp_path)
    assert content(tmp_path) == content(undisturbed[0])


def test_finished_blocks_are_not_worked_on_again(begin, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        begin(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr("elysium.curation.engine.decode_block", None)
    assert begin(tmp_path)["num_clips"] == 5


def test_machines_may_share_the_work_in_any_order(begin, undisturbed, tmp_path):
    assert begin(tmp_path, share=(1, 2)) is None
    assert not (tmp_path / "train.jsonl").exists()
    assert begin(tmp_path, share=(0, 2)) == undisturbed[1]
    assert content(tmp_path) == content(undisturbed[0])


def test_frames_decoded_ahead_change_nothing(begin, undisturbed, tmp_path):
    begin(tmp_path, "engine.decode_ahead=2")
    assert content(tmp_path) == content(undisturbed[0])


def test_a_shard_that_was_cut_short_is_made_again(begin, undisturbed, tmp_path):
    begin(tmp_path)
    path = tmp_path / "shards" / "00001" / "evidence.parquet"
    path.write_bytes(path.read_bytes()[:-10])
    begin(tmp_path)
    assert content(tmp_path) == content(undisturbed[0])


def test_lost_frames_are_found_by_verifying(begin, tmp_path):
    begin(tmp_path)
    store = find_curation(tmp_path).store
    assert [store.damage(shard, checksums=True) for shard in range(3)] == [None, None, None]
    picture = sorted((tmp_path / "frames" / "00001").rglob("*.jpg"))[0]
    picture.write_bytes(picture.read_bytes()[:-1] + b"x")
    assert store.damage(1) is None
    assert picture.parent.name in store.damage(1, checksums=True)


def test_a_file_that_cannot_grow_stops_the_run_and_loses_nothing(begin, undisturbed, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        with pytest.raises(OSError, match="large") as error:
            begin(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.errno == errno.EFBIG
    begin(tmp_path)
    assert content(tmp_path) == content(undisturbed[0])


def test_other_settings_need_another_folder(begin, undisturbed):
    with pytest.raises(UsageError, match=r"curate\.min_iou: 0\.3 there, 0\.5 now"):
        begin(undisturbed[0], "curate.min_iou=0.5")


def test_two_processes_do_not_do_the_same_work(begin, tmp_path):
    tmp_path.joinpath("work").mkdir()
    with alone(tmp_path, 0, 1), pytest.raises(ElysiumError, match="another process"):
        begin(tmp_path)


@pytest.mark.parametrize("shares", [((0, 1), (1, 2)), ((1, 4), (1, 2)), ((2, 3), (1, 2))])
def test_shares_with_a_shard_in_common_are_not_done_at_once(tmp_path, shares):
    with alone(tmp_path, *shares[0]), pytest.raises(ElysiumError, match="another process"), alone(tmp_path, *shares[1]):
        pass


def test_shares_without_a_shard_in_common_are(tmp_path):
    with alone(tmp_path, 1, 4), alone(tmp_path, 0, 2), alone(tmp_path, 3, 4):
        pass


def test_killed_with_9_it_goes_on(source, undisturbed, tmp_path):
    output = tmp_path / "out"
    command = [sys.executable, "-m", "elysium.cli", "curate", "run", "--source", str(source), "--output", str(output)]
    command += [word for override in SMALL for word in ("--set", override)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    while not list(output.glob("tracks/work/*/*.json")) and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (output / "tracks" / "train.jsonl").exists()
    done = subprocess.run([*command, "--json"], check=True, capture_output=True, text=True)
    stats = json.loads(done.stdout.splitlines()[-1])["stats"]
    assert stats == undisturbed[1]
    ours, theirs = content(output / "tracks"), content(undisturbed[0])
    assert {name for name in theirs if ours.get(name) != theirs[name]} <= {"plan.json"}


def test_what_runs_ahead_hands_its_error_on():
    def failing():
        yield VideoRow(id="a", caption="")
        raise UsageError("no such part")

    with pytest.raises(UsageError, match="no such part"):
        list(ahead(failing(), 1))


def test_what_could_not_be_fetched_is_fetched_again_on_request(begin, source, undisturbed, tmp_path):
    begin(tmp_path)
    late = source / "clips" / "none.mp4"
    changed = (tmp_path / "shards" / "00000" / "ledger.parquet").stat().st_mtime_ns
    late.write_bytes((source / "clips" / "sim-3.mp4").read_bytes())
    try:
        assert begin(tmp_path)["failures"] == {"missing": 1, "unreadable": 1}
        # Its bytes are not those that the source states, but they are there.
        assert curate_again(tmp_path, source)["failures"] == {"checksum": 1, "unreadable": 1}
    finally:
        late.unlink()
    assert (tmp_path / "shards" / "00000" / "ledger.parquet").stat().st_mtime_ns == changed


def curate_again(folder, source):
    settings = load_settings("nano", SMALL)
    listing = list_raw(source, settings.curate)
    return curate(folder, settings, listing, digest=listing.digest, retry_failed=True)


def test_trouble_at_the_end_of_a_shard_marks_nothing_as_failed(begin, undisturbed, tmp_path, monkeypatch):
    """The first shard is published with a video of which nobody knows yet that it is not to blame."""
    from elysium.curation import fetcher
    from elysium.data.transfer import FetchError

    real = fetcher.fetch_video

    def refused(task, folder, settings):
        if task.number in (1, 2):
            raise FetchError("503 Slow Down", kind="throttled")
        return real(task, folder, settings)

    monkeypatch.setattr(fetcher, "fetch_video", refused)
    with pytest.raises(FetchError, match="2 videos in a row"):
        begin(tmp_path, "ingest.max_failures_in_a_row=2")
    assert find_curation(tmp_path).store.published() == []
    monkeypatch.undo()
    begin(tmp_path)
    ours, theirs = content(tmp_path), content(undisturbed[0])
    assert {name for name in theirs if ours.get(name) != theirs[name]} == set()


def test_trouble_with_the_source_marks_nothing_as_failed(begin, source, undisturbed, tmp_path, monkeypatch):
    from elysium.curation import fetcher
    from elysium.data.transfer import FetchError

    def refused(task, folder, settings):
        raise FetchError("503 Slow Down", kind="throttled")

    monkeypatch.setattr(fetcher, "fetch_video", refused)
    with pytest.raises(FetchError, match="2 videos in a row"):
        begin(tmp_path, "ingest.max_failures_in_a_row=2")
    assert not list(tmp_path.glob("work/*/*.json"))
    monkeypatch.undo()
    begin(tmp_path)
    ours, theirs = content(tmp_path), content(undisturbed[0])
    assert {name for name in theirs if ours.get(name) != theirs[name]} == set()
