"""Result files, read back by readers that are not ours: PyAV, PIL, json, and each format's public definition."""

import json
import logging
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from elysium.errors import UsageError
from elysium.evaluation.scoring import read_boxes, score_folders
from elysium.inference.drawing import DrawOptions
from elysium.inference.results import FrameResult, SourceInfo, TrackedObject
from elysium.inference.writers import FORMATS, format_of, open_writer

INFO = SourceInfo("clip", 25.0, None)
SUFFIXES = {"jsonl": "jsonl", "otb": "txt", "lasot": "txt", "mot": "txt", "coco": "json"}
VIDEOS = ("mp4", "gif", "webp")


def result(number, *, size=(96, 64), image=True, objects=1, absent=(), timestamp=None):
    found = []
    for id_ in range(1, objects + 1):
        box = (10.0 * id_ + number, 12.0, 10.0 * id_ + number + 20.25, 40.5)
        gone = (number, id_) in absent
        label = "a car" if id_ == 1 else "a dög"
        found.append(TrackedObject(id_, label, None if gone else box, 0.0 if gone else 0.875, not gone))
    picture = np.full((size[1], size[0], 3), 40 + 3 * number % 200, np.uint8) if image else None
    return FrameResult(number, number / 25 if timestamp is None else timestamp, size, tuple(found), picture)


def write(path, results, format=None, info=INFO, options=None, **settings):
    writer = open_writer(path, format, info, options=options or DrawOptions(), **settings)
    for one in results:
        writer.write(one)
    writer.finish()
    return writer


def path_of(folder, format):
    return folder / f"clip.{SUFFIXES.get(format, format)}"


@pytest.mark.parametrize(
    ("name", "format", "expected"),
    [
        ("a.jsonl", None, "jsonl"),
        ("a.json", None, "coco"),
        ("a.MP4", None, "mp4"),
        ("a.gif", None, "gif"),
        ("a.webp", None, "webp"),
        ("-", None, "jsonl"),
        ("a.txt", "lasot", "lasot"),
        ("a.json", "jsonl", "jsonl"),
    ],
)
def test_a_format_goes_by_the_suffix_or_by_its_name(name, format, expected):
    assert format_of(Path(name), format) == expected


@pytest.mark.parametrize(
    ("name", "format", "words"),
    [
        ("a.txt", None, "otb, lasot or mot"),
        ("a.avi", None, "'.avi' means no format"),
        ("a", None, "means no format"),
        ("a.mp4", "avi", "no format 'avi'; there are jsonl"),
        ("-", "mp4", "name an output file"),
    ],
)
def test_an_unclear_format_is_refused_with_the_choices(name, format, words):
    with pytest.raises(UsageError, match=words):
        format_of(Path(name), format)


def test_a_folder_and_a_path_through_a_file_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"is a folder; .*clip\.json"):
        open_writer(tmp_path, "coco", INFO, options=DrawOptions())
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        open_writer(tmp_path / "file" / "a.json", None, INFO, options=DrawOptions())


@pytest.mark.parametrize("format", FORMATS)
def test_folders_are_made_and_nothing_but_the_result_is_left(tmp_path, format):
    path = path_of(tmp_path / "new" / "folder", format)
    writer = write(path, [result(i) for i in range(4)], format)
    writer.finish()
    writer.abort()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert writer.needs_images == (format in VIDEOS)


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "jsonl"])
def test_an_unfinished_run_leaves_the_file_before_it_alone(tmp_path, format):
    path = path_of(tmp_path, format)
    path.write_text("what stood here before")
    writer = open_writer(path, format, INFO, options=DrawOptions())
    for i in range(4):
        writer.write(result(i))
    assert path.read_text() == "what stood here before"
    writer.abort()
    writer.abort()
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "what stood here before"


def test_what_a_killed_run_left_is_written_over(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_writers import *
writers = [open_writer(path_of(Path({str(killed)!r}) / f, f), f, INFO, options=DrawOptions()) for f in FORMATS]
for i in range(9):
    for writer in writers:
        writer.write(result(90 - i, objects=2))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == -signal.SIGKILL
    assert len(list(killed.rglob(".*.part"))) >= 8
    for folder in (whole, killed):
        for format in FORMATS:
            write(path_of(folder / format, format), [result(i, objects=2) for i in range(6)], format)
    expected, got = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")} for folder in (whole, killed)
    )
    assert got == expected


@pytest.mark.parametrize("format", ["jsonl", "otb", "lasot", "mot"])
def test_text_of_no_frames_is_an_empty_file(tmp_path, format):
    path = path_of(tmp_path, format)
    write(path, [], format)
    assert path.read_bytes() == b""


@pytest.mark.parametrize("format", VIDEOS)
def test_a_video_of_no_frames_is_no_file_and_a_warning(tmp_path, format, caplog):
    with caplog.at_level(logging.WARNING):
        write(path_of(tmp_path, format), [], format)
    assert list(tmp_path.iterdir()) == []
    assert "no frame was tracked" in caplog.text


def test_json_lines_can_be_read_after_every_frame(tmp_path):
    writer = open_writer(tmp_path / "a.jsonl", None, INFO, options=DrawOptions())
    expected = []
    for i in range(3):
        writer.write(result(i, objects=2, absent={(1, 2)}))
        expected += result(i, objects=2, absent={(1, 2)}).as_lines()
        text = (tmp_path / "a.jsonl").read_text(encoding="utf-8")
        assert [json.loads(line) for line in text.splitlines()] == expected
    assert expected[3]["box"] is None
    assert "dög" in text
    writer.finish()


def test_json_lines_go_to_standard_output(capsys):
    write(Path("-"), [result(0), result(1)])
    assert [json.loads(line)["frame"] for line in capsys.readouterr().out.splitlines()] == [0, 1]


def test_resumed_json_lines_never_shrink_and_end_the_same(tmp_path):
    path = tmp_path / "a.jsonl"
    write(tmp_path / "whole.jsonl", [result(i) for i in range(8)])
    write(path, [result(i) for i in range(5)])
    with path.open("ab") as file:
        file.write(b'{"frame": 5, "tim')  # torn by a kill
    writer = open_writer(path, None, INFO, options=DrawOptions(), resume=True)
    for i in range(8):
        writer.write(result(i))
        assert len(path.read_text().splitlines()) >= 5
    writer.finish()
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_resumed_json_lines_end_where_the_run_ends(tmp_path):
    path = tmp_path / "a.jsonl"
    write(path, [result(i) for i in range(5)])
    write(path, [result(i) for i in range(3)], resume=True)
    assert len(path.read_text().splitlines()) == 3
    write(path, [result(7)])
    assert len(path.read_text().splitlines()) == 1


@pytest.mark.parametrize("format", ["otb", "lasot"])
def test_box_files_count_pixels_from_one(tmp_path, format):
    write(tmp_path / "clip.txt", [result(i) for i in range(3)], format)
    assert (tmp_path / "clip.txt").read_text().splitlines()[0] == "11.00,13.00,20.25,28.50"
    np.testing.assert_allclose(np.loadtxt(tmp_path / "clip.txt", delimiter=",")[:, 0], [11, 12, 13])


def test_several_objects_are_a_file_each_with_a_row_a_frame(tmp_path):
    results = [result(0), *(result(i, objects=2, absent={(2, 1)}) for i in (1, 2, 3))]
    write(tmp_path / "clip.txt", results, "lasot")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip_1.txt", "clip_2.txt"]
    first, second = read_boxes(tmp_path / "clip_1.txt"), read_boxes(tmp_path / "clip_2.txt")
    assert first.shape == second.shape == (4, 4)
    assert np.isnan(first[:, 0]).tolist() == [False, False, True, False]
    assert np.isnan(second[:, 0]).tolist() == [True, False, False, False]


@pytest.mark.parametrize("format", ["otb", "lasot"])
def test_box_files_are_scored_by_evaluate_score(tmp_path, format):
    results = [result(i, absent={(3, 1)}) for i in range(10)]
    truth = [[10.0 + i + 1, 13.0, 20.25, 28.5] for i in range(10)]
    truth[3] = [2.0, 2.0, 4.0, 4.0]  # in the corner, where a box of zeros would be "precise"
    for folder in ("truth", "predicted"):
        (tmp_path / folder).mkdir()
    np.savetxt(tmp_path / "truth" / "clip.txt", truth, delimiter=",")
    write(tmp_path / "predicted" / "clip.txt", results, format)
    scored = score_folders(tmp_path / "predicted", tmp_path / "truth", format)
    assert scored.frames == 10
    assert scored.short == {}
    assert scored.mean.precision == pytest.approx(90)
    assert scored.mean.auc == pytest.approx(90 * 20 / 21)


def test_mot_files_are_as_motchallenge_defines_them(tmp_path):
    write(tmp_path / "clip.txt", [result(i, objects=2, absent={(4, 2)}) for i in (0, 4, 8)], "mot")
    rows = np.loadtxt(tmp_path / "clip.txt", delimiter=",")
    assert rows.shape == (5, 10)
    assert rows[:, :2].tolist() == [[1, 1], [1, 2], [5, 1], [9, 1], [9, 2]]
    np.testing.assert_allclose(rows[1, 2:], [21, 13, 20.25, 28.5, 0.875, -1, -1, -1])


def test_coco_json_joins_images_annotations_and_tracks(tmp_path):
    write(tmp_path / "clip.json", [result(i, objects=2, absent={(2, 1)}) for i in (0, 2, 4)])
    data = json.loads((tmp_path / "clip.json").read_text(encoding="utf-8"))
    assert data["videos"] == [{"id": 1, "name": "clip", "frame_rate": 25.0, "width": 96, "height": 64}]
    assert data["categories"] == [{"id": 1, "name": "a car"}, {"id": 2, "name": "a dög"}]
    assert [track["category_id"] for track in data["tracks"]] == [1, 2]
    assert [image["frame_id"] for image in data["images"]] == [0, 2, 4]
    assert {(image["width"], image["height"], image["video_id"]) for image in data["images"]} == {(96, 64, 1)}
    images = {image["id"]: image["frame_id"] for image in data["images"]}
    placed = [(images[one["image_id"]], one["track_id"]) for one in data["annotations"]]
    assert placed == [(0, 1), (0, 2), (2, 2), (4, 1), (4, 2)]
    assert len({one["id"] for one in data["annotations"]}) == 5
    first = data["annotations"][0]
    assert first["bbox"] == [10.0, 12.0, 20.25, 28.5]
    assert first["area"] == pytest.approx(20.25 * 28.5, abs=0.01)
    assert first["score"] == 0.875


def test_coco_json_of_no_frames_is_valid(tmp_path):
    write(tmp_path / "clip.json", [])
    data = json.loads((tmp_path / "clip.json").read_text())
    assert data["images"] == data["annotations"] == data["categories"] == []


def decoded(path):
    with av.open(str(path)) as container:
        return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def test_an_mp4_plays_at_the_source_s_own_times(tmp_path):
    times = [10.0, 10.04, 10.08, 10.5, 11.0, 11.01, 13.0]
    write(tmp_path / "a.mp4", [result(i, timestamp=time) for i, time in enumerate(times)])
    frames = decoded(tmp_path / "a.mp4")
    np.testing.assert_allclose([time for time, _ in frames], np.array(times) - 10, atol=1e-4)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.duration * stream.time_base) == pytest.approx(3.04, abs=0.01)


def test_times_that_stand_still_or_go_back_still_play_in_order(tmp_path):
    write(tmp_path / "a.mp4", [result(i, timestamp=time) for i, time in enumerate([1.0, 1.0, 0.5, 2.0])])
    times = [time for time, _ in decoded(tmp_path / "a.mp4")]
    assert len(times) == 4
    assert times == sorted(set(times))


@pytest.mark.parametrize(("size", "expected"), [((97, 63), (98, 64)), ((96, 64), (96, 64))])
def test_an_mp4_has_even_sides(tmp_path, size, expected):
    write(tmp_path / "a.mp4", [result(i, size=size) for i in range(3)])
    assert Image.fromarray(decoded(tmp_path / "a.mp4")[0][1]).size == expected


def test_boxes_are_in_the_picture_where_the_result_says(tmp_path):
    write(tmp_path / "a.mp4", [result(i, size=(320, 240)) for i in range(5)], options=DrawOptions(labels=False))
    before, after = decoded(tmp_path / "a.mp4")[4][1].astype(int), np.full((240, 320, 3), 52)
    ys, xs = np.nonzero(np.abs(before - after).sum(-1) > 60)
    assert abs(xs.min() - 14) <= 4
    assert abs(xs.max() - 34) <= 4
    assert abs(ys.min() - 12) <= 4
    assert abs(ys.max() - 40) <= 4


def test_a_stream_that_changes_its_size_keeps_the_first(tmp_path):
    write(tmp_path / "a.mp4", [result(0), result(1, size=(200, 100)), result(2)])
    assert {frame.shape for _, frame in decoded(tmp_path / "a.mp4")} == {(64, 96, 3)}


def test_a_cut_off_video_is_whole_up_to_there(tmp_path):
    """Ctrl-C: the engine stops writing and finishes."""
    writer = open_writer(tmp_path / "a.mp4", None, INFO, options=DrawOptions())
    for i in range(7):
        writer.write(result(i))
    writer.finish()
    assert len(decoded(tmp_path / "a.mp4")) == 7


@pytest.mark.parametrize("format", VIDEOS)
def test_the_same_results_give_the_same_bytes(tmp_path, format):
    results = [result(i, objects=2) for i in range(12)]
    write(tmp_path / f"a.{format}", results)
    write(tmp_path / f"b.{format}", results)
    assert (tmp_path / f"a.{format}").read_bytes() == (tmp_path / f"b.{format}").read_bytes()


@pytest.mark.parametrize("format", VIDEOS)
def test_results_without_images_make_no_video(tmp_path, format):
    writer = open_writer(tmp_path / f"a.{format}", None, INFO, options=DrawOptions())
    with pytest.raises(ValueError, match="frame 3 carries no image"):
        writer.write(result(3, image=False))
    writer.abort()
    assert list(tmp_path.iterdir()) == []


def animation(path):
    with Image.open(path) as image:
        durations = []
        for number in range(image.n_frames):
            image.seek(number)
            image.load()
            durations.append(image.info["duration"])
        return image.size, durations, image.info.get("loop")


@pytest.mark.parametrize("format", ["gif", "webp"])
def test_an_animation_is_small_thinned_out_and_in_time(tmp_path, format):
    write(tmp_path / f"a.{format}", [result(i, size=(960, 540)) for i in range(25)])
    size, durations, loop = animation(tmp_path / f"a.{format}")
    assert size == (480, 270)
    assert len(durations) == 13
    assert set(durations[:-1]) == {80}
    assert loop == 0


@pytest.mark.parametrize("format", ["gif", "webp"])
def test_an_animation_keeps_uneven_times(tmp_path, format):
    write(tmp_path / f"a.{format}", [result(i, timestamp=t) for i, t in enumerate([5.0, 5.5, 5.6, 7.0])])
    _, durations, _ = animation(tmp_path / f"a.{format}")
    assert durations[:3] == [500, 100, 1400]


@pytest.mark.parametrize("format", ["gif", "webp"])
def test_an_animation_of_one_small_odd_frame(tmp_path, format):
    write(tmp_path / f"a.{format}", [result(0, size=(33, 17))])
    with Image.open(tmp_path / f"a.{format}") as image:
        assert image.size == (33, 17)


@pytest.mark.parametrize("format", ["gif", "webp"])
def test_an_animation_looks_like_its_frames(tmp_path, format):
    ramp = np.linspace(0, 255, 320)[None, :, None]
    image = np.broadcast_to(ramp * [1, 0.6, 0.3], (240, 320, 3)).astype(np.uint8)
    results = [FrameResult(i, i / 10, (320, 240), (), np.roll(image, 9 * i, axis=1)) for i in range(5)]
    write(tmp_path / f"a.{format}", results)
    with Image.open(tmp_path / f"a.{format}") as shown:
        shown.seek(4)
        difference = np.asarray(shown.convert("RGB")).astype(int) - results[4].image
    assert np.abs(difference).mean() < 6
    assert abs(difference.mean()) < 3


def test_many_frames_need_no_more_memory(tmp_path):
    """In a process of its own: the peak of this one is that of all tests before."""
    script = f"""
import resource, sys
import numpy as np
from pathlib import Path
from elysium.inference.drawing import DrawOptions
from elysium.inference.results import FrameResult, SourceInfo, TrackedObject
from elysium.inference.writers import open_writer
names = ("a.mp4", "a.gif", "a.json")
folder, info = Path({str(tmp_path)!r}), SourceInfo("a", 25, None)
writers = [open_writer(folder / name, None, info, options=DrawOptions()) for name in names]
image = np.zeros((360, 640, 3), np.uint8)
peaks = []
for i in range(120):
    found = TrackedObject(1, "a car", (10.0 + i, 10.0, 60.0 + i, 90.0), 0.5)
    for writer in writers:
        writer.write(FrameResult(i, i / 25, (640, 360), (found,), image))
    if i in (39, 119):
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
for writer in writers:
    writer.finish()
print(peaks[1] - peaks[0])
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    grown = float(run.stdout)
    assert grown < 20  # MiB; 80 frames alone are 53
