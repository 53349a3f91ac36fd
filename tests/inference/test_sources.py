"""What a name on the command line means, and what comes of it: files, folders, globs, samples, addresses and lists."""

import base64
import json
import os
import tempfile
import uuid

import numpy as np
import pytest
from PIL import Image

from elysium.data import web
from elysium.data.limits import Limits, VideoError
from elysium.errors import UsageError
from elysium.inference.sources import ReadOptions, SourceSpec, expand, open_source
from elysium.inference.streams import stream_name, without_secrets

from .made_streams import WebServer, serve
from .made_videos import cut, make, noise, number_of, numbered, numbers


def save(path, number=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(numbered(number)).save(path)
    return path


def read(uri, **options):
    """The numbers of the frames that come, which are those in the pictures too, and what was announced."""
    source = open_source(str(uri), ReadOptions(**options))
    frames = list(source)
    source.close()
    assert numbers(frames) == [frame.index for frame in frames]
    return [frame.index for frame in frames], source.info


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


# Which frames


@pytest.fixture(params=["video", "without length", "folder", "glob"])
def twenty(request, folder):
    """The same twenty frames, as each kind of source; how many a second; whether it tells how many there are."""
    if request.param in ("video", "without length"):
        return make(folder / ("a.mp4" if request.param == "video" else "a.ts"), 20), 10, request.param == "video"
    for number in range(20):
        save(folder / f"{number}.png", number)
    return folder if request.param == "folder" else "*.png", 25, True


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, range(20)),
        ({"start": 5}, range(5, 20)),
        ({"stop": 5}, range(5)),
        ({"stop": 99}, range(20)),
        ({"start": 3, "stop": 4}, range(3, 4)),
        ({"stride": 4}, range(0, 20, 4)),
        ({"stride": 7}, range(0, 20, 7)),
        ({"stride": 100}, range(1)),
        ({"start": 2, "stop": 17, "stride": 5}, range(2, 17, 5)),
        ({"start": 19}, range(19, 20)),
    ],
)
def test_a_range_and_a_stride_choose_frames(twenty, options, expected):
    uri, rate, known = twenty
    frames, info = read(uri, **options)
    assert frames == list(expected)
    assert info.num_frames == (len(expected) if known else None)
    assert info.frame_rate == pytest.approx(rate / options.get("stride", 1))


def test_frames_a_second_choose_frames(twenty):
    uri, rate, _ = twenty
    frames, info = read(uri, fps=rate / 2, start=3)
    assert frames == list(range(3, 20, 2))
    assert info.frame_rate == rate / 2
    assert info.num_frames in (None, len(frames))


def test_more_frames_a_second_than_there_are_give_each_once(twenty):
    uri, rate, _ = twenty
    frames, info = read(uri, fps=rate * 3)
    assert frames == list(range(20))
    assert info.frame_rate == rate


def test_frames_a_second_that_do_not_divide_keep_to_the_clock(tmp_path):
    frames, info = read(make(tmp_path / "a.mp4", 21), fps=4)
    # At 0, 0.25, 0.5, … s, or as soon after it as there is a frame: 10 a second are there.
    assert frames == [0, 3, 5, 8, 10, 13, 15, 18, 20]
    assert info.frame_rate == 4


def test_a_variable_rate_is_evened_out(tmp_path):
    times = [0, 0.1, 0.2, 0.3, 1.0, 1.05, 1.1, 3.0, 3.4, 3.5]
    path = make(tmp_path / "a.mkv", len(times), times=times, bf="0")
    assert read(path, fps=2)[0] == [0, 4, 7, 9]
    assert read(path, fps=5)[0] == [0, 2, 4, 7, 8]
    assert read(path, fps=1000)[0] == list(range(10))
    # The clock begins with the first frame of the range.
    assert read(path, fps=2, start=1)[0] == [1, 4, 6, 7, 8]


def test_the_simulator_takes_the_same_options():
    whole = list(open_source("sample:simulated:3"))
    source = open_source("sample:simulated:3", ReadOptions(start=2, stop=12, stride=3))
    chosen = list(source)
    assert [frame.index for frame in chosen] == [2, 5, 8, 11]
    assert all(np.array_equal(frame.image, whole[frame.index].image) for frame in chosen)
    assert (source.info.num_frames, source.info.frame_rate) == (4, 4)


def test_a_range_behind_the_end_is_an_error(twenty):
    with pytest.raises(VideoError, match=r"20 frames: there is none from number 20 on \(--start\)"):
        read(twenty[0], start=20)
    with pytest.raises(VideoError, match=r"24 frames: there is none from number 24 on \(--start\)"):
        open_source("sample:simulated", ReadOptions(start=24))


def test_what_comes_after_the_range_is_not_read(tmp_path):
    path = cut(make(tmp_path / "a.mkv", 30, draw=noise), 0.6)
    source = open_source(str(path), ReadOptions(stop=10))
    assert len(list(source)) == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": -1}, "--start is the number of a frame, from 0; got -1"),
        ({"start": 5, "stop": 5}, "--stop comes after --start 5; got 5"),
        ({"stop": 0}, "--stop comes after --start 0; got 0"),
        ({"stride": 0}, "--stride is at least 1; got 0"),
        ({"fps": 0}, "--fps is more than 0; got 0"),
        ({"fps": float("nan")}, "--fps is more than 0; got nan"),
        ({"fps": float("inf")}, "--fps is more than 0; got inf"),
        ({"fps": 5, "stride": 2}, "--fps 5 and --stride 2 both choose frames: give one of the two"),
        ({"buffer": 0}, "--buffer holds at least 1 frame; got 0"),
        ({"timeout": 0}, "--timeout is more than 0 seconds; got 0"),
        ({"timeout": float("nan")}, "--timeout is more than 0 seconds; got nan"),
    ],
)
def test_options_that_make_no_sense_are_errors(options, message):
    with pytest.raises(UsageError, match=f"^{message}$"):
        ReadOptions(**options)


def test_a_header_that_promises_too_long_a_video_is_refused_at_once(tmp_path):
    path = make(tmp_path / "a.mp4", 3, times=[0, 1, 5000])
    limits = Limits(max_seconds=3600)
    with pytest.raises(VideoError, match=r"a\.mp4 lasts 500\d\.\d s, over the limit of 3600 s \(--max-seconds\)"):
        open_source(str(path), ReadOptions(limits=limits))
    assert read(path, stop=2, limits=limits)[0] == [0, 1]


def test_a_late_part_of_a_long_video_is_not_too_long(tmp_path):
    path, limits = make(tmp_path / "a.mp4", 36, rate=1, g="6"), Limits(max_seconds=20)
    with pytest.raises(VideoError, match="--max-seconds"):
        open_source(str(path), ReadOptions(limits=limits))
    assert read(path, start=25, limits=limits)[0] == list(range(25, 36))


# Closing


@pytest.fixture(params=["video", "folder", "simulated", "download"])
def any_source(request, folder, server):
    if request.param == "video":
        return open_source(str(make(folder / "a.mp4", 5)))
    if request.param == "simulated":
        return open_source("sample:simulated")
    if request.param == "download":
        address = server.put("/a.mp4", make(folder / "a.mp4", 5).read_bytes())
        return open_source(address, ReadOptions(allow_private_hosts=True))
    for number in range(5):
        save(folder / f"shots/{number}.png", number)
    return open_source("shots")


def test_closing_ends_the_frames_and_may_be_done_twice(any_source):
    frames = iter(any_source)
    next(frames)
    next(frames)
    any_source.close()
    any_source.close()
    assert list(frames) == []
    assert list(any_source) == []


def test_closing_with_the_last_frame_is_no_error(any_source):
    for frame in any_source:
        if frame.index == any_source.info.num_frames - 1:
            any_source.close()


# Addresses


@pytest.fixture
def server():
    with serve(WebServer()) as server:
        yield server


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where temporary files go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def video(tmp_path):
    return make(tmp_path / "made.mp4", 5).read_bytes()


ALLOWED = ReadOptions(allow_private_hosts=True)


def refusal(uri, options=ALLOWED):
    with pytest.raises(VideoError) as caught:
        list(open_source(uri, options))
    return str(caught.value)


def test_an_address_is_downloaded_and_the_file_goes_when_the_source_is_closed(server, video, temporary):
    source = open_source(server.put("/clips/holiday.mp4", video) + "?token=hidden", ALLOWED)
    assert len(list(temporary.iterdir())) == 1
    assert numbers(source) == list(range(5))
    assert (source.info.name, source.info.num_frames) == ("holiday", 5)
    assert server.asked == ["/clips/holiday.mp4?token=hidden"]
    source.close()
    assert list(temporary.iterdir()) == []


def test_a_picture_may_have_an_address(server, temporary, tmp_path):
    address = server.put("/a.png", save(tmp_path / "b.png", 7).read_bytes())
    source = open_source(address, ALLOWED)
    (frame,) = source
    assert number_of(frame.image) == 7
    source.close()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("path", ["/", "", "/download?id=5", "/a.b%2Fc", "/..", "/video.m%70%344"])
def test_an_address_needs_no_name(server, video, temporary, path):
    server.put(path.partition("?")[0] or "/", video)
    source = open_source(server.url(path), ALLOWED)
    assert numbers(source) == list(range(5))
    assert source.info.name
    source.close()
    assert list(temporary.iterdir()) == []


def test_private_addresses_are_refused_unless_they_are_allowed(server, video, temporary):
    address = server.put("/a.mp4", video)
    message = refusal(f"{address}?token=hidden", ReadOptions())
    assert message == (
        f"{address}: 127.0.0.1 leads to the private address 127.0.0.1; --allow-private-hosts permits that"
    )
    assert server.asked == []
    assert list(temporary.iterdir()) == []


def test_a_redirect_to_a_private_address_is_refused(server, video, temporary, monkeypatch):
    with serve(WebServer()) as inside:
        address = server.redirect("/a.mp4", inside.put("/secret.mp4", video))
        check = web._check_public

        def only_one_port_is_public(connection, host):
            if connection.getpeername()[1] != server.server_address[1]:
                check(connection, host)

        monkeypatch.setattr(web, "_check_public", only_one_port_is_public)
        assert "leads to the private address 127.0.0.1; --allow-private-hosts permits" in refusal(
            address, ReadOptions()
        )
        assert (server.asked, inside.asked) == (["/a.mp4"], [])
    assert list(temporary.iterdir()) == []


def test_a_redirect_to_a_file_is_refused(server, tmp_path, video, temporary):
    assert "302" in refusal(server.redirect("/a.mp4", f"file://{tmp_path}/made.mp4"))
    assert list(temporary.iterdir()) == []


def test_a_redirect_on_the_web_is_followed(server, video, temporary):
    server.put("/new.mp4", video)
    source = open_source(server.redirect("/old.mp4", "/new.mp4"), ALLOWED)
    assert numbers(source) == list(range(5))
    assert source.info.name == "old"
    source.close()


@pytest.mark.parametrize("announced", [True, False])
def test_a_file_over_the_limit_is_refused(server, temporary, announced):
    address = server.put("/a.mp4", bytes(3 << 20))
    if not announced:
        server.answers["/a.mp4"][1].clear()
    options = ReadOptions(allow_private_hosts=True, limits=Limits(max_file_bytes=2 << 20))
    assert refusal(address, options) == f"{address}: larger than the limit of 2 MiB (--max-file-bytes)"
    assert list(temporary.iterdir()) == []


def test_a_missing_file_is_an_error(server, temporary):
    assert refusal(server.url("/a.mp4?token=hidden")) == f"{server.url('/a.mp4')}: the server answered 404 Not Found"
    assert list(temporary.iterdir()) == []


def test_a_page_is_no_video(server, temporary):
    address = server.put("/watch", b"<html>Press play.</html>")
    assert refusal(address).startswith(f"{address} is not a video that can be read: ")
    assert list(temporary.iterdir()) == []


def test_a_playlist_at_an_address_opens_nothing(server, temporary):
    address = server.put("/a.m3u8", f"#EXTM3U\n#EXTINF:5,\n{server.url('/secret.ts')}\n#EXT-X-ENDLIST\n".encode())
    assert "it is a playlist of other files" in refusal(address)
    assert server.asked == ["/a.m3u8"]


def test_an_error_in_the_middle_names_the_address(server, tmp_path, temporary):
    content = cut(make(tmp_path / "a.mkv", 30, draw=noise), 0.6).read_bytes()
    address = server.put("/a.mkv", content)
    message = refusal(f"{address}?token=hidden")
    assert message.startswith(f"{address}: frame ")
    assert "cut off" in message
    picture = server.put("/a.png", b"no picture")
    assert refusal(picture).startswith(f"frame 0 ({picture}) cannot be read: ")
    assert str(temporary) not in message + refusal(picture)


def test_a_user_and_password_in_an_address_are_used_and_not_carried_on(server, video, temporary):
    server.put("/new.mp4", video)
    server.redirect("/old.mp4", "/new.mp4")
    source = open_source(server.url("/old.mp4", user="me:p%40ss@"), ALLOWED)
    assert numbers(source) == list(range(5))
    source.close()
    assert server.passwords == ["Basic " + base64.b64encode(b"me:p@ss").decode(), None]


@pytest.mark.parametrize(
    "address",
    [
        "http://me:secret@127.0.0.1:PORT/gone.mp4?token=hidden#hidden",
        "http://me:secret@127.0.0.1:PORT/a b.mp4?token=hidden",
        "http://me:secret@host:80x/a.mp4",
        "http://me:secret@[::1/a.mp4?token=hidden",
        "http://me:secret@\u2100/a.mp4?token=hidden",
        "http://me:sec/ret@127.0.0.1:PORT/a.mp4",
        "rtsp://me:secret@[::1/a?token=hidden",
    ],
)
def test_secrets_are_in_no_message(server, temporary, address):
    message = refusal(address.replace("PORT", str(server.server_address[1])))
    assert not any(secret in message for secret in ("secret", "sec", "ret@", "hidden"))
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "shown", "name"),
    [
        ("rtsp://camera/1", "rtsp://camera/1", "camera-1"),
        ("rtsp://camera:554", "rtsp://camera:554", "camera-554"),
        ("rtsp://me@camera/1", "rtsp://camera/1", "camera-1"),
        ("rtsp://me:secret@camera:554/1", "rtsp://camera:554/1", "camera-554-1"),
        ("rtsp://me:se@ret@camera/1", "rtsp://camera/1", "camera-1"),
        ("rtsp://me:se/ret@camera/1", "rtsp://camera/1", "camera-1"),
        ("rtsp://me:se?ret@camera/1", "rtsp://camera/1", "camera-1"),
        ("rtsp://me:se#ret@camera/1", "rtsp://camera/1", "camera-1"),
        ("rtsp://camera:554/at@noon", "rtsp://camera:554/at@noon", "camera-554-at-noon"),
        ("rtsp://[::1]:554/at@noon?token=x", "rtsp://[::1]:554/at@noon", "1-554-at-noon"),
    ],
)
def test_an_address_is_shown_without_secrets(address, shown, name):
    assert (without_secrets(address), stream_name(address)) == (shown, name)


def test_an_object_on_s3_comes_from_the_server_that_the_options_name(server, video, temporary, monkeypatch):
    """A web server answers the one request that is made as S3 does; the next test asks a real one."""
    for name, value in (("ACCESS_KEY_ID", "me"), ("SECRET_ACCESS_KEY", "secret"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    server.put("/bucket/clips/holiday.mp4", video)
    options = ReadOptions(s3_endpoint=server.url(""))
    source = open_source("s3://bucket/clips/holiday.mp4", options)
    assert numbers(source) == list(range(5))
    assert source.info.name == "holiday"
    source.close()
    assert refusal("s3://bucket/gone.mp4", options).startswith("s3://bucket/gone.mp4: ")
    small = ReadOptions(s3_endpoint=server.url(""), limits=Limits(max_file_bytes=1000))
    assert "larger than the limit" in refusal("s3://bucket/clips/holiday.mp4", small)
    assert list(temporary.iterdir()) == []


ENDPOINT = os.environ.get("ELYSIUM_S3_ENDPOINT")


@pytest.mark.skipif(
    not (ENDPOINT and os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SECRET_ACCESS_KEY")),
    reason="needs an S3 server: set ELYSIUM_S3_ENDPOINT, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
)
def test_an_object_on_s3_is_a_source(video, temporary, monkeypatch):
    import boto3

    monkeypatch.setenv("AWS_DEFAULT_REGION", os.environ.get("AWS_DEFAULT_REGION", "us-east-1"))
    client, bucket = boto3.client("s3", endpoint_url=ENDPOINT), f"elysium-test-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=bucket)
    client.put_object(Bucket=bucket, Key="clips/holiday.mp4", Body=video)
    try:
        source = open_source(f"s3://{bucket}/clips/holiday.mp4", ReadOptions(s3_endpoint=ENDPOINT))
        assert numbers(source) == list(range(5))
        assert source.info.name == "holiday"
        source.close()
        small = ReadOptions(s3_endpoint=ENDPOINT, limits=Limits(max_file_bytes=100))
        assert "(--max-file-bytes)" in refusal(f"s3://{bucket}/clips/holiday.mp4", small)
        assert "NoSuchKey" in refusal(f"s3://{bucket}/gone.mp4", ReadOptions(s3_endpoint=ENDPOINT))
    finally:
        client.delete_object(Bucket=bucket, Key="clips/holiday.mp4")
        client.delete_bucket(Bucket=bucket)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("uri", ["s3://", "s3:///key.mp4"])
def test_s3_needs_a_bucket(uri, temporary):
    with pytest.raises(UsageError, match="names no bucket"):
        open_source(uri)
    assert list(temporary.iterdir()) == []
