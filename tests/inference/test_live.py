"""Pipes, with bounded memory and delay."""

import gc
import os
import signal
import threading
import weakref
from pathlib import Path

import pytest

from elysium.data.limits import Limits, VideoError
from elysium.errors import UsageError
from elysium.inference.sources import ReadOptions, open_source

from .made_streams import TS_PACKET, consume, feed, wait_until
from .made_videos import make, noise, number_of, numbers

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


def test_a_pipe_gives_all_frames_in_order(pipe, stream):
    feed(pipe[1], stream)
    source = open_source(f"pipe:{pipe[0]}")
    assert (source.info.name, source.info.frame_rate, source.info.num_frames) == ("pipe", 10, None)
    assert source.info.live
    frames, message = consume(source)
    assert numbers(frames) == [frame.index for frame in frames] == list(range(36))
    assert [frame.timestamp - frames[0].timestamp for frame in frames] == pytest.approx([n / 10 for n in range(36)])
    assert (message, source.dropped, source.damaged) == (None, 0, 0)


def test_standard_input_is_a_pipe(pipe, stream):
    feed(pipe[1], stream)
    before = os.dup(0)
    os.dup2(pipe[0], 0)
    try:
        assert numbers(consume(open_source("pipe:"))[0]) == list(range(36))
    finally:
        os.dup2(before, 0)
        os.close(before)


def test_a_pipe_that_was_given_stays_open(pipe, stream):
    feed(pipe[1], stream)
    consume(open_source(f"pipe:{pipe[0]}"))
    os.fstat(pipe[0])


def test_a_named_pipe_waits_for_its_writer(tmp_path, stream):
    path = tmp_path / "live.ts"
    os.mkfifo(path)
    descriptors = len(list(Path("/dev/fd").iterdir()))
    writer = threading.Thread(target=path.write_bytes, args=(stream,))
    threading.Timer(0.1, writer.start).start()
    source = open_source(str(path))
    assert source.info.name == "live"
    frames, message = consume(source)
    assert numbers(frames) == list(range(36))
    assert message is None
    writer.join()
    assert len(list(Path("/dev/fd").iterdir())) <= descriptors


@pytest.fixture
def interruptible():
    """Started in the background, a shell's children ignore interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_waiting_for_a_writer_can_be_interrupted(tmp_path, interruptible):
    path = tmp_path / "live.ts"
    os.mkfifo(path)

    def open_and_be_interrupted():
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        open_source(str(path))

    with pytest.raises(KeyboardInterrupt):
        open_and_be_interrupted()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mkv", {}),
        ("a.flv", {}),
        ("a.avi", {"codec": "mjpeg", "pixels": "yuvj420p"}),
        ("a.webm", {"codec": "libvpx-vp9", "deadline": "realtime", "cpu-used": "8"}),
        ("fragmented.mp4", {"muxer": {"movflags": "+frag_keyframe+empty_moov"}}),
        ("index first.mp4", {"muxer": {"movflags": "+faststart"}}),
    ],
)
def test_a_pipe_takes_all_that_can_be_read_as_it_comes(tmp_path, pipe, name, options):
    feed(pipe[1], make(tmp_path / name, 12, **options).read_bytes())
    frames, message = consume(open_source(f"pipe:{pipe[0]}"))
    assert numbers(frames) == list(range(12))
    assert message is None


def test_a_pipe_says_so_where_a_format_cannot_be_read_as_it_comes(tmp_path, pipe):
    """The index of this MP4 comes last, further away than anybody remembers."""
    feed(pipe[1], make(tmp_path / "a.mp4", 10, size=(320, 240), draw=noise).read_bytes())
    frames, message = consume(open_source(f"pipe:{pipe[0]}"))
    assert frames == []
    assert message.startswith("the pipe: the stream broke off: ")
    assert message.endswith("; a pipe needs a format that can be read as it comes, such as mpegts")


@pytest.mark.parametrize("content", [b"", b"This is no video.\n" * 100, b"#EXTM3U\n#EXTINF:5,\nfile:///etc/passwd\n"])
def test_what_is_no_video_is_an_error(pipe, content):
    feed(pipe[1], content)
    with pytest.raises(VideoError, match=r"^the pipe cannot be opened: .*; a pipe needs a format .* such as mpegts$"):
        open_source(f"pipe:{pipe[0]}")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("pipe:x", "pipe:x is no pipe; `pipe:` is standard input, `pipe:3` the file descriptor 3"),
        ("pipe:-1", "pipe:-1 is no pipe"),
        ("pipe:987654", "pipe:987654: there is no open file descriptor 987654"),
    ],
)
def test_a_pipe_that_is_none_is_an_error(uri, message):
    with pytest.raises(UsageError, match=message):
        open_source(uri)


def test_a_terminal_is_no_pipe():
    controller, terminal = os.openpty()
    with pytest.raises(UsageError, match="is a terminal; pipe a video into it"):
        open_source(f"pipe:{terminal}")
    os.close(controller)
    os.close(terminal)


def test_a_pipe_that_falls_silent_still_gives_what_came(pipe, stream):
    """All frames that the packets before the silence hold, but what FFmpeg needs to tell where a packet ends."""
    feed(pipe[1], stream, close=False).join()
    source = open_source(f"pipe:{pipe[0]}")
    frames = iter(source)
    assert [next(frames).index for _ in range(30)] == list(range(30))
    source.close()
    assert list(frames) == []
    os.close(pipe[1])


def test_closing_from_another_thread_ends_a_silent_pipe(pipe, stream):
    feed(pipe[1], stream, close=False).join()
    source = open_source(f"pipe:{pipe[0]}")
    seen = []
    consumer = threading.Thread(target=lambda: seen.extend(source))
    consumer.start()
    wait_until(lambda: len(seen) >= 30)
    source.close()
    source.close()
    consumer.join(5)
    assert not consumer.is_alive()
    os.close(pipe[1])


def test_closing_before_the_first_frame_lets_go_of_the_pipe(tmp_path, stream):
    path = tmp_path / "live.ts"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    feed(writer, stream, close=False).join()
    source = open_source(str(path))
    source.close()
    source.close()
    assert list(source) == []
    os.close(writer)
    with pytest.raises(OSError, match="No such device or address"):  # nobody reads any more
        os.open(path, os.O_WRONLY | os.O_NONBLOCK)


def test_a_range_ends_without_waiting_for_the_frame_after_it(pipe, stream):
    feed(pipe[1], stream, close=False).join()
    source = open_source(f"pipe:{pipe[0]}", ReadOptions(start=3, stop=30, stride=4))
    wanted = list(range(3, 30, 4))
    assert [(frame.index, number_of(frame.image)) for frame in source] == [(n, n) for n in wanted]
    # All that is there: with one frame more in the range, this would wait for the writer.
    source.close()
    os.close(pipe[1])


def test_frames_a_second_choose_frames_of_a_stream(pipe, stream):
    feed(pipe[1], stream)
    source = open_source(f"pipe:{pipe[0]}", ReadOptions(fps=2.5))
    assert source.info.frame_rate == 2.5
    assert numbers(consume(source)[0]) == list(range(0, 36, 4))


# Memory and delay


def count_live_frames(monkeypatch):
    """The frames that are decoded and not yet let go of, at any time."""
    from elysium.inference import live

    alive = weakref.WeakSet()
    put = live.LiveSource._put

    def noted(source, decoded):
        alive.add(decoded)
        put(source, decoded)

    monkeypatch.setattr(live.LiveSource, "_put", noted)
    return alive


@pytest.mark.parametrize("buffer", [1, 4])
def test_a_slow_consumer_of_a_pipe_holds_up_its_writer(tmp_path, pipe, monkeypatch, buffer):
    alive = count_live_frames(monkeypatch)
    content = make(tmp_path / "a.ts", 39, size=(160, 120), draw=noise).read_bytes()
    assert len(content) > 1_000_000
    writer = feed(pipe[1], content)
    source = open_source(f"pipe:{pipe[0]}", ReadOptions(buffer=buffer))
    indices, most = [], 0
    for frame in source:
        indices.append(frame.index)
        if frame.index < 5:
            # The reader has run ahead as far as it may: one more is in its hand, and one in ours.
            wait_until(lambda: len(source._buffer) == buffer)
            assert writer.is_alive()
        gc.collect(0)
        most = max(most, len(alive))
    source.close()
    assert indices == list(range(39))
    assert most <= buffer + 2
    assert source.dropped == 0
    writer.join()


def test_late_frames_of_a_pipe_go_where_the_options_say_so(pipe, stream):
    feed(pipe[1], stream)
    source = open_source(f"pipe:{pipe[0]}", ReadOptions(buffer=3, drop=True))
    iterator = iter(source)
    frames = [next(iterator)]
    wait_until(lambda: source._ended)
    frames += iterator
    assert [frame.index for frame in frames[-3:]] == [33, 34, 35]
    assert numbers(frames) == [frame.index for frame in frames]
    assert source.dropped == 36 - len(frames) >= 32
    source.close()


# Broken streams


@pytest.mark.parametrize("damage", [bytes(20 * TS_PACKET), os.urandom(20 * TS_PACKET)], ids=["zeros", "noise"])
def test_a_stream_goes_on_after_damage(tmp_path, pipe, damage):
    content = make(tmp_path / "a.ts", 36, g="6", draw=noise, crf="20").read_bytes()
    middle = len(content) // 2
    feed(pipe[1], content[:middle] + damage + content[middle + len(damage) :])
    source = open_source(f"pipe:{pipe[0]}")
    frames, message = consume(source)
    assert message is None
    assert 24 <= len(frames) < 36
    assert source.damaged >= 1
    assert len({frame.index for frame in frames}) == len(frames)
    assert frames[-1].timestamp - frames[0].timestamp == pytest.approx(3.5)


def test_damaged_frames_are_missing_in_the_numbers(tmp_path, pipe):
    """In MJPEG each frame stands alone, so exactly the one that is damaged goes."""
    content = bytearray(make(tmp_path / "a.mkv", 10, codec="mjpeg", pixels="yuvj420p", draw=noise).read_bytes())
    begin = [place for place in range(len(content)) if content[place : place + 3] == b"\xff\xd8\xff"]
    content[begin[4] : begin[4] + 1000] = bytes(1000)
    feed(pipe[1], bytes(content))
    source = open_source(f"pipe:{pipe[0]}")
    frames, message = consume(source)
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert (message, source.damaged) == (None, 1)


def test_a_stream_that_is_cut_ends_with_what_came(tmp_path, pipe):
    content = make(tmp_path / "a.ts", 30, draw=noise).read_bytes()
    feed(pipe[1], content[: len(content) * 2 // 3])
    frames, message = consume(open_source(f"pipe:{pipe[0]}"))
    assert 17 <= len(frames) <= 20
    assert message is None


def test_frames_over_the_limit_are_refused(tmp_path, pipe, stream):
    feed(pipe[1], stream)
    with pytest.raises(VideoError, match=r"the pipe: 64x48 pixels exceed the limit of 3000 \(--max-pixels\)"):
        open_source(f"pipe:{pipe[0]}", ReadOptions(limits=Limits(max_pixels=3000)))


@pytest.mark.parametrize("size", [(640, 480), (360, 288)], ids=["refused by the decoder", "only just too large"])
def test_a_stream_that_grows_over_the_limit_ends_with_an_error(tmp_path, pipe, size):
    small = make(tmp_path / "a.ts", 39, size=(160, 120), draw=noise).read_bytes()
    large = make(tmp_path / "b.ts", 20, size=size).read_bytes()
    feed(pipe[1], small + large)
    frames, message = consume(open_source(f"pipe:{pipe[0]}", ReadOptions(limits=Limits(max_pixels=100_000))))
    assert len(frames) == 39
    assert message.endswith(f"{size[0]}x{size[1]} pixels exceed the limit of 100000 (--max-pixels)")
