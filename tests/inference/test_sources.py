"""What a name on the command line means, and what comes of it: files, folders, globs, samples and lists."""

import json

import numpy as np
import pytest
from PIL import Image

from elysium.data.limits import Limits, VideoError
from elysium.errors import UsageError
from elysium.inference.sources import ReadOptions, SourceSpec, expand, open_source

from .made_sources import read, save
from .made_videos import make, numbered, numbers

# One argument of the command


@pytest.mark.parametrize(
    "name",
    [
        "a.mp4",
        "no/such/file.mp4",
        "0",
        "sample:bikes",
        "sample:b*",
        "pipe:3",
        "rtsp://camera/1?channel=*",
        "https://host/a.mp4?list=[1]",
        "~nobody-of-that-name",
    ],
)
def test_one_name_is_one_source(name):
    assert expand(name, []) == [SourceSpec(name)]


def test_a_glob_of_videos_is_one_source_each_in_natural_order(folder):
    for name in ("clip10.mp4", "clip9.mp4", "Clip1.mkv", "other.txt"):
        (folder / name).touch()
    assert expand("[cC]lip*", []) == [SourceSpec("Clip1.mkv"), SourceSpec("clip9.mp4"), SourceSpec("clip10.mp4")]


def test_a_glob_reaches_into_folders(folder):
    for name in ("a/2.mp4", "a/b/1.mp4", "1.mp4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    assert [spec.uri for spec in expand("**/*.mp4", [])] == ["1.mp4", "a/2.mp4", "a/b/1.mp4"]
    assert [spec.uri for spec in expand(f"{folder}/a/*.mp4", [])] == [f"{folder}/a/2.mp4"]


def test_a_glob_of_pictures_is_one_clip(folder):
    for number in (10, 9, 1):
        save(folder / f"shots/{number}.png", number)
    assert expand("shots/*.png", []) == [SourceSpec("shots/*.png")]
    source = open_source("shots/*.png")
    assert numbers(source) == [1, 9, 10]
    assert (source.info.name, source.info.num_frames) == ("shots", 3)


def test_a_name_that_looks_like_a_glob_is_itself_where_it_exists(folder):
    make(folder / "a[1].mp4", 3)
    assert expand("a[1].mp4", []) == [SourceSpec("a[1].mp4")]
    assert read("a[1].mp4")[0] == [0, 1, 2]


@pytest.mark.parametrize(
    ("glob", "message"),
    [
        ("*", r"\* finds pictures \(a\.png\) and others \(b\.mp4\); narrow it down to one of them"),
        ("*.mkv", r"\*\.mkv finds no file"),
        ("~nobody-of-that-name/*", "finds no file"),
        ("x" * 300 + "*", "finds no file"),
    ],
)
def test_a_glob_of_nothing_or_of_everything_is_an_error(folder, glob, message):
    save(folder / "a.png")
    (folder / "b.mp4").touch()
    with pytest.raises(UsageError, match=message):
        expand(glob, [])


def test_a_glob_of_videos_is_not_one_source(folder):
    for name in ("a.mp4", "b.mp4"):
        make(folder / name, 1)
    with pytest.raises(UsageError, match=r"\*\.mp4 stands for 2 videos, not for one source"):
        open_source("*.mp4")


# Lists


def test_a_list_has_one_source_a_line(folder):
    for name in ("1.mp4", "2.mp4"):
        (folder / name).touch()
    lines = ["# those of today\n", "\n", "  rtsp://camera/1  \n", "[0-9].mp4\n", "sample:bikes"]
    assert [spec.uri for spec in expand("-", lines)] == ["rtsp://camera/1", "1.mp4", "2.mp4", "sample:bikes"]


def test_a_line_may_say_what_to_follow(folder):
    lines = [
        json.dumps({"source": "a.mp4", "expressions": ["the red car", "a dog"]}),
        json.dumps({"source": "b.mp4", "boxes": [[1, 2, 30, 40.5]]}),
        json.dumps({"source": "c.mp4"}),
        "d.mp4",
    ]
    assert expand("-", lines) == [
        SourceSpec("a.mp4", expressions=("the red car", "a dog")),
        SourceSpec("b.mp4", boxes=((1.0, 2.0, 30.0, 40.5),)),
        SourceSpec("c.mp4"),
        SourceSpec("d.mp4"),
    ]


@pytest.mark.parametrize("lines", [[], ["\n", "# nothing today\n"]])
def test_a_list_of_nothing_is_an_error(lines):
    with pytest.raises(UsageError, match="the list on standard input is empty; it has one source a line"):
        expand("-", lines)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-", "is `-`: standard input carries the list already"),
        ("pipe:", "is `pipe:`: standard input carries the list already"),
        ("pipe:0", "is `pipe:0`: standard input carries the list already"),
        ('{"source": "a.mp4"', "is no JSON object: .*delimiter"),
        ('{"source": "a.mp4", "box": []}', r"has the unknown keys \['box'\]; there are \['boxes', 'expressions', 's"),
        ("{}", "needs a `source`, the name of one; got None"),
        ('{"source": 0}', "needs a `source`, the name of one; got 0"),
        ('{"source": ""}', "needs a `source`, the name of one; got ''"),
        ('{"source": "pipe:"}', "needs a `source`, the name of one; got 'pipe:'"),
        ('{"source": "a", "expressions": "a dog"}', "`expressions` is a list of texts, got 'a dog'"),
        ('{"source": "a", "expressions": [""]}', "`expressions` is a list of texts"),
        ('{"source": "a", "boxes": [1, 2, 3, 4]}', r"`boxes` is a list of \[x1, y1, x2, y2\] in pixels, got \[1, "),
        ('{"source": "a", "boxes": [[1, 2, 3]]}', "`boxes` is a list of"),
        ('{"source": "a", "boxes": [[3, 2, 1, 4]]}', "`boxes` is a list of"),
        ('{"source": "a", "boxes": [[1, 2, 1, 4]]}', "`boxes` is a list of"),
        ('{"source": "a", "boxes": [[1, 2, NaN, 4]]}', "`boxes` is a list of"),
        ('{"source": "a", "boxes": [[1, 2, "3", 4]]}', "`boxes` is a list of"),
        ('{"source": "a", "boxes": [[false, 2, true, 4]]}', "`boxes` is a list of"),
        ('{"source": "*.mp4"}', r"\*\.mp4 stands for 2 videos; give each a line of its own"),
    ],
)
def test_a_line_that_is_no_source_is_named(folder, line, message):
    for name in ("1.mp4", "2.mp4"):
        (folder / name).touch()
    with pytest.raises(UsageError, match=f"line 2 of the list:? .*{message}"):
        expand("-", ["sample:bikes", line])


# Files and folders


def test_a_video_file(tmp_path):
    source = open_source(str(make(tmp_path / "holiday.mp4", 7, rate=5)))
    frames = list(source)
    assert numbers(frames) == list(range(7))
    assert [frame.timestamp for frame in frames] == pytest.approx([number / 5 for number in range(7)])
    assert (source.info.name, source.info.frame_rate, source.info.num_frames) == ("holiday", 5, 7)
    assert not source.info.live


def test_a_picture_is_a_clip_of_one_frame(tmp_path):
    save(tmp_path / "shot.PNG", 5)
    source = open_source(str(tmp_path / "shot.PNG"))
    (frame,) = source
    assert (frame.index, frame.timestamp) == (0, 0)
    assert np.array_equal(frame.image, numbered(5))
    assert (source.info.name, source.info.num_frames) == ("shot", 1)


def test_a_folder_gives_its_pictures_in_natural_order(folder):
    for place, name in enumerate(["1.png", "2.tif", "9.JPG", "10.bmp", "b1.webp"]):
        save(folder / f"shots/{name}", place)
    save(folder / "shots/.hidden.png", 30)
    save(folder / "shots/deeper/0.png", 30)
    (folder / "shots/notes.txt").write_text("no picture")
    frames, info = read("shots")
    assert frames == [0, 1, 2, 3, 4]
    assert (info.name, info.num_frames, info.frame_rate) == ("shots", 5, 25)


def test_the_pictures_of_a_folder_may_differ_in_size(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "1.png")
    Image.new("L", (5, 50)).save(tmp_path / "2.png")
    assert [frame.image.shape for frame in open_source(str(tmp_path))] == [(20, 30, 3), (50, 5, 3)]


def test_a_folder_without_pictures_says_what_to_do(tmp_path):
    make(tmp_path / "a.mp4", 1)
    with pytest.raises(VideoError, match=r"holds no picture \(\.bmp, \.jpeg, .*\); for its videos name '.*/\*\.mp4'"):
        open_source(str(tmp_path))


def test_a_picture_that_cannot_be_read_is_named_and_those_before_it_come(tmp_path):
    save(tmp_path / "1.png", 0)
    (tmp_path / "2.png").write_bytes(b"no picture")
    frames = []
    with pytest.raises(VideoError, match=r"frame 1 \(.*2\.png\) cannot be read: cannot identify image file"):
        frames.extend(open_source(str(tmp_path)))
    assert numbers(frames) == [0]


def test_a_picture_over_the_limit_is_refused(tmp_path):
    with pytest.raises(VideoError, match=r"frame 0 \(.*64x48 pixels exceed the limit of 3000 \(--max-pixels\)"):
        read(save(tmp_path / "1.png"), limits=Limits(max_pixels=3000))


@pytest.mark.parametrize(
    ("uri", "error", "message"),
    [
        ("gone.mp4", VideoError, "^gone.mp4 does not exist$"),
        ("~nobody-of-that-name", VideoError, "^~nobody-of-that-name does not exist$"),
        ("x" * 300, VideoError, "x cannot be opened: File name too long"),
        ("/dev/null", VideoError, "^/dev/null is neither a file nor a folder nor a named pipe; a camera is named by"),
        ("", UsageError, "^'' is no source"),
        ("-", UsageError, "^'-' is no source; `-` stands for a list"),
        ("*.png", UsageError, r"^\*\.png finds no file"),
        ("file:///etc/passwd", UsageError, "file:// is not accepted; give the path itself, /etc/passwd$"),
        ("ftp://me:secret@host/a?token=1", UsageError, "^ftp://host/a: the scheme 'ftp' is unknown; there are http://"),
        ("tcp://host:1", UsageError, "the scheme 'tcp' is unknown; .*rtsp://"),
        ("concat:a.mp4|b.mp4", VideoError, "does not exist"),
    ],
)
def test_a_name_that_means_no_source_is_an_error(folder, uri, error, message):
    with pytest.raises(error, match=message):
        open_source(uri)


def test_a_number_is_a_camera_and_a_path_is_not(folder):
    save(folder / "0/1.png")
    assert read("./0")[0] == [0]
    with pytest.raises((VideoError, UsageError), match="camera"):
        open_source("9876", ReadOptions(timeout=0.2))


# Built-in sources


def test_the_built_in_clips_are_sources():
    source = open_source("sample:bikes", ReadOptions(stop=2))
    assert [frame.image.shape for frame in source] == [(272, 640, 3)] * 2
    assert source.info.name == "bikes"


def test_a_simulated_clip_is_the_same_each_time():
    first, again, other = (list(open_source(f"sample:simulated{seed}")) for seed in ("", ":0", ":1"))
    assert all(np.array_equal(one.image, two.image) for one, two in zip(first, again, strict=True))
    assert not np.array_equal(first[0].image, other[0].image)
    info = open_source("sample:simulated:1").info
    assert (info.name, info.num_frames, info.frame_rate) == ("simulated-1", len(other), 12)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "sample:nothing does not exist; there are .*bikes.*simulated$"),
        ("b*", r"sample:b\* does not exist"),
        ("simulated:x", "the seed is a whole number from 0, got 'x'"),
        ("simulated:-1", "the seed is a whole number from 0, got '-1'"),
    ],
)
def test_an_unknown_sample_is_an_error(name, message):
    with pytest.raises(UsageError, match=message):
        open_source(f"sample:{name}")
