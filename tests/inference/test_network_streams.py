"""Network streams and cameras, with bounded memory and delay."""

import socket
import sys

import av
import pytest

from elysium.data.limits import VideoError
from elysium.errors import UsageError
from elysium.inference import streams
from elysium.inference.sources import ReadOptions, open_source

from .made_streams import RtspServer, consume, free_udp_port, serve, udp_sender, wait_until
from .made_videos import make, numbers

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


def test_a_slow_consumer_of_a_network_stream_gets_the_newest_frames(stream):
    """The sender never waits: what nobody takes goes, and the next frames are the newest there are."""
    port, buffer = free_udp_port(), 4
    with udp_sender(stream, port):
        source = open_source(f"udp://127.0.0.1:{port}", ReadOptions(buffer=buffer, timeout=20))
        assert (source.info.name, source.info.live) == (f"127.0.0.1-{port}", True)
        frames = iter(source)
        last = next(frames).index
        for _ in range(3):
            dropped = source.dropped
            wait_until(lambda dropped=dropped: source.dropped >= dropped + 20)
            assert len(source._buffer) <= buffer
            frame = next(frames)
            assert frame.index >= last + 20
            last = frame.index
        thread = source._thread
        source.close()
        assert list(frames) == []
        wait_until(lambda: not thread.is_alive())


def test_a_network_stream_may_wait_where_the_options_say_so(tmp_path):
    with serve(RtspServer(make(tmp_path / "a.h264", 30, bf="0").read_bytes())) as camera:
        source = open_source(camera.url(), ReadOptions(buffer=1, drop=False, timeout=20))
        frames, _ = consume(source)
        assert numbers(frames) == list(range(30))
        assert source.dropped == 0


def test_a_network_stream_from_which_nothing_comes_is_given_up():
    port = free_udp_port()
    with pytest.raises(VideoError, match=r"nothing came for 0\.2 s \(--timeout\); does the sender run, and is the add"):
        open_source(f"udp://127.0.0.1:{port}", ReadOptions(timeout=0.2))


def test_a_network_stream_that_falls_silent_is_given_up(tmp_path):
    with serve(RtspServer(make(tmp_path / "a.h264", 30, bf="0").read_bytes(), silent=True)) as camera:
        source = open_source(camera.url("hall"), ReadOptions(buffer=50, timeout=1))
        frames, message = consume(source)
        assert numbers(frames)[:20] == list(range(20))
        assert message == f"{camera.url('hall')}: the stream broke off: nothing came for 1 s (--timeout)"


def test_closing_ends_a_silent_network_stream(tmp_path):
    with serve(RtspServer(make(tmp_path / "a.h264", 30, bf="0").read_bytes(), silent=True)) as camera:
        source = open_source(camera.url("hall"), ReadOptions(buffer=50, timeout=1))
        frames = iter(source)
        for _ in range(10):
            next(frames)
        source.close()
        assert list(frames) == []


@pytest.mark.parametrize("scheme", ["rtsp", "RTSP"])
def test_a_camera_is_followed_over_rtsp(tmp_path, scheme):
    with serve(RtspServer(make(tmp_path / "a.h264", 30, bf="0").read_bytes(), password="me:secret")) as camera:
        address = camera.url("hall?channel=1", user="me:secret@").replace("rtsp", scheme)
        source = open_source(address, ReadOptions(buffer=50))
        assert source.info.name == f"127.0.0.1-{camera.server_address[1]}-hall"
        frames, message = consume(source)
        assert numbers(frames) == [frame.index for frame in frames] == list(range(30))
        assert (message, source.dropped, source.damaged) == (None, 0, 0)


def test_a_wrong_password_is_refused_and_not_shown(tmp_path):
    with serve(RtspServer(make(tmp_path / "a.h264", 3, bf="0").read_bytes(), password="me:secret")) as camera:
        with pytest.raises(VideoError) as caught:
            open_source(camera.url("hall?token=hidden", user="me:guessed@"))
        assert str(caught.value).startswith(f"{camera.url('hall')} cannot be opened: ")
        assert "401" in str(caught.value)


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "rtmp"])
def test_an_address_where_nobody_listens_is_an_error_without_its_password(scheme):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(VideoError, match=f"^{scheme}://{host}/1 cannot be opened: Connection refused$"):
            open_source(f"{scheme}://me:secret@{host}/1?token=hidden", ReadOptions(timeout=5))


def test_a_server_that_does_not_answer_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/1"
        with pytest.raises(VideoError, match=r"nothing came for 0\.2 s \(--timeout\)"):
            open_source(address, ReadOptions(timeout=0.2))


def test_a_protocol_that_this_ffmpeg_lacks_is_named_as_such():
    try:
        av.open("srt://127.0.0.1:1", timeout=0.1)
    except av.error.ProtocolNotFoundError:
        with pytest.raises(
            VideoError, match=r"srt://127\.0\.0\.1:1 cannot be opened: FFmpeg, as it was built for this"
        ):
            open_source("srt://127.0.0.1:1")
    except av.FFmpegError:
        pytest.skip("this FFmpeg speaks SRT")


# Cameras


def test_a_camera_that_is_not_there_is_an_error_that_says_which_are(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(
        VideoError, match=r"^camera 9876: /dev/video9876 does not exist; there (are \d|is no camera here)"
    ):
        open_source("9876")


def test_the_newest_frames_of_a_camera_come(monkeypatch):
    """FFmpeg's picture generator stands for the driver, which is a device of FFmpeg too; no camera is needed."""
    monkeypatch.setattr(streams, "_camera_device", lambda index, system: "testsrc=size=64x48:rate=25")
    monkeypatch.setitem(streams._CAMERAS, sys.platform, "lavfi")
    source = open_source("3", ReadOptions(buffer=2))
    assert (source.info.name, source.info.frame_rate, source.info.live) == ("camera-3", 25, True)
    frames = iter(source)
    first = next(frames)
    before = source.dropped  # the generator waits for nobody: many are gone before the first is asked for
    wait_until(lambda: source.dropped >= before + 30)
    later = next(frames)
    assert later.index >= first.index + 30
    assert later.image.shape == (48, 64, 3)
    source.close()
    assert list(frames) == []


def test_cameras_need_a_system_that_is_known(monkeypatch):
    monkeypatch.setattr("sys.platform", "sunos5")
    with pytest.raises(UsageError, match="cameras are not known on sunos5; pipe a stream instead"):
        open_source("0")
