"""The commands as people use them: real files in, real files out, stopped, killed and resumed."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import av
import numpy as np
import pytest
from PIL import Image

from elysium.cli import run
from elysium.config import ModelSettings
from elysium.data.simulator import simulate
from elysium.data.video import iterate_video, write_video
from elysium.inference.journal import journal_path
from elysium.model import build_model

TINY = ModelSettings(
    num_visual_tokens=4,
    vision={"image_size": 32, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    llm={"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
)  # fmt: skip
BOX = "10,12,60,50"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    for part in build_model(TINY, seed=0):
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    write_video(path, simulate(1, 20, 96).frames, 12)
    return path


@pytest.fixture
def elysium(checkpoint, capsys):
    """Runs a command and gives exit code, standard output's lines and standard error."""

    def command(*arguments):
        code = run([*map(str, arguments), "--checkpoint", str(checkpoint)])
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err

    return command


def start(checkpoint, *arguments, **options):
    """The same in a process of its own."""
    command = [sys.executable, "-m", "elysium.cli", *map(str, arguments), "--checkpoint", str(checkpoint)]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_without_an_output_each_frame_and_object_is_a_line(elysium, video):
    code, lines, _ = elysium("track", video, "--box", BOX, "--expression", "a circle")
    found = [json.loads(line) for line in lines]
    assert code == 0
    assert [(line["frame"], line["object"]) for line in found] == [(n, i) for n in range(20) for i in (1, 2)]
    assert found[0] | {"confidence": 1.0} == found[0]
    assert found[0]["box"] == [10, 12, 60, 50]
    assert {line["label"] for line in found} == {"object 1", "a circle"}
    for line in found:
        x1, y1, x2, y2 = line["box"]
        assert 0 <= x1 <= x2 <= 96
        assert 0 <= y1 <= y2 <= 96
        assert 0 < line["confidence"] <= 1
        assert line["timestamp"] == pytest.approx(line["frame"] / 12, abs=1e-4)


def test_several_files_of_one_run_tell_the_same(elysium, video, tmp_path):
    names = ["a.jsonl", "a.json", "a.mp4", "a.gif", "a.txt"]
    outputs = [argument for name in names for argument in ("--output", tmp_path / name)]
    formats = [argument for kind in ("jsonl", "coco", "mp4", "gif", "mot") for argument in ("--format", kind)]
    code, lines, error = elysium("track", video, "--box", BOX, "--expression", "x", *outputs, *formats)
    assert code == 0
    assert lines == []
    assert "20 frames in" in error
    found = lines_of(tmp_path / "a.jsonl")
    assert len(found) == 40
    coco = json.loads((tmp_path / "a.json").read_text())
    assert len(coco["annotations"]) == 40
    assert len((tmp_path / "a.txt").read_text().splitlines()) == 40
    drawn = [frame.image for frame in iterate_video(tmp_path / "a.mp4")]
    plain = [frame.image for frame in iterate_video(video)]
    assert len(drawn) == 20
    assert all(np.abs(one.astype(int) - other).max() > 100 for one, other in zip(drawn, plain, strict=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names), "nothing else is left behind"


def test_frames_keep_their_numbers_with_range_and_stride(elysium, video):
    _, lines, _ = elysium("track", video, "--expression", "x", "--start", 3, "--stop", 17, "--stride", 4)
    assert [json.loads(line)["frame"] for line in lines] == [3, 7, 11, 15]


def test_a_list_may_give_each_video_its_own_objects(elysium, video, tmp_path, monkeypatch):
    entries = [{"source": str(video), "boxes": [[1, 2, 30, 40]]}, {"source": str(video), "expressions": ["a", "b"]}]
    text = "\n".join(["# two", *map(json.dumps, entries), str(video)])
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    code, *_ = elysium("track", "-", "--expression", "c", "--output", tmp_path)
    assert code == 0
    labels = {
        path.name: [line["label"] for line in lines_of(path) if line["frame"] == 0] for path in tmp_path.iterdir()
    }
    assert labels == {"clip.jsonl": ["object 1"], "clip-2.jsonl": ["a", "b"], "clip-3.jsonl": ["c"]}


def test_a_broken_video_is_named_and_the_others_are_whole(elysium, video, tmp_path):
    for name, share in (("a", 1), ("b", 0.7), ("c", 1), ("d", 0)):
        content = video.read_bytes()
        (tmp_path / f"{name}.mp4").write_bytes(content[: int(share * len(content))])
    output = tmp_path / "out"
    code, lines, error = elysium("track", tmp_path / "*.mp4", "--expression", "x", "--output", output, "--json")
    assert code == 1
    assert "d.mp4 is empty" in error
    assert "b.mp4" in error
    report = {video["source"].rpartition("/")[2]: video for video in json.loads(lines[-1])["videos"]}
    assert {name: entry["status"] for name, entry in report.items()} == {
        "a.mp4": "done", "b.mp4": "failed", "c.mp4": "done", "d.mp4": "failed",
    }  # fmt: skip
    for name in "ac":
        assert len(lines_of(output / f"{name}.jsonl")) == 20
    assert len(lines_of(output / "b.jsonl")) == report["b.mp4"]["frames"]


def test_boxes_outside_of_one_video_do_not_stop_the_others(elysium, video, tmp_path):
    write_video(tmp_path / "small.mp4", simulate(2, 5, 32).frames, 12)
    (tmp_path / "large.mp4").write_bytes(video.read_bytes())
    code, _, error = elysium("track", tmp_path / "*.mp4", "--box", "40,40,90,90", "--output", tmp_path / "out")
    assert code == 1
    assert "outside of the first frame, which has 32x32 pixels" in error
    assert len(lines_of(tmp_path / "out" / "large.jsonl")) == 20


def write_long(path, frames=600):
    base = simulate(3, 30, 64).frames
    write_video(path, (base[number % 30] for number in range(frames)), 12)
    return path


def wait_for_clips(process, journal, number=3):
    deadline = time.monotonic() + 120
    while not journal.exists() or journal.read_bytes().count(b'"checksum"') < number:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "no clip came"
        time.sleep(0.005)


def pixels_of(path):
    return [frame.image for frame in iterate_video(path)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_a_run_that_is_cut_off_goes_on_to_the_same_end(elysium, checkpoint, tmp_path, number, code):
    video = write_long(tmp_path / "long.mp4")
    wanted = ("track", video, "--box", "5,5,30,30", "--expression", "a circle", "--absent-below", "0.05")
    whole = [tmp_path / name for name in ("whole.jsonl", "whole.mp4")]
    cut = [tmp_path / name for name in ("cut.jsonl", "cut.mp4")]
    assert elysium(*wanted, "--output", whole[0], "--output", whole[1])[0] == 0

    process = start(checkpoint, *wanted, "--output", cut[0], "--output", cut[1])
    wait_for_clips(process, journal_path(cut[0]))
    process.send_signal(number)
    _, error = process.communicate(timeout=120)
    assert process.returncode == code
    before = len(cut[0].read_text().splitlines()) // 2
    assert 0 < before < 600
    if number != signal.SIGKILL:
        assert "--resume goes on" in error
        assert len(pixels_of(cut[1])) == before, "the file is whole as far as it goes"

    result, lines, error = elysium(*wanted, "--output", cut[0], "--output", cut[1], "--resume", "--json")
    assert result == 0
    assert "goes on after" in error
    assert json.loads(lines[-1])["frames"] < 600, "what was done is not done again"
    assert cut[0].read_text() == whole[0].read_text()
    assert all(np.array_equal(*pair) for pair in zip(pixels_of(cut[1]), pixels_of(whole[1]), strict=True))
    assert not journal_path(cut[0]).exists()


def test_without_pictures_a_resumed_run_begins_where_it_was(elysium, checkpoint, tmp_path):
    video = write_long(tmp_path / "long.mp4")
    wanted = ("track", video, "--expression", "a circle", "--stride", 2, "--start", 1)
    elysium(*wanted, "--output", tmp_path / "whole.jsonl")
    process = start(checkpoint, *wanted, "--output", tmp_path / "cut.jsonl")
    wait_for_clips(process, journal_path(tmp_path / "cut.jsonl"))
    process.kill()
    process.communicate()
    assert elysium(*wanted, "--output", tmp_path / "cut.jsonl", "--resume")[0] == 0
    assert (tmp_path / "cut.jsonl").read_text() == (tmp_path / "whole.jsonl").read_text()


def test_what_is_whole_is_not_done_again(elysium, video, tmp_path):
    wanted = ("track", video, "--expression", "x", "--output", tmp_path / "a.jsonl")
    elysium(*wanted)
    before = (tmp_path / "a.jsonl").stat()
    code, lines, error = elysium(*wanted, "--resume", "--json")
    assert code == 0
    assert "whole already" in error
    assert json.loads(lines[-1])["videos"][0]["status"] == "skipped"
    assert (tmp_path / "a.jsonl").stat().st_mtime_ns == before.st_mtime_ns


def test_another_job_cannot_be_resumed(elysium, checkpoint, tmp_path):
    video = write_long(tmp_path / "long.mp4")
    output = tmp_path / "cut.jsonl"
    process = start(checkpoint, "track", video, "--expression", "a circle", "--output", output)
    wait_for_clips(process, journal_path(output))
    process.kill()
    process.communicate()
    code, _, error = elysium("track", video, "--expression", "a square", "--output", output, "--resume")
    assert code == 2
    assert "a circle" in error
    assert "a square" in error


def test_standard_output_may_be_closed_early(checkpoint, video):
    with start(checkpoint, "track", video, "--expression", "x") as process:
        assert json.loads(process.stdout.readline())["frame"] == 0
        process.stdout.close()
        error = process.stderr.read()
        assert process.wait(timeout=60) == 0
    assert "Error" not in error
    assert "BrokenPipe" not in error


def test_a_stream_is_followed_from_a_pipe(checkpoint, tmp_path):
    with av.open(str(tmp_path / "a.ts"), "w") as container:
        stream = container.add_stream("libx264", rate=12, options={"g": "6"})
        stream.width = stream.height = 64
        for image in simulate(1, 30, 64).frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    with (tmp_path / "a.ts").open("rb") as file:
        process = start(checkpoint, "track", "pipe:", "--expression", "a circle", "--expression", "b", stdin=file)
        output, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    numbers = [json.loads(line)["frame"] for line in output.splitlines()]
    assert numbers == [number for number in range(30) for _ in range(2)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--box", "1,2,3"], "'1,2,3' is no box; write X1,Y1,X2,Y2"),
        (["--box", "9,2,3,8"], "X1 < X2"),
        ([], "nothing to follow"),
        (["--expression", "x", "--stride", "0"], "--stride is at least 1"),
        (["--expression", "x", "--output", "a.txt"], "say which with --format"),
        (["--expression", "x", "--output", "a.avi"], "means no format"),
        (["--expression", "x", "--output", "a.mp4", "--output", "a.mp4"], "the same name"),
        (["--expression", "x", "--format", "mot"], "only jsonl can be written to standard output, got mot"),
        (["--expression", "x", "--resume"], "cannot be resumed"),
        (["--expression", "x", "--absent-below", "2"], "absent_below lies between 0 and 1"),
        (["--expression", "x", "--device", "cuda:7"], "no device cuda:7"),
        (["--expression", "x", "--max-pixels", "0"], "--max-pixels is more than 0"),
    ],
)
def test_bad_arguments_are_told_before_any_work(elysium, video, arguments, message):
    code, lines, error = elysium("track", video, *arguments)
    assert code in (1, 2)
    assert lines == []
    assert message in error


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "there is no checkpoint folder nowhere"),
        ("models:/elysium", "models:/NAME@ALIAS or models:/NAME/VERSION"),
        ("models:/elysium@champion", "there is no registry in"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_told(video, tmp_path, capsys, name, message):
    code = run(["track", str(video), "--expression", "x", "--checkpoint", name, "--home", str(tmp_path)])
    assert code == 2
    assert message in capsys.readouterr().err


def test_two_videos_need_a_folder(elysium, video):
    assert "take one --output, a folder" in elysium("track", video, video, "--expression", "x")[2]


def test_the_champion_of_the_registry_is_the_default(checkpoint, video, tmp_path, capsys):
    from elysium.config import RegistrySettings
    from elysium.registry.models import make_champion, register
    from elysium.registry.store import open_store

    store = open_store(RegistrySettings(), tmp_path)
    make_champion(store, register(store, "a-run", checkpoint, {}, {}).version)
    assert run(["track", str(video), "--box", BOX, "--home", str(tmp_path)]) == 0
    champion = capsys.readouterr().out
    assert run(["track", str(video), "--box", BOX, "--checkpoint", str(checkpoint)]) == 0
    assert capsys.readouterr().out == champion


def test_before_there_is_a_registry_the_checkpoint_that_elysium_carries_answers(video, tmp_path, capsys):
    assert run(["track", str(video), "--box", BOX, "--home", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert run(["track", str(video), "--box", BOX, "--checkpoint", "nano"]) == 0
    assert capsys.readouterr().out == shown.out
    assert "the nano that Elysium carries answers" in shown.err


def test_the_last_line_says_what_the_machine_could_do(elysium, video, tmp_path):
    output = tmp_path / "a.jsonl"
    _, lines, error = elysium("track", video, "--expression", "x", "--output", output, "--speed-of-light", "--json")
    report = json.loads(lines[-1])
    assert report["frames"] == 20
    assert report["passes_per_frame"] > 0
    assert report["speed_of_light"] in error
    assert "frames/s" in report["speed_of_light"]
    assert "could do: encode" in report["speed_of_light"]


def test_without_guesses_the_answers_are_the_same(elysium, video):
    wanted = ("track", video, "--box", BOX, "--expression", "a circle")
    assert elysium(*wanted)[1] == elysium(*wanted, "--no-drafts")[1]


def test_every_object_of_a_name_gets_a_number(elysium, video):
    _, lines, _ = elysium("track", video, "--expression", "every circle", "--multi", "--max-objects", 3)
    first = [json.loads(line) for line in lines if json.loads(line)["frame"] == 0]
    assert 1 <= len(first) <= 3
    assert [line["object"] for line in first] == list(range(1, len(first) + 1))


def test_objects_of_a_picture_are_found_and_drawn(elysium, tmp_path):
    picture = tmp_path / "a.png"
    Image.fromarray(simulate(1, 2, 96).frames[0]).save(picture)
    code, lines, _ = elysium("ground", picture, "a circle", "b", "--output", tmp_path / "b.png", "--json")
    report = json.loads(lines[-1])
    assert code == 0
    assert [entry["label"] for entry in report["objects"]] == ["a circle", "b"]
    assert (report["width"], report["height"]) == (96, 96)
    assert np.abs(np.asarray(Image.open(tmp_path / "b.png")).astype(int) - np.asarray(Image.open(picture))).max() > 100


def test_what_is_in_a_box_is_named(elysium, video, tmp_path):
    picture = tmp_path / "a.png"
    Image.fromarray(simulate(1, 2, 96).frames[0]).save(picture)
    code, lines, _ = elysium("ground", picture, "--box", BOX, "--json")
    assert code == 0
    assert json.loads(lines[-1])["objects"][0]["box"] == [10, 12, 60, 50]
    code, lines, _ = elysium("describe", video, "--box", BOX, "--box", "1,1,20,20", "--json", "--max-tokens", 8)
    report = json.loads(lines[-1])
    assert report["frames"] == 8
    assert [entry["box"] for entry in report["objects"]] == [[10, 12, 60, 50], [1, 1, 20, 20]]
    assert "outside of the frame of 96x96" in elysium("describe", video, "--box", "100,1,120,20")[2]


def test_questions_are_answered_alike_with_the_same_seed(elysium, video):
    def answers(*options):
        _, lines, _ = elysium("ask", video, "What is it?", "Is it red?", "--json", "--max-tokens", 12, *options)
        report = json.loads(lines[-1])
        assert report["frames"] == 16
        return [entry["answer"] for entry in report["answers"]]

    assert len(answers()) == 2
    drawn = answers("--temperature", 2, "--seed", 5)
    assert drawn == answers("--temperature", 2, "--seed", 5)
    assert drawn != answers("--temperature", 2, "--seed", 6)


def test_a_question_shows_as_many_frames_as_the_model_takes(elysium, video):
    code, lines, error = elysium("ask", video, "What is it?", "--max-tokens", 900, "--json")
    shown = json.loads(lines[-1])["frames"]
    assert code == 0
    assert 1 <= shown < 16
    assert f"{shown} frames are shown, as many as the model takes" in error


def test_help_comes_without_loading_a_model():
    code = "import sys; from elysium.cli import run; run(['track', '--help']); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert "--expression" in done.stdout
