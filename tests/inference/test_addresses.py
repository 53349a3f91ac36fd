"""Sources at addresses, on the web and on S3; and what closing a source leaves behind."""

import base64
import os
import tempfile
import uuid

import pytest

from elysium.data import web
from elysium.data.limits import Limits, VideoError
from elysium.errors import UsageError
from elysium.inference.sources import ReadOptions, open_source
from elysium.inference.streams import stream_name, without_secrets

from .made_sources import save
from .made_streams import WebServer, serve
from .made_videos import cut, make, noise, number_of, numbers

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
    # `..` at the top is the top itself (RFC 3986 §5.2.4).
    server.put(path.partition("?")[0].replace("..", "") or "/", video)
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
