import contextlib
import http.server
import socket
import threading

import pytest

from elysium.data import web
from elysium.data.transfer import FetchError, Patience
from elysium.data.web import WebStorage
from elysium.errors import UsageError


class Server:
    """A web server on this machine: `answers` gives each path the (status, headers, body) to send, in turn."""

    def __init__(self):
        self.answers = {}
        self.asked = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                answers = outer.answers[self.path]
                status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.http.server_address[1]

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"


@pytest.fixture
def make_server():
    with contextlib.ExitStack() as stack:

        def start():
            server = Server()
            thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            stack.callback(server.http.server_close)
            stack.callback(thread.join)
            stack.callback(server.http.shutdown)
            return server

        yield start


@pytest.fixture
def server(make_server):
    return make_server()


def storage(timeout=5, **patience):
    return WebStorage(allow_private_hosts=True, timeout=timeout, patience=Patience(**{"pause": 0, **patience}))


def body_of(content):
    return (200, {"Content-Length": str(len(content))}, content)


def test_a_file_is_brought_here(server, tmp_path):
    server.answers["/a.mp4"] = [body_of(b"clip" * 500_000)]
    storage().fetch(server.url("/a.mp4"), tmp_path / "a", 1 << 30)
    assert (tmp_path / "a").read_bytes() == b"clip" * 500_000


def test_redirects_are_followed(server, tmp_path):
    server.answers["/old"] = [(302, {"Location": "/new"}, b"")]
    server.answers["/new"] = [body_of(b"clip")]
    storage().fetch(server.url("/old"), tmp_path / "a", 100)
    assert (tmp_path / "a").read_bytes() == b"clip"


def test_private_addresses_are_refused_before_anything_is_sent(server, tmp_path):
    server.answers["/a.mp4"] = [body_of(b"secret")]
    with pytest.raises(FetchError, match=r"private address 127\.0\.0\.1; ingest.allow_private_hosts=true permits"):
        WebStorage().fetch(server.url("/a.mp4"), tmp_path / "a", 100)
    assert server.asked == []
    assert list(tmp_path.iterdir()) == []


def test_names_that_lead_inwards_are_refused(server, tmp_path):
    with pytest.raises(FetchError, match="localhost leads to the private address"):
        WebStorage().fetch(f"http://localhost:{server.port}/a.mp4", tmp_path / "a", 100)


def test_tls_is_not_even_begun_with_a_private_address(server, tmp_path):
    with pytest.raises(FetchError, match="private address"):
        WebStorage().fetch(f"https://127.0.0.1:{server.port}/a.mp4", tmp_path / "a", 100)


def test_a_redirect_to_a_private_address_is_refused(make_server, tmp_path, monkeypatch):
    public, private = make_server(), make_server()
    public.answers["/a.mp4"] = [(302, {"Location": private.url("/secret")}, b"")]
    private.answers["/secret"] = [body_of(b"secret")]
    check = web._check_public

    def only_one_port_is_public(connection, host):
        if connection.getpeername()[1] != public.port:
            check(connection, host)

    monkeypatch.setattr(web, "_check_public", only_one_port_is_public)
    with pytest.raises(FetchError, match="private address"):
        WebStorage().fetch(public.url("/a.mp4"), tmp_path / "a", 100)
    assert (public.asked, private.asked) == (["/a.mp4"], [])


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/a"])
def test_a_redirect_out_of_the_web_is_refused(server, tmp_path, location):
    server.answers["/a.mp4"] = [(302, {"Location": location}, b"")]
    with pytest.raises(FetchError):
        storage().fetch(server.url("/a.mp4"), tmp_path / "a", 1 << 20)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("headers", [{"Content-Length": "3000000"}, {}], ids=["announced", "not announced"])
def test_a_file_larger_than_the_limit_is_refused(server, tmp_path, headers):
    server.answers["/a.mp4"] = [(200, headers, b"x" * 3_000_000)]
    with pytest.raises(FetchError, match="exceed the limit of 1 MiB"):
        storage().fetch(server.url("/a.mp4"), tmp_path / "a", 1 << 20)
    assert list(tmp_path.iterdir()) == []


def test_a_transfer_that_breaks_off_is_an_error(server, tmp_path):
    server.answers["/a.mp4"] = [(200, {"Content-Length": "1000"}, b"x" * 10)]
    with pytest.raises(FetchError, match="10 of 1000 bytes"):
        storage().fetch(server.url("/a.mp4"), tmp_path / "a", 1 << 20)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_answer_is_an_error(server, tmp_path):
    server.answers["/a.mp4"] = [(200, {}, b"")]
    with pytest.raises(FetchError, match=r"the file is empty \(0 bytes\)"):
        storage().fetch(server.url("/a.mp4"), tmp_path / "a", 1 << 20)


def test_an_overloaded_server_is_asked_again(server, tmp_path):
    server.answers["/a.mp4"] = [(503, {}, b""), (429, {}, b""), body_of(b"clip")]
    storage().fetch(server.url("/a.mp4"), tmp_path / "a", 100)
    assert (tmp_path / "a").read_bytes() == b"clip"


def test_a_missing_file_is_asked_for_once(server, tmp_path):
    server.answers["/a.mp4"] = [(404, {}, b"")]
    with pytest.raises(FetchError, match="the server answered 404"):
        storage().fetch(server.url("/a.mp4"), tmp_path / "a", 100)
    assert server.asked == ["/a.mp4"]


def test_a_server_that_never_answers_is_given_up(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.mp4"
        with pytest.raises(FetchError, match="timed out"):
            storage(timeout=0.05).fetch(url, tmp_path / "a", 100)


def test_a_file_that_takes_too_long_is_given_up(server, tmp_path):
    server.answers["/a.mp4"] = [body_of(b"x" * 1000)]
    with pytest.raises(FetchError, match="not finished after 0 s"):
        storage(deadline=0).fetch(server.url("/a.mp4"), tmp_path / "a", 1 << 20)


@pytest.mark.parametrize("url", ["http://bad host/a.mp4", "http://[::1/a.mp4", "http:///a.mp4"])
def test_an_address_that_is_none_is_an_error(tmp_path, url):
    with pytest.raises(FetchError):
        storage().fetch(url, tmp_path / "a", 100)


def test_web_servers_cannot_be_listed():
    with pytest.raises(UsageError, match="name a CSV or JSONL"):
        storage().list_files("http://host/folder/")
