"""Bad input through the real command: each has its outcome or a clear error, and nothing finished is lost."""

import csv
import json
import os
import resource
import signal
import socket
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from elysium import cli
from elysium.curation import blocks, ray_engine, shards
from elysium.curation.locating import find_curation
from elysium.curation.sharing import alone
from elysium.data.simulator import simulate
from elysium.data.video import write_video
from elysium.errors import UsageError

CAPTION = "A man walks."
HOSTILE = "<script>alert(1)</script>"
FAST = ("--set", "ingest.retries=0", "--set", "curate.batch_videos=1", "--set", "curate.batch_pieces=1")


def curate(source, output, *options):
    return cli.run(["curate", "run", "--source", str(source), "--output", str(output), *FAST, *options])


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def encode(path, frames, *, times=None, format=None, **options):
    """Writes frames of any sizes one after the other; times are in milliseconds."""
    with av.open(str(path), "w", format=format) as container:
        stream = container.add_stream("libx264", rate=12)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", options
        stream.codec_context.time_base = Fraction(1, 1000 if times else 12)
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = times[number] if times else number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def noise(num_frames, height=64, width=64):
    return list(np.random.default_rng(0).integers(0, 255, (num_frames, height, width, 3), dtype=np.uint8))


def grey(num_frames, height, width):
    return [np.full((height, width, 3), 120, np.uint8)] * num_frames


def joined(path, format):
    """Two streams of different sizes in one file, as a broadcast or a camera that was turned gives them."""
    parts = []
    for height, width, began in ((96, 128, 1000), (192, 256, 2000)):
        part = path.with_name(f"part-{height}")
        encode(part, grey(8, height, width), times=[began + 80 * number for number in range(8)], format=format)
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))


def damaged(path):
    encode(path, noise(12), qp="10")
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) * 2 // 3] = bytes(len(data) * 2 // 3 - len(data) // 3)
    path.write_bytes(data)


def cut_off(path):
    encode(path, noise(12), format="matroska", qp="10")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_frames(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        container.start_encoding()


def sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


TEN_HOURS = [0, 12_000_000, 24_000_000, 36_000_000]

# File, how it is made, and what the ledger says of it: outcome, stage, reason.
FILES = [
    ("still.mp4", lambda path: encode(path, grey(8, 64, 64)), ("rejected", "shots", "static")),
    ("one.mp4", lambda path: encode(path, noise(1)), ("rejected", "shots", "too_short")),
    ("none.mp4", no_frames, ("failed", "decode", "no_video")),
    ("long.mp4", lambda path: encode(path, noise(4), times=TEN_HOURS), ("rejected", "decode", "too_long")),
    ("long.ts", lambda path: encode(path, noise(4), times=TEN_HOURS), ("failed", "decode", "too_long")),
    ("damaged.mp4", damaged, ("failed", "decode", "unreadable")),
    ("cut.mkv", cut_off, ("failed", "decode", "unreadable")),
    ("sizes.ts", lambda path: joined(path, "mpegts"), ("rejected", "shots", "static")),
    ("sizes.mp4", lambda path: joined(path, "h264"), ("rejected", "shots", "static")),
    ("sound.mp4", sound, ("failed", "decode", "no_video")),
    ("playlist.mp4", lambda path: path.write_text("#EXTM3U\nfile:///etc/passwd\n"), ("failed", "decode", "unreadable")),
    ("concat.mp4", lambda path: path.write_text("ffconcat version 1.0\n"), ("failed", "decode", "unreadable")),
    ("text.mp4", lambda path: path.write_text("no video " * 50), ("failed", "decode", "unreadable")),
    ("empty.mp4", lambda path: path.touch(), ("failed", "fetch", "empty")),
    ("missing.mp4", lambda path: None, ("failed", "fetch", "missing")),
    ("pipe.mp4", os.mkfifo, ("failed", "fetch", "missing")),
]

# Id, path and caption of a row, the id it gets, and what the ledger says of it.
_STILL = ("rejected", "shots", "static")
ROWS = [
    ("no-caption", "still.mp4", "", "no-caption", ("rejected", "caption", "empty")),
    ("french", "still.mp4", "Un homme marche dans la rue.", "french", ("rejected", "caption", "not_english")),
    ("chinese", "still.mp4", "一个男人在街上走", "chinese", ("rejected", "caption", "not_english")),
    ("no-path", "", CAPTION, "no-path", ("failed", "fetch", "not_allowed")),
    ("ftp", "ftp://host/a.mp4", CAPTION, "ftp", ("failed", "fetch", "not_allowed")),
    ("nobody", "http://127.0.0.1:9/a.mp4", CAPTION, "nobody", ("failed", "fetch", "unreachable")),
    ("device", "/dev/zero", CAPTION, "device", ("failed", "fetch", "missing")),
    ("folder", ".", CAPTION, "folder", ("failed", "fetch", "missing")),
    ("still_mp4", "still.mp4", CAPTION, "still_mp4-", ("failed", "fetch", "not_allowed")),
    ("still_mp4", "one.mp4", CAPTION, "still_mp4-", ("rejected", "shots", "too_short")),
    ("../x", "still.mp4", CAPTION, "x", _STILL),
    (HOSTILE, "still.mp4", f"{HOSTILE} {CAPTION}", "script_alert_1_script", _STILL),
    ("a\nb", "still.mp4", "A man\nwalks\r\n\x00with a dog.", "a_b", _STILL),
    ("i" * 10_000, "still.mp4", "A man walks. " * 800, "i" * 111, _STILL),
    ("😀", "still.mp4", "A 😀 man walks 🚶.", "clip", _STILL),
    ("مرحبا", "still.mp4", "\u202eA man walks\u202c", "clip-", _STILL),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A list of everything that is wrong, and one good clip in the middle of it."""
    folder = tmp_path_factory.mktemp("bad")
    for name, make, _ in FILES:
        make(folder / name)
    clip = simulate(3, 6, 96)
    write_video(folder / "good.mp4", clip.frames, clip.frame_rate)
    (folder / "good.json").write_text(clip.annotations.model_dump_json())
    rows = [(name.replace(".", "_"), name, CAPTION, "", "") for name, _, _ in FILES]
    rows += [("good", "good.mp4", clip.caption, "good.json", HOSTILE)]
    rows += [(*row[:3], "", "") for row in ROWS]
    with (folder / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "path", "caption", "annotations", "licence"), *rows])
    return folder


@pytest.fixture(scope="module")
def finished(made, tmp_path_factory):
    """The output of the command on the list."""
    output = tmp_path_factory.mktemp("finished") / "run"
    assert curate(made / "list.csv", output) == 0
    return output


@pytest.fixture(scope="module")
def ledger(finished):
    return find_curation(finished).store.ledger(0)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A source of three small videos in which nothing is found: cheap to run on."""
    folder = tmp_path_factory.mktemp("short")
    for name in ("a", "b", "c"):
        encode(folder / f"{name}.mp4", grey(2, 32, 32))
        (folder / f"{name}.txt").write_text(CAPTION)
    return folder


@pytest.fixture(scope="module")
def undisturbed(short, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed") / "run"
    assert curate(short, output) == 0
    return content(output)


@pytest.mark.parametrize(("name", "said"), [(name, said) for name, _, said in FILES])
def test_every_bad_file_has_its_outcome(ledger, name, said):
    (row,) = [row for row in ledger if row.id == name.replace(".", "_")]
    assert (row.outcome, row.stage, row.reason) == said
    assert (row.detail != "") == (row.outcome == "failed")


@pytest.mark.parametrize("number", range(len(ROWS)), ids=lambda number: ascii(ROWS[number][0])[:30])
def test_every_bad_row_has_its_outcome_and_a_safe_id(ledger, number):
    row, (*_, name, said) = ledger[len(FILES) + 1 + number], ROWS[number]
    assert (row.outcome, row.stage, row.reason) == said
    assert row.id == name if not name.endswith(("-", "i")) else row.id.startswith(name)
    assert len(row.id) <= 120


def test_what_is_good_among_it_is_kept_and_written_safely(finished, ledger):
    (good,) = [row for row in ledger if row.outcome == "kept"]
    assert good.id == "good"
    for page in ("contact_sheet.html", "README.md", "funnel.svg"):
        assert HOSTILE not in (finished / "tracks" / page).read_text()
    assert {path.name for path in finished.parent.iterdir()} == {"run"}


def test_messages_name_no_folder_of_this_machine(made, ledger):
    assert not [row.detail for row in ledger if str(made) in row.detail]


def test_frames_of_two_sizes_are_never_in_one_piece(finished):
    for video in ("sizes_ts", "sizes_mp4"):
        _, row = find_curation(finished).find(video)
        assert [piece.size for piece in row.pieces] == [(128, 96), (256, 192)]


@pytest.mark.parametrize("video", ["script_alert_1_script", "a_b", "clip", "missing_mp4"])
def test_hostile_rows_can_be_explained(finished, video, capsys):
    assert cli.run(["curate", "explain", str(finished), video]) == 0
    assert video in capsys.readouterr().out


LISTS = {
    "rows": ("path,caption\n", "bad.csv has no rows"),
    "bytes": ("", r"bad.csv cannot be read: the file is empty"),
    "columns": ("a,b\n1,2\n", "bad.csv has no column for the location"),
    "row": ("path,caption\na.mp4,A man, who walks\n", "bad.csv, line 2: more values than columns"),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_that_is_none_is_told(tmp_path, name, capsys):
    (tmp_path / "bad.csv").write_text(LISTS[name][0])
    assert curate(tmp_path / "bad.csv", tmp_path / "run") == 2
    assert LISTS[name][1] in capsys.readouterr().err


OPTIONS = {
    "shard": (("--shard", "5/4"), "'5/4' is no INDEX/COUNT"),
    "no-shards": (("--shard", "0/0"), "'0/0' is no INDEX/COUNT"),
    "trial": (("--dry-run", "0"), "0 is not in the range"),
    "filter": (
        ("--set", "curate.filters=['first_fame']"),
        "there is no filter 'first_fame'; did you mean 'first_frame'",
    ),
    "part": (("--set", "curate.tracker=nothing"), "there is no tracker 'nothing'"),
    "model": (
        ("--set", "curate.chunker=spacy", "--set", "curate.spacy_model=/nowhere/model"),
        "'/nowhere/model' is not installed and no folder",
    ),
    "address": (("--engine", "local", "--address", "auto"), "--address names a Ray cluster; give --engine ray"),
    "key": (("--set", "curate.min_iuo=0.5"), "did you mean"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_that_cannot_work_is_told_before_anything_is_written(short, tmp_path, name, capsys):
    options, said = OPTIONS[name]
    assert curate(short, tmp_path / "run", *options) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", ["file", "file/below", "loop", "/sys/elysium", "x" * 300])
def test_an_output_that_cannot_be_is_told(short, tmp_path, place, capsys):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert curate(short, tmp_path / place) == 2
    assert "cannot be made or not be written" in capsys.readouterr().err


def test_what_listens_but_is_no_ray_is_told(monkeypatch):
    monkeypatch.setattr(ray_engine, "_ANSWER", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UsageError, match=f"no Ray cluster answers at '{address}'"):
            ray_engine._check_address(address)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("place", ["write_block", "_settle_media"])
def test_a_signal_ends_the_run_with_a_sentence_and_it_goes_on(
    short, undisturbed, tmp_path, monkeypatch, capsys, number, place
):
    real = getattr(shards.ShardStore, place)

    def signalled(*arguments):
        result = real(*arguments)
        os.kill(os.getpid(), number)
        return result

    before = signal.getsignal(number)
    monkeypatch.setattr(shards.ShardStore, place, signalled)
    assert curate(short, tmp_path / "run") == 128 + number
    assert f"stopped by {number.name}; what is finished is kept" in capsys.readouterr().err
    assert signal.getsignal(number) is before
    assert not (tmp_path / "run" / "tracks" / "train.jsonl").exists()
    assert list((tmp_path / "run").glob("tracks/work/*/*.json"))
    monkeypatch.undo()
    assert curate(short, tmp_path / "run") == 0
    assert content(tmp_path / "run") == undisturbed


def test_a_full_disk_stops_the_run_with_a_sentence_and_it_goes_on(short, undisturbed, tmp_path, capsys):
    assert curate(short, tmp_path / "run", "--set", "curate.tracker=nothing") == 2  # which binds the folder to nothing
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        assert curate(short, tmp_path / "run") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "run the same command again" in capsys.readouterr().err
    assert curate(short, tmp_path / "run") == 0
    assert content(tmp_path / "run") == undisturbed


def test_two_runs_at_once_are_told(short, tmp_path, capsys):
    root = tmp_path / "run" / "tracks"
    with alone(root, 0, 1):
        assert curate(short, tmp_path / "run") == 1
    assert "another process is at work" in capsys.readouterr().err


def test_settings_that_finished_nothing_do_not_bind_the_folder(short, undisturbed, tmp_path, monkeypatch):
    monkeypatch.setattr(shards.ShardStore, "write_block", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert curate(short, tmp_path / "run", "--set", "curate.min_iou=0.4") == 130
    monkeypatch.undo()
    assert curate(short, tmp_path / "run") == 0
    assert content(tmp_path / "run") == undisturbed


def test_pieces_that_do_not_fit_into_memory_together_go_one_by_one(caplog):
    def stage(works):
        if len(works) > 1 or works[0].row.vid == "large":
            raise MemoryError("no room")
        return works

    works = tuple(SimpleNamespace(row=SimpleNamespace(vid=vid)) for vid in ("small", "large", "other"))
    group = blocks._each(blocks.Group("00000-000", 0, 0, works, (0, 1, 2)), stage)
    assert (group.works, group.errors) == (works, {1: "no room"})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--set", "curate.min_iou=0.5"), "curate.min_iou: 0.3 there, 0.5 now"),
        (("--set", "curate.filters=['-drift']"), "now"),
        (("--set", "seed=8"), "seed"),
        (("--set", "curate.shard_videos=1"), "videos a shard"),
    ],
)
def test_other_settings_are_told_and_change_nothing(finished, made, options, said, capsys):
    before = content(finished)
    assert curate(made / "list.csv", finished, *options) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert len(shown) < 2500
    assert content(finished) == before


def test_another_source_is_told_and_changes_nothing(finished, short, capsys):
    before = content(finished)
    assert curate(short, finished) == 2
    assert "was asked for: name another output folder" in capsys.readouterr().err
    assert content(finished) == before


def test_a_source_that_changed_is_told(short, tmp_path, capsys):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("a.mp4", "a.txt"):
        (source / name).write_bytes((short / name).read_bytes())
    assert curate(source, tmp_path / "run") == 0
    (source / "b.mp4").write_bytes((short / "b.mp4").read_bytes())
    assert curate(source, tmp_path / "run") == 2
    assert "it held 1 videos, now 2" in capsys.readouterr().err


def test_a_finished_run_is_not_made_again(short, tmp_path, monkeypatch, capsys):
    assert curate(short, tmp_path / "run", "--json") == 0
    shown = [json.loads(capsys.readouterr().out.splitlines()[-1])]
    before = content(tmp_path)
    monkeypatch.setattr("elysium.curation.curation.publish", None)
    assert curate(short, tmp_path / "run", "--json") == 0
    assert shown == [json.loads(capsys.readouterr().out.splitlines()[-1])]
    assert content(tmp_path) == before
    monkeypatch.undo()
    (tmp_path / "run" / "tracks" / "rejects.jsonl").unlink()
    assert curate(short, tmp_path / "run") == 0
    assert content(tmp_path) == before
