"""What S3's errors mean. A server on this machine sends S3's own error documents; `test_s3` asks a real S3."""

import hashlib
import socket

import pytest
from source_servers import Answer, File, Time, s3_error, serving

from elysium.config import IngestSettings
from elysium.data import sources
from elysium.data.s3 import S3Storage
from elysium.data.transfer import FetchError, Patience
from elysium.errors import UsageError

CONTENT = bytes(range(256)) * 8_000  # 2 MB
KEYS = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


class _Scene:
    """One server and one client for all tests: making a client takes a third of a second."""

    def __init__(self, server):
        self.server, self.time = server, Time()
        patience = Patience(retries=3, sleep=lambda wait: self.time.sleep(wait), clock=lambda: self.time.clock())
        self.storage = S3Storage(server.address, patience)

    def refused(self, tmp_path, *answers, max_bytes=1 << 30):
        self.server.put("/bucket/a.mp4", *answers)
        with pytest.raises(FetchError) as caught:
            self.storage.fetch("s3://bucket/a.mp4", tmp_path / "a", max_bytes)
        assert list(tmp_path.iterdir()) == []
        return caught.value


@pytest.fixture(scope="module")
def shared():
    with pytest.MonkeyPatch.context() as patch, serving() as server:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        patch.delenv("AWS_SESSION_TOKEN", raising=False)
        yield _Scene(server)


@pytest.fixture
def scene(shared):
    shared.time = Time()
    shared.server.asked.clear()
    return shared


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "ExpiredToken"),
        (403, "InvalidAccessKeyId"),
        (403, "SignatureDoesNotMatch"),
        (403, "RequestTimeTooSkewed"),
        (400, "InvalidToken"),
    ],
)
def test_credentials_stop_the_run_at_once_and_the_message_says_what_to_do(scene, tmp_path, status, code):
    error = scene.refused(tmp_path, s3_error(status, code, "The provided token has expired."))
    assert (error.kind, error.scope) == ("credentials", "run")
    assert f"({code}: The provided token has expired.)" in str(error)
    assert "renew them (AWS_ACCESS_KEY_ID" in str(error)
    assert "run the same command again" in str(error)
    assert (len(scene.server.asked), scene.time.slept) == (1, [])


def test_a_bucket_that_does_not_exist_stops_the_run(scene, tmp_path):
    error = scene.refused(tmp_path, s3_error(404, "NoSuchBucket", "The specified bucket does not exist"))
    assert error.scope == "run"
    assert f"the bucket 'bucket' does not exist on {scene.server.address}" in str(error)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (s3_error(404, "NoSuchKey", "The specified key does not exist."), "missing"),
        (s3_error(403, "AccessDenied", "Access Denied"), "denied"),
        (s3_error(403, "InvalidObjectState", "The object is archived"), "denied"),
        (s3_error(405, "MethodNotAllowed"), "transfer"),
    ],
)
def test_what_is_one_objects_matter_is_final_for_it(scene, tmp_path, answer, kind):
    error = scene.refused(tmp_path, answer)
    assert (error.kind, error.scope, len(scene.server.asked)) == (kind, "video", 1)


@pytest.mark.parametrize(
    ("status", "code"),
    [(503, "SlowDown"), (503, "RequestLimitExceeded"), (400, "ThrottlingException"), (429, "TooManyRequests")],
)
def test_throttling_is_waited_for_and_then_the_videos_own_matter(scene, tmp_path, status, code):
    error = scene.refused(tmp_path, s3_error(status, code, "Please reduce your request rate."))
    assert (error.kind, error.scope) == ("throttled", "video")
    assert "after 4 attempts" in str(error)
    assert [0.25 <= scene.time.slept[0] <= 0.5, len(scene.time.slept)] == [True, 3]


@pytest.mark.parametrize(
    "answer",
    [
        s3_error(503, "SlowDown"),
        s3_error(500, "InternalError"),
        s3_error(503, "ServiceUnavailable"),
        s3_error(400, "RequestTimeout"),
        Answer(502, b"<html>Bad Gateway</html>"),
        Answer(0),
    ],
)
def test_what_passes_is_tried_again(scene, tmp_path, answer):
    scene.server.put("/bucket/a.mp4", answer, File(CONTENT))
    assert scene.storage.fetch("s3://bucket/a.mp4", tmp_path / "a", 1 << 30) == hashlib.sha256(CONTENT).hexdigest()
    assert len(scene.time.slept) == 1


def test_s3_may_say_how_long_to_wait(scene, tmp_path):
    scene.server.put("/bucket/a.mp4", s3_error(503, "SlowDown", **{"Retry-After": "21"}), File(CONTENT))
    scene.storage.fetch("s3://bucket/a.mp4", tmp_path / "a", 1 << 30)
    assert scene.time.slept == [21]


def test_an_object_that_broke_off_is_gone_on_with(scene, tmp_path):
    scene.server.put("/bucket/a.mp4", File(CONTENT, cuts=[1_000_000, 500_000]))
    assert scene.storage.fetch("s3://bucket/a.mp4", tmp_path / "a", 1 << 30) == hashlib.sha256(CONTENT).hexdigest()
    asked = [(headers.get("Range"), headers.get("If-Match")) for _, headers in scene.server.asked]
    assert [asked[0], asked[-1][1]] == [(None, None), '"v1"']
    assert len(asked) == 3


def test_an_object_that_changed_in_between_is_begun_again(scene, tmp_path):
    old, new = File(CONTENT, cuts=[1_100_000]), File(CONTENT[::-1], tag='"v2"')
    scene.server.put("/bucket/a.mp4", old, new)
    assert scene.storage.fetch("s3://bucket/a.mp4", tmp_path / "a", 1 << 30) == hashlib.sha256(new.content).hexdigest()


def test_a_large_object_is_refused_before_it_comes_and_an_empty_one_told(scene, tmp_path):
    assert scene.refused(tmp_path, File(CONTENT), max_bytes=1 << 20).kind == "too_large"
    assert scene.refused(tmp_path, File(b"")).kind == "empty"


def test_listing_waits_for_a_server_that_throttles_in_the_middle(scene):
    pages = [
        _page(["in/a.mp4"], after="more"),
        s3_error(503, "SlowDown"),
        _page(["in/b.mp4", "in/folder/"]),
    ]
    scene.server.put("/bucket", *pages)
    assert [entry.name for entry in scene.storage.iterate_files("s3://bucket/in")] == ["a.mp4", "b.mp4"]
    assert len(scene.time.slept) == 1


def test_a_listing_that_cannot_be_had_says_why(scene):
    scene.server.put("/bucket", s3_error(400, "ExpiredToken"))
    with pytest.raises(UsageError, match="cannot be listed: S3 refuses the credentials"):
        list(scene.storage.iterate_files("s3://bucket/in"))
    scene.server.put("/bucket", s3_error(503, "SlowDown"))
    with pytest.raises(FetchError, match="cannot be listed: S3 asks for patience") as caught:
        list(scene.storage.iterate_files("s3://bucket/in"))
    assert caught.value.scope == "run"


def test_a_caption_that_is_throttled_stops_the_listing_and_is_no_videos_problem(scene, monkeypatch):
    monkeypatch.setattr(sources, "storage_of", lambda uri, settings: scene.storage)
    scene.server.put("/bucket", _page(["in/a.mp4", "in/a.txt"]))
    scene.server.put("/bucket/in/a.txt", s3_error(503, "SlowDown"))
    with pytest.raises(FetchError, match=r"s3://bucket/in/a\.txt cannot be read: .*again later") as caught:
        list(sources.list_clips(IngestSettings(source="s3://bucket/in")))
    assert caught.value.scope == "run"
    scene.server.put("/bucket/in/a.txt", s3_error(403, "AccessDenied"))
    (clip,) = sources.list_clips(IngestSettings(source="s3://bucket/in"))
    assert clip.problem.startswith("a.txt cannot be read: the object may not be read (AccessDenied")


def test_no_credentials_and_no_server_stop_the_run(tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = f"http://127.0.0.1:{gone.getsockname()[1]}"
    storage = S3Storage(address, Patience(retries=0))
    with pytest.raises(FetchError, match="there are no credentials for S3") as caught:
        storage.fetch("s3://bucket/a.mp4", tmp_path / "a", 100)
    assert (caught.value.kind, caught.value.scope) == ("credentials", "run")
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(FetchError, match=r"cannot be reached.*ingest\.s3_endpoint") as caught:
        S3Storage(address, Patience(retries=0)).fetch("s3://bucket/a.mp4", tmp_path / "a", 100)
    assert (caught.value.kind, caught.value.scope) == ("unreachable", "run")


def test_an_endpoint_that_is_no_url_is_told():
    with pytest.raises(UsageError, match=r"ingest\.s3_endpoint is the URL of a server, got 'nonsense'"):
        S3Storage("nonsense").version("s3://bucket/a.mp4")


def _page(keys, after=None):
    contents = "".join(f"<Contents><Key>{key}</Key><Size>5</Size></Contents>" for key in keys)
    more = f"<NextContinuationToken>{after}</NextContinuationToken>" if after else ""
    body = (
        '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<IsTruncated>{'true' if after else 'false'}</IsTruncated>{contents}{more}</ListBucketResult>"
    )
    return Answer(200, body.encode(), {"Content-Type": "application/xml"})
