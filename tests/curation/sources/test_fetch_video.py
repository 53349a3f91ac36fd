import errno
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor

import pytest
from source_servers import Answer, File

from elysium.config import IngestSettings
from elysium.curation.sources.fetching import fetch_video
from elysium.curation.sources.listing import make_listing
from elysium.curation.sources.streak import FailureStreak
from elysium.curation.sources.tasks import VideoTask
from elysium.data.records import ClipAnnotations
from elysium.data.transfer import FetchError
from elysium.data.video import probe

CLIP = b"clip" * 1000
ALLOWED = IngestSettings(allow_private_hosts=True, retries=0)


def task(uri, **fields):
    return VideoTask("a-clip", str(uri), "A dog.", "here", **fields, number=0)


def failed(uri, folder, settings=ALLOWED, **fields):
    with pytest.raises(FetchError) as caught:
        fetch_video(task(uri, **fields), folder, settings)
    assert not folder.exists() or list(folder.iterdir()) == []
    return caught.value


def test_a_local_file_is_used_where_it_is(tmp_path):
    (tmp_path / "a.mov").write_bytes(CLIP)
    for uri in (tmp_path / "a.mov", f"file://{tmp_path}/a.mov"):
        video = fetch_video(task(uri), tmp_path / "scratch", ALLOWED)
        assert (video.path, video.sha256) == (tmp_path / "a.mov", hashlib.sha256(CLIP).hexdigest())
        video.remove()
    assert (tmp_path / "a.mov").exists()
    assert not (tmp_path / "scratch").exists()


def test_a_file_from_elsewhere_comes_to_scratch_and_goes_after_use(server, tmp_path):
    address = server.put("/x.WebM", File(CLIP)) + "?token=1"
    video = fetch_video(task(address), tmp_path / "scratch", ALLOWED)
    assert video.path == tmp_path / "scratch/a-clip.webm"
    assert video.path.read_bytes() == CLIP
    video.remove()
    video.remove()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_simulated_clip_is_made_with_its_boxes_and_always_the_same(tmp_path):
    settings = IngestSettings(simulated_frames=4, simulated_side=64)
    seed = task("simulator:7", annotations="simulator:7")
    first, second = (fetch_video(seed, tmp_path / name, settings) for name in ("one", "two"))
    assert first.sha256 == second.sha256 == hashlib.sha256(first.path.read_bytes()).hexdigest()
    boxes = ClipAnnotations.model_validate_json(first.annotations.read_bytes())
    assert probe(first.path).num_frames == len(boxes.objects[0].boxes) == 4
    first.remove()
    assert list((tmp_path / "one").iterdir()) == []


def test_annotations_come_with_the_video_or_the_video_has_failed(server, tmp_path):
    address = server.put("/a.mp4", File(CLIP))
    video = fetch_video(task(address, annotations=server.put("/a.json", File(b"{}"))), tmp_path / "scratch", ALLOWED)
    assert video.annotations.read_bytes() == b"{}"
    video.remove()
    error = failed(address, tmp_path / "scratch", annotations=f"{server.address}/gone.json")
    assert (error.kind, str(error)) == ("missing", "its annotations: the server answered 404 Not Found")
    (tmp_path / "a.mp4").write_bytes(CLIP)
    (tmp_path / "a.json").write_bytes(b"{}")
    video = fetch_video(task(tmp_path / "a.mp4", annotations=str(tmp_path / "a.json")), tmp_path / "scratch", ALLOWED)
    video.remove()
    assert (tmp_path / "a.json").exists()


def test_what_is_wrong_with_one_video_is_its_own_matter(server, tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "large.mp4").write_bytes(bytes(2 << 20))
    (tmp_path / "other.mp4").write_bytes(b"other")
    small = IngestSettings(max_clip_mib=1)
    found = [
        failed(tmp_path / "gone.mp4", tmp_path / "scratch"),
        failed(tmp_path, tmp_path / "scratch"),
        failed(tmp_path / "a\0b.mp4", tmp_path / "scratch"),
        failed(tmp_path / "empty.mp4", tmp_path / "scratch"),
        failed(tmp_path / "large.mp4", tmp_path / "scratch", small),
        failed(tmp_path / "other.mp4", tmp_path / "scratch", sha256=hashlib.sha256(CLIP).hexdigest()),
        failed(server.put("/a.mp4", File(b"other")), tmp_path / "scratch", sha256=hashlib.sha256(CLIP).hexdigest()),
        failed(server.put("/b.mp4", Answer(403)), tmp_path / "scratch"),
        failed(server.address + "/c.mp4", tmp_path / "scratch", IngestSettings()),
        failed("", tmp_path / "scratch", problem="the list names no path or URL"),
    ]
    assert [error.kind for error in found] == [
        *("missing", "missing", "missing", "empty", "too_large", "checksum", "checksum"),
        *("denied", "not_allowed", "not_allowed"),
    ]
    assert {error.scope for error in found} == {"video"}
    assert all(str(tmp_path) not in str(error) for error in found)


def test_a_checksum_may_be_in_capitals(tmp_path):
    (tmp_path / "a.mp4").write_bytes(CLIP)
    wanted = hashlib.sha256(CLIP).hexdigest()
    assert fetch_video(task(tmp_path / "a.mp4", sha256=wanted.upper()), tmp_path, ALLOWED).sha256 == wanted


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_stops_the_run(server, tmp_path, monkeypatch, code):
    class Full(io.FileIO):
        def write(self, content):
            raise OSError(code, "No space left on device")

    monkeypatch.setattr("elysium.data.transfer.Path.open", lambda self, mode: Full(self, mode))
    error = failed(server.put("/a.mp4", File(CLIP)), tmp_path / "scratch")
    assert (error.kind, error.scope) == ("disk", "run")
    assert "make room there and run the same command again" in str(error)


@pytest.mark.parametrize("point", ["gone", "empty"])
def test_a_mount_that_is_lost_stops_the_run(tmp_path, point):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/b.mp4").touch()
    settings = IngestSettings(source=str(tmp_path / "in"))
    assert failed(tmp_path / "in/a.mp4", tmp_path / "scratch", settings).scope == "video"
    (tmp_path / "in/b.mp4").unlink()
    if point == "gone":
        (tmp_path / "in").rmdir()
    error = failed(tmp_path / "in/a.mp4", tmp_path / "scratch", settings)
    assert (error.kind, error.scope) == ("unreachable", "run")
    assert "mount it and run the same command again" in str(error)


def test_threads_fetch_side_by_side(server, tmp_path):
    lines = [f"{n},{server.put(f'/{n}.mp4', File(CLIP + bytes([n])))},x" for n in range(30)]
    (tmp_path / "list.csv").write_text("\n".join(["id,url,caption", *lines]))
    settings = IngestSettings(source=str(tmp_path / "list.csv"), allow_private_hosts=True)
    tasks = make_listing(settings, tmp_path / "run", shard_videos=30).shard(0)
    with ThreadPoolExecutor(8) as pool:
        videos = list(pool.map(lambda one: fetch_video(one, tmp_path / "scratch", settings), tasks))
    assert [video.sha256 for video in videos] == [hashlib.sha256(CLIP + bytes([n])).hexdigest() for n in range(30)]
    assert server.connections <= 8


def error_of(kind, scope="video"):
    return FetchError("slow down", kind=kind, scope=scope)


def test_servers_that_fail_in_a_row_stop_the_run():
    streak = FailureStreak(3)
    streak.note(error_of("throttled"))
    streak.note(error_of("transfer"))
    with pytest.raises(FetchError, match="3 videos in a row could not be fetched, the last: slow down") as caught:
        streak.note(error_of("unreachable"))
    assert (caught.value.kind, caught.value.scope) == ("unreachable", "run")


def test_a_video_that_comes_ends_the_row_and_videos_own_matters_do_not_count():
    streak = FailureStreak(2)
    for kind in ("throttled", "missing", "too_large", "checksum", "empty", "not_allowed"):
        streak.note(error_of(kind))
    assert streak.length == 1
    streak.note(None)
    streak.note(error_of("denied"))
    assert streak.length == 1


def test_what_stops_the_run_stops_it_at_once():
    with pytest.raises(FetchError, match=r"^slow down$"):
        FailureStreak(100).note(error_of("credentials", "run"))
