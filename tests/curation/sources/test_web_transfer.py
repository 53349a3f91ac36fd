"""Against a real web server on this machine."""

import hashlib
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from source_servers import Answer, File

from elysium.data.transfer import FetchError, Patience
from elysium.data.web import WebStorage

CONTENT = bytes(range(256)) * 12_000  # 3 MB


@pytest.fixture
def storage(time):
    patience = Patience(retries=3, deadline=600, sleep=time.sleep, clock=time.clock)
    return WebStorage(allow_private_hosts=True, timeout=5, patience=patience)


def refused(storage, address, tmp_path, **options):
    with pytest.raises(FetchError) as caught:
        storage.fetch(address, tmp_path / "a", options.get("max_bytes", 1 << 30))
    assert list(tmp_path.iterdir()) == []
    return caught.value


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_throttles_is_waited_for_as_long_as_it_says(server, storage, time, tmp_path, status):
    address = server.put("/a.mp4", Answer(status, headers={"Retry-After": "17"}), File(CONTENT))
    storage.fetch(address, tmp_path / "a", 1 << 30)
    assert time.slept == [17]
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_one_that_throttles_for_ever_is_given_up(server, storage, time, tmp_path):
    error = refused(storage, server.put("/a.mp4", Answer(503)), tmp_path)
    assert (error.kind, error.scope) == ("throttled", "video")
    assert "503" in str(error)
    assert "after 4 attempts" in str(error)
    assert len(time.slept) == 3


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_failing_server_is_asked_again(server, storage, tmp_path, status):
    address = server.put("/a.mp4", Answer(status), Answer(status), File(CONTENT))
    assert storage.fetch(address, tmp_path / "a", 1 << 30) == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, "missing"), (410, "missing"), (403, "denied"), (401, "denied"), (451, "denied"), (400, "transfer")],
)
def test_a_refusal_is_final_and_says_what_it_is(server, storage, time, tmp_path, status, kind):
    error = refused(storage, server.put("/a.mp4", Answer(status)), tmp_path)
    assert (error.kind, error.scope, time.slept, len(server.asked)) == (kind, "video", [], 1)


def test_a_file_that_broke_off_is_gone_on_with(server, storage, tmp_path):
    address = server.put("/a.mp4", File(CONTENT, cuts=[1_000_000, 500_000]))
    assert storage.fetch(address, tmp_path / "a", 1 << 30) == hashlib.sha256(CONTENT).hexdigest()
    assert (tmp_path / "a").read_bytes() == CONTENT
    asked = [headers.get("Range") for _, headers in server.asked]
    assert asked == [None, "bytes=1000000-", "bytes=1500000-"]


@pytest.mark.parametrize("options", [{"ranges": False}, {"tag": None}, {"tag": 'W/"weak"'}])
def test_a_server_that_cannot_go_on_begins_again(server, storage, tmp_path, options):
    address = server.put("/a.mp4", File(CONTENT, cuts=[1_000_000], **options))
    assert storage.fetch(address, tmp_path / "a", 1 << 30) == hashlib.sha256(CONTENT).hexdigest()


def test_a_file_that_changed_in_between_is_begun_again(server, storage, tmp_path):
    old, new = File(CONTENT, cuts=[1_000_000]), File(CONTENT[::-1], tag='"v2"')
    storage.fetch(server.put("/a.mp4", old, new), tmp_path / "a", 1 << 30)
    assert (tmp_path / "a").read_bytes() == CONTENT[::-1]


def test_another_part_than_was_asked_for_is_not_taken(server, storage, tmp_path):
    wrong = Answer(206, b"xyz", {"Content-Range": "bytes 5-7/3072000", "ETag": '"v1"'})
    address = server.put("/a.mp4", File(CONTENT, cuts=[1_000_000]), wrong, File(CONTENT))
    assert storage.fetch(address, tmp_path / "a", 1 << 30) == hashlib.sha256(CONTENT).hexdigest()


def test_a_part_beyond_the_end_begins_again(server, storage, tmp_path):
    address = server.put("/a.mp4", File(CONTENT, cuts=[1_000_000]), Answer(416), File(CONTENT))
    assert storage.fetch(address, tmp_path / "a", 1 << 30) == hashlib.sha256(CONTENT).hexdigest()


def test_one_that_breaks_off_every_time_says_how_far_it_came(server, storage, tmp_path):
    error = refused(storage, server.put("/a.mp4", File(CONTENT, cuts=[10] * 9)), tmp_path)
    assert error.kind == "transfer"
    assert "ended after 40 of 3072000 bytes (after 4 attempts)" in str(error)


def test_a_large_file_is_refused_before_it_comes(server, storage, tmp_path):
    error = refused(storage, server.put("/a.mp4", File(CONTENT)), tmp_path, max_bytes=1 << 20)
    assert error.kind == "too_large"


def test_an_empty_file_is_told(server, storage, tmp_path):
    assert refused(storage, server.put("/a.mp4", Answer(200)), tmp_path).kind == "empty"


def test_a_file_that_drips_is_given_up(server, storage, time, tmp_path):
    time.a_look = 400  # seconds
    assert "not finished after 600 s" in str(refused(storage, server.put("/a.mp4", File(CONTENT)), tmp_path))


def test_nobody_at_the_address_is_told(storage, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = f"http://127.0.0.1:{gone.getsockname()[1]}/a.mp4"
    error = refused(storage, address, tmp_path)
    assert (error.kind, error.scope) == ("unreachable", "video")
    assert "refused" in str(error)


def test_connections_are_kept_and_shared_by_threads(server, storage, tmp_path):
    addresses = [server.put(f"/{number}.mp4", File(b"clip")) for number in range(40)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda address: storage.fetch(address, tmp_path / address[-7:].strip("/"), 100), addresses))
    assert len(server.asked) == 40
    assert server.connections <= 4


def test_a_proxy_of_the_environment_is_asked_where_private_hosts_are_allowed(server, time, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.address.replace("//", "//me:pass@"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.put("http://host.example/a.mp4", File(b"clip"))
    server.put("/b.mp4", File(b"direct"))
    storage = WebStorage(allow_private_hosts=True, patience=Patience(retries=0))
    storage.fetch("http://host.example/a.mp4", tmp_path / "a", 100)
    storage.fetch(f"{server.address}/b.mp4", tmp_path / "b", 100)
    assert (tmp_path / "a").read_bytes() + (tmp_path / "b").read_bytes() == b"clipdirect"
    assert server.asked[0][1]["proxy-authorization"] == "Basic bWU6cGFzcw=="  # RFC 7617 of me:pass
