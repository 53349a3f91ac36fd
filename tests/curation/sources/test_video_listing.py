import gzip
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from source_servers import Answer

from elysium.config import IngestSettings
from elysium.curation.sources import listing as module
from elysium.curation.sources.listing import Listing, make_listing
from elysium.data.naming import Names
from elysium.errors import ElysiumError, UsageError

FEW = {"num_simulated_train": 3, "num_simulated_evaluation": 2, "simulated_frames": 4}


def write_csv(path, rows, header="videoid,contentUrl,name"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def rows(count, start=0):
    return [f"{n},https://host/{n}.mp4,Clip number {n}." for n in range(start, start + count)]


def listed(source, folder, shard_videos=4, **settings):
    return make_listing(IngestSettings(source=str(source), **settings), folder, shard_videos=shard_videos)


def all_of(listing):
    return [task for index in range(listing.num_shards) for task in listing.shard(index)]


@pytest.fixture
def small_parts(monkeypatch):
    """Files of 8 videos in groups of 4, so that a few videos make many of them."""
    monkeypatch.setattr(module, "_GROUP", 4)
    monkeypatch.setattr(module, "_PART", 8)


def test_a_list_becomes_numbered_tasks_in_its_order(tmp_path, small_parts):
    listing = listed(write_csv(tmp_path / "list.csv", rows(30)), tmp_path / "run", shard_videos=7)
    assert (listing.num_videos, listing.num_shards) == (30, 5)
    assert [len(listing.shard(index)) for index in range(5)] == [7, 7, 7, 7, 2]
    tasks = all_of(listing)
    assert [(task.number, task.id) for task in tasks] == [(n, str(n)) for n in range(30)]
    assert (tasks[17].uri, tasks[17].caption) == ("https://host/17.mp4", "Clip number 17.")
    assert tasks[17].source == "https://host/17.mp4"
    assert {path.name for path in (tmp_path / "run/listing").iterdir()} == {
        *("listing.json", "ids.npy"),
        *(f"part-{part:05d}.parquet" for part in range(4)),
    }


@pytest.mark.parametrize("index", [-1, 5])
def test_there_are_no_other_shards(tmp_path, index):
    with pytest.raises(IndexError, match="has 5 shards"):
        listed(write_csv(tmp_path / "list.csv", rows(20)), tmp_path / "run").shard(index)


@pytest.mark.parametrize("name", ["list.csv.gz", "list.jsonl.gz"])
def test_a_list_may_be_packed(tmp_path, name):
    text = "path,caption\na.mp4,A dog.\n" if "csv" in name else '{"path": "a.mp4", "caption": "A dog."}\n'
    (tmp_path / name).write_bytes(gzip.compress(text.encode()))
    (task,) = listed(tmp_path / name, tmp_path / "run").shard(0)
    assert (task.id, task.uri, task.caption) == ("a", f"{tmp_path}/a.mp4", "A dog.")


def test_a_packed_list_that_is_cut_short_is_told(tmp_path):
    content = gzip.compress("\n".join(["path,caption", *(f"{n}.mp4,{n * n}" for n in range(5000))]).encode())
    (tmp_path / "list.csv.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(UsageError, match=r"list\.csv\.gz is cut short or damaged after row \d+"):
        listed(tmp_path / "list.csv.gz", tmp_path / "run")
    assert not (tmp_path / "run/listing").exists()


def test_a_folder_is_sorted_and_captions_come_from_beside(tmp_path):
    for name in ("b.mp4", "a/z.webm", "a.mp4", "odd\udce9.mp4"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"x")
    (tmp_path / "in/b.txt").write_text("A dog.")
    (tmp_path / "in/a.txt").write_bytes(b"\xff\xfe")
    tasks = all_of(listed(tmp_path / "in", tmp_path / "run"))
    assert [(task.id, task.caption) for task in tasks] == [("a", ""), ("a_z", ""), ("b", "A dog."), ("odd", "")]
    assert [task.problem for task in tasks] == ["a.txt is not UTF-8 text", None, None, "its name is no UTF-8"]
    assert [task.source for task in tasks[:3]] == ["a.mp4", "a/z.webm", "b.mp4"]


def test_the_built_in_source_brings_simulated_clips(tmp_path):
    tasks = all_of(listed("builtin", tmp_path / "run", **FEW))
    assert [task.split for task in tasks] == [None] * 3 + ["train"] * 3 + ["evaluation"] * 2
    assert all(task.uri == task.annotations and task.uri.startswith("simulator:") for task in tasks[3:])
    assert all(task.caption for task in tasks)


@pytest.mark.parametrize("named", ["raw", "raw/manifest.jsonl"])
def test_a_raw_artifact_keeps_splits_checksums_and_annotations(tmp_path, named):
    lines = [
        {"id": "a", "path": "clips/a.mp4", "caption": "A dog.", "source": "here", "licence": "CC0-1.0"},
        {"id": "b", "path": "clips/b.mp4", "caption": "A cat.", "source": "there", "annotations": "annotations/b.json"},
    ]
    lines = [{"sha256": "0" * 64, "split": "evaluation", "annotations": None, **line} for line in lines]
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    first, second = all_of(listed(tmp_path / named, tmp_path / "run"))
    assert (first.uri, first.sha256, first.split) == (f"{tmp_path}/raw/clips/a.mp4", "0" * 64, "evaluation")
    assert (first.licence, first.annotations) == ("CC0-1.0", None)
    assert second.annotations == f"{tmp_path}/raw/annotations/b.json"


def test_another_split_is_told_with_its_line(tmp_path):
    path = write_csv(tmp_path / "list.csv", ["a.mp4,x,train", "b.mp4,x,val"], "path,caption,split")
    with pytest.raises(UsageError, match=r"list\.csv, line 3: the split is train or evaluation, got 'val'"):
        listed(path, tmp_path / "run")


def test_what_cannot_be_fetched_is_known_from_the_list(tmp_path):
    lines = ["a,a.mp4,x", "a,a.mp4,x", "a,b.mp4,x", "d,,x", "e,ftp://host/e.mp4,x", "f,s3://bucket,x"]
    tasks = all_of(listed(write_csv(tmp_path / "list.csv", lines, "id,path,caption"), tmp_path / "run"))
    problems = [task.problem for task in tasks]
    assert (problems[0], problems[1], problems[2]) == (None, "listed before under the same id and address", None)
    assert [part in problem for part, problem in zip(["no path", "'ftp'", "no object"], problems[3:], strict=True)]
    ids = [task.id for task in tasks]
    assert len(set(ids)) == 6
    assert [ids[0], *ids[3:]] == ["a", "d", "e", "f"]


def test_ids_are_unique_over_batches_and_the_same_again(tmp_path):
    wishes = [(f"clip {n % 50}", f"https://host/{n % 400}.mp4") for n in range(1000)]
    whole = Names().give(wishes)
    parts = Names()
    assert [name for start in range(0, 1000, 70) for name in parts.give(wishes[start : start + 70])] == whole
    assert len({name.id for name in whole}) == 1000
    assert [name.repeated for name in whole] == [False] * 400 + [True] * 600
    assert all(set(name.id) <= set("clip_0123456789abcdef-") for name in whole)


def test_the_digest_is_of_what_is_listed_and_not_of_where(tmp_path):
    for folder in ("one", "two"):
        write_csv(tmp_path / folder / "list.csv", ["a,clips/a.mp4,A dog."], "id,path,caption")
    write_csv(tmp_path / "three/list.csv", ["a,clips/a.mp4,A cat."], "id,path,caption")
    digests = [
        listed(tmp_path / folder / "list.csv", tmp_path / f"run-{folder}").digest for folder in ("one", "two", "three")
    ]
    assert digests[0] == digests[1] != digests[2]
    assert listed(tmp_path / "one/list.csv", tmp_path / "again", shard_videos=9).digest == digests[0]


def test_a_listing_is_taken_up_again_and_not_made_again(tmp_path, monkeypatch):
    path = write_csv(tmp_path / "list.csv", rows(10))
    first = listed(path, tmp_path / "run")
    monkeypatch.setattr(module, "list_clips", None)
    os.utime(path, ns=(1, 1))  # only its time is another
    again = listed(path, tmp_path / "run")
    assert (again.digest, all_of(again)) == (first.digest, all_of(first))


def test_a_list_that_changed_since_is_told(tmp_path):
    path = write_csv(tmp_path / "list.csv", rows(10))
    listed(path, tmp_path / "run")
    write_csv(path, rows(11))
    with pytest.raises(UsageError, match=r"list\.csv is not what it was when it was listed .*name another output"):
        listed(path, tmp_path / "run")


def test_a_folder_that_changed_since_is_told(tmp_path):
    for name in ("in/a.mp4", "in/b.mp4"):
        write_csv(tmp_path / name, [])
    listed(tmp_path / "in", tmp_path / "run")
    write_csv(tmp_path / "in/notes.md", [])
    listed(tmp_path / "in", tmp_path / "run")
    (tmp_path / "in/b.mp4").rename(tmp_path / "in/c.mp4")
    with pytest.raises(UsageError, match="some of its 2 videos are others"):
        listed(tmp_path / "in", tmp_path / "run")
    write_csv(tmp_path / "in/b.mp4", [])
    with pytest.raises(UsageError, match="it held 2 videos, now 3"):
        listed(tmp_path / "in", tmp_path / "run")
    write_csv(tmp_path / "in/captions.csv", ["a.mp4,x"], "path,caption")
    with pytest.raises(UsageError, match="it had the version None, now"):
        listed(tmp_path / "in", tmp_path / "run")


def test_another_source_other_counts_and_other_shards_are_told(tmp_path):
    path = write_csv(tmp_path / "list.csv", rows(10))
    listed(path, tmp_path / "run")
    with pytest.raises(UsageError, match=r"lists .*list\.csv, and .*other\.csv was asked for"):
        listed(write_csv(tmp_path / "other.csv", rows(10)), tmp_path / "run")
    with pytest.raises(UsageError, match="begun with 4 videos a shard, got 5: keep to 4"):
        listed(path, tmp_path / "run", shard_videos=5)
    listed("builtin", tmp_path / "built-in", **FEW)
    with pytest.raises(UsageError, match="builtin is not what it was"):
        listed("builtin", tmp_path / "built-in", **FEW, simulated_side=64)


def test_a_list_on_the_web_is_listed_and_its_changes_told(server, tmp_path):
    content = b"path,caption\nclips/a.mp4,A dog.\nhttps://host/b.mp4,A cat.\n"
    address = server.put("/sets/list.csv", Answer(200, content, {"ETag": '"v1"'}))
    source = f"{address}?signature=a/b"
    first, second = listed(source, tmp_path / "run", allow_private_hosts=True).shard(0)
    assert first.uri == f"{server.address}/sets/clips/a.mp4"
    assert second.uri == "https://host/b.mp4"
    listed(source, tmp_path / "run", allow_private_hosts=True)
    server.put("/sets/list.csv", Answer(200, content, {"ETag": '"v2"'}))
    with pytest.raises(UsageError, match='it had the version "v1", now "v2"'):
        listed(source, tmp_path / "run", allow_private_hosts=True)


@pytest.mark.parametrize("column", ["path,annotations", "annotations,path"])
def test_a_list_from_elsewhere_names_no_file_of_this_machine(server, tmp_path, column):
    content = f"{column},caption\na.json,/etc/passwd,x\n".encode()
    source = server.put("/list.csv", Answer(200, content))
    with pytest.raises(UsageError, match="names the local file '/etc/passwd'; a remote list may not do that"):
        listed(source, tmp_path / "run", allow_private_hosts=True)


def test_a_video_is_found_by_its_id(tmp_path, small_parts):
    listing = listed(write_csv(tmp_path / "list.csv", [f"clip-{n},{n}.mp4,x" for n in range(30)]), tmp_path / "run")
    assert [listing.find(f"clip-{n}").number for n in range(30)] == list(range(30))


@pytest.mark.parametrize(
    ("wanted", "near"),
    [("clip-117", "clip-17"), ("clip-1S", "clip-1"), ("lcip-12", "clip-12"), ("CLIP-3", "clip-3"), ("p-29", "clip-29")],
)
def test_the_nearest_id_is_named(tmp_path, small_parts, wanted, near):
    listing = listed(write_csv(tmp_path / "list.csv", [f"clip-{n},{n}.mp4,x" for n in range(30)]), tmp_path / "run")
    with pytest.raises(UsageError, match=f"no video {wanted!r} among the 30 of .*; did you mean '{near}'"):
        listing.find(wanted)


def test_an_id_like_no_other_is_just_not_there(tmp_path):
    listing = listed(write_csv(tmp_path / "list.csv", rows(10)), tmp_path / "run")
    with pytest.raises(UsageError, match=r"among the 10 of [^;]*$"):
        listing.find("something-else")


def test_ids_that_share_a_hash_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "hash_all", lambda texts: np.zeros(len(texts), dtype=np.uint64))
    listing = listed(write_csv(tmp_path / "list.csv", rows(10)), tmp_path / "run")
    assert [listing.find(str(n)).number for n in range(10)] == list(range(10))


@pytest.mark.parametrize("name", ["part-00000.parquet", "ids.npy"])
def test_a_file_that_is_cut_short_is_told(tmp_path, name):
    listed(write_csv(tmp_path / "list.csv", rows(10)), tmp_path / "run")
    path = tmp_path / "run/listing" / name
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ElysiumError, match=rf"damaged \({name} has \d+ bytes instead of \d+\); delete that folder"):
        Listing(tmp_path / "run")


def test_bytes_that_turned_are_told(tmp_path):
    listing = listed(write_csv(tmp_path / "list.csv", rows(200)), tmp_path / "run")
    path, right = tmp_path / "run/listing/part-00000.parquet", all_of(listing)
    whole, told = path.read_bytes(), []
    for place in range(100, 2000, 100):
        content = bytearray(whole)
        content[place] ^= 0xFF
        path.write_bytes(content)
        try:
            assert listing.tasks(0, 200) == right  # some bytes say nothing that is read
        except ElysiumError as error:
            told.append(str(error))
    assert len(told) > 10
    assert all("is damaged (part-00000.parquet: " in message for message in told)


def test_a_full_disk_is_told_and_nothing_is_left(tmp_path, monkeypatch):
    def full(rows):
        raise OSError(28, "No space left on device")

    path = write_csv(tmp_path / "list.csv", rows(10))
    with monkeypatch.context() as patch:
        patch.setattr(module, "_columns", full)
        with pytest.raises(ElysiumError, match="cannot be written: No space left on device; make room there and run"):
            listed(path, tmp_path / "run")
    assert [name.name for name in (tmp_path / "run").iterdir()] == [".listing.lock"]
    assert listed(path, tmp_path / "run").num_videos == 10


def test_no_listing_is_told(tmp_path):
    with pytest.raises(ElysiumError, match="holds no listing"):
        Listing(tmp_path)


def test_a_killed_listing_is_begun_again_and_ends_the_same(tmp_path):
    path = write_csv(tmp_path / "list.csv", rows(20_000))
    code = f"""
        import sys, time
        from pathlib import Path
        from elysium.config import IngestSettings
        from elysium.curation.sources import listing
        listing._PART = 2048
        write = listing._columns
        def slow(rows):
            time.sleep(0.02)
            return write(rows)
        listing._columns = slow
        listing.make_listing(IngestSettings(source={str(path)!r}), Path({str(tmp_path / "run")!r}), shard_videos=256)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    deadline = time.monotonic() + 60
    while not (tmp_path / "run/.listing.partial/part-00001.parquet").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, "it was over before it could be killed"
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "run/listing").exists()
    cut, whole = (listed(path, tmp_path / name, shard_videos=256) for name in ("run", "whole"))
    assert cut.digest == whole.digest
    assert all_of(cut)[-1] == all_of(whole)[-1]
    names = [sorted(file.name for file in (tmp_path / name / "listing").iterdir()) for name in ("run", "whole")]
    assert names[0] == names[1] == ["ids.npy", "listing.json", "part-00000.parquet"]
