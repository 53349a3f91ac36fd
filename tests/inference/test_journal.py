"""What a kill leaves behind must be enough to go on to the same results."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from elysium.errors import UsageError
from elysium.inference.journal import Journal, identify, journal_path
from elysium.inference.results import FrameResult, TrackedObject

JOB = {"source": {"path": "/a.mp4", "size": 10}, "objects": [{"box": [1, 2, 3, 4]}], "settings": {"stride": 1}}


def result(number):
    noise = np.random.default_rng(number)
    box = tuple(noise.uniform(0, 1e4, 4).tolist())
    first = TrackedObject(1, "a “dög”\n", box, noise.random())
    second = TrackedObject(2, "object 2", None, 1 / 3, visible=False)
    return FrameResult(number, number / 3, (640, 360), (first, second))


def clips(count, size=3):
    return [[result(size * clip + i) for i in range(size)] for clip in range(count)]


def fill(output, count, job=JOB):
    with Journal.open(output, job, resume=False) as journal:
        for number, clip in enumerate(clips(count)):
            journal.append(clip, {"clip": number})


def test_frames_come_back_exactly_and_the_state_with_them(tmp_path):
    fill(tmp_path / "out.mp4", 4)
    with Journal.open(tmp_path / "out.mp4", JOB, resume=True) as journal:
        assert list(journal.replay()) == [frame for clip in clips(4) for frame in clip]
        assert journal.num_frames == 12
        assert journal.state == {"clip": 3}
        assert journal.note == "goes on after 12 frames"


def test_a_run_goes_on_after_it_was_resumed(tmp_path):
    output = tmp_path / "out.mp4"
    fill(output, 2)
    with Journal.open(output, JOB, resume=True) as journal:
        journal.append(clips(3)[2])
        assert journal.state is None
        assert len(list(journal.replay())) == 9
    with Journal.open(output, JOB, resume=True) as journal:
        assert list(journal.replay()) == [frame for clip in clips(3) for frame in clip]


def test_done_removes_the_journal(tmp_path):
    journal = Journal.open(tmp_path / "out.mp4", JOB, resume=False)
    journal.append(clips(1)[0])
    assert [path.name for path in tmp_path.iterdir()] == [".out.mp4.journal.jsonl"]
    journal.close(done=True)
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_resuming_without_a_journal_starts_anew_and_says_so(tmp_path):
    with Journal.open(tmp_path / "new" / "out.mp4", JOB, resume=True) as journal:
        assert journal.num_frames == 0
        assert "there is no unfinished run" in journal.note


def test_without_resume_a_run_starts_anew_and_says_what_is_dropped(tmp_path):
    fill(tmp_path / "out.mp4", 2)
    with Journal.open(tmp_path / "out.mp4", JOB, resume=False) as journal:
        assert list(journal.replay()) == []
        assert "6 frames of an unfinished run are dropped" in journal.note
    with Journal.open(tmp_path / "out.mp4", JOB, resume=False) as journal:
        assert journal.note is None


def test_another_job_is_refused_with_what_differs_and_kept(tmp_path):
    fill(tmp_path / "out.mp4", 2)
    other = {**JOB, "settings": {"stride": 2, "clip": 8}}
    with pytest.raises(UsageError, match=r"settings\.clip was null and is 8; settings\.stride was 1 and is 2\."):
        Journal.open(tmp_path / "out.mp4", other, resume=True)
    with Journal.open(tmp_path / "out.mp4", JOB, resume=True) as journal:
        assert journal.num_frames == 6


def test_a_job_is_the_same_after_its_way_through_json(tmp_path):
    job = {"b": (1, 2), "a": {"x": 0.1}}
    fill(tmp_path / "out.mp4", 1, job)
    Journal.open(tmp_path / "out.mp4", {"a": {"x": 0.1}, "b": [1, 2]}, resume=True).close()


def test_two_processes_do_not_write_one_journal(tmp_path):
    with (
        Journal.open(tmp_path / "out.mp4", JOB, resume=False),
        pytest.raises(UsageError, match="another process is writing"),
    ):
        Journal.open(tmp_path / "out.mp4", JOB, resume=True)


def test_standard_output_cannot_be_resumed():
    with pytest.raises(UsageError, match="name an output file"):
        Journal.open(Path("-"), JOB, resume=True)


def test_a_file_cut_at_any_byte_goes_on_from_a_whole_clip(tmp_path):
    output = tmp_path / "out.mp4"
    fill(output, 3)
    data = journal_path(output).read_bytes()
    frames = [frame for clip in clips(3) for frame in clip]
    for length in range(0, len(data), 7):
        journal_path(output).write_bytes(data[:length])
        with Journal.open(output, JOB, resume=True) as journal:
            got = list(journal.replay())
            assert got == frames[: len(got)]
            assert len(got) % 3 == 0
            assert journal.state == ({"clip": len(got) // 3 - 1} if got else None)
            for clip in clips(3)[len(got) // 3 :]:
                journal.append(clip)
            assert list(journal.replay()) == frames


def test_a_damaged_clip_and_all_after_it_are_dropped(tmp_path):
    output = tmp_path / "out.mp4"
    fill(output, 3)
    lines = journal_path(output).read_bytes().splitlines(keepends=True)
    lines[6] = lines[6].replace(b'"frame":4', b'"frame":5')
    journal_path(output).write_bytes(b"".join(lines))
    with Journal.open(output, JOB, resume=True) as journal:
        assert list(journal.replay()) == clips(1)[0]


def test_lines_are_plain_json(tmp_path):
    fill(tmp_path / "out.mp4", 1)
    lines = [json.loads(line) for line in journal_path(tmp_path / "out.mp4").read_text().splitlines()]
    assert lines[0]["job"] == JOB
    assert [line["frame"] for line in lines[1:-1]] == [0, 1, 2]
    assert lines[-1]["frames"] == 3


def test_a_source_is_known_by_path_size_and_time(tmp_path):
    file = tmp_path / "a.mp4"
    file.write_bytes(b"1234")
    first = identify(file)
    assert identify(str(file)) == first
    file.write_bytes(b"12345")
    assert identify(file) != first
    folder = identify(tmp_path)
    assert folder["files"] == 1
    (tmp_path / "b.jpg").write_bytes(b"")
    assert identify(tmp_path) != folder
    assert identify("rtsp://camera/1") == {"path": "rtsp://camera/1"}
    assert json.loads(json.dumps(folder)) == folder


# A run as the engine makes one: each clip depends on the state after the last, results go to two files. It is killed
# whenever its journal has grown by another piece. All in one process and its forks, as importing takes seconds.
RUNS = """
import os, signal, sys, time
from pathlib import Path
from elysium.inference.drawing import DrawOptions
from elysium.inference.journal import Journal, journal_path
from elysium.inference.results import FrameResult, SourceInfo, TrackedObject
from elysium.inference.writers import open_writer

CLIPS = 60

def run(folder):
    journal = Journal.open(folder / "out.jsonl", {"clips": CLIPS}, resume=True)
    names = (("out.jsonl", "jsonl"), ("out.txt", "mot"), ("out.json", "coco"))
    info = SourceInfo("a", 25, None)
    writers = [open_writer(folder / name, kind, info, options=DrawOptions(), resume=True) for name, kind in names]
    x = (journal.state or {"x": 0.1})["x"]
    for result in journal.replay():
        for writer in writers:
            writer.write(result)
    for clip in range(journal.num_frames // 5, CLIPS):
        results = []
        for frame in range(5 * clip, 5 * clip + 5):
            x = 3.99 * x * (1 - x)  # chaotic: a state that is not exact shows
            found = TrackedObject(1, "a car", (100 * x, 1.0, 200.0 * x + 5, 9.0), x)
            results.append(FrameResult(frame, frame / 25, (640, 360), (found,)))
        journal.append(results, {"x": x})
        for result in results:
            for writer in writers:
                writer.write(result)
    for writer in writers:
        writer.finish()
    journal.close(done=True)

whole, killed = Path(sys.argv[1]), Path(sys.argv[2])
run(whole)
for size in range(1000, 30000, 2500):
    child = os.fork()
    if child == 0:
        run(killed)
        os._exit(0)
    path = journal_path(killed / "out.jsonl")
    while not path.exists() or path.stat().st_size < size:
        if os.waitpid(child, os.WNOHANG)[0]:
            sys.exit("the run was done before it could be killed")
        time.sleep(0.0001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert not (killed / "out.txt").exists()
    print(path.read_bytes().count(b"state"), flush=True)
run(killed)
"""


def test_a_run_that_is_killed_again_and_again_ends_the_same(tmp_path):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    run = subprocess.run(
        [sys.executable, "-c", RUNS, str(tmp_path / "whole"), str(tmp_path / "killed")],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    clips_kept = [int(line) for line in run.stdout.splitlines()]
    assert len(clips_kept) == 12
    assert clips_kept == sorted(clips_kept)
    assert clips_kept[0] < 10 < clips_kept[-1]
    whole, killed = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("whole", "killed"))
    assert sorted(whole) == ["out.json", "out.jsonl", "out.txt"]
    assert killed == whole
