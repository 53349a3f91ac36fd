"""Servers on this machine that throttle, break off, go on in the middle and refuse; and time that passes at once."""

import contextlib
import http.server
import re
import threading
from dataclasses import dataclass, field


@dataclass
class Answer:
    """One answer; of its body only `sent` bytes go out before the connection is cut; of status 0 nothing does."""

    status: int = 200
    body: bytes = b""
    headers: dict = field(default_factory=dict)
    sent: int | None = None


@dataclass
class File:
    """A file that is sent in parts if asked for (RFC 9110 §14); each of `cuts` breaks one answer off after so many."""

    content: bytes
    tag: str | None = '"v1"'
    cuts: list = field(default_factory=list)
    ranges: bool = True

    def answer(self, headers):
        tags = {"ETag": self.tag} if self.tag else {}
        wanted = re.fullmatch(r"bytes=(\d+)-", headers.get("Range", ""))
        same = headers.get("If-Range", self.tag) == self.tag
        if headers.get("If-Match", self.tag) != self.tag:
            return s3_error(412, "PreconditionFailed")
        start = int(wanted[1]) if wanted and self.ranges and same else 0
        if start:
            tags["Content-Range"] = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
        sent = self.cuts.pop(0) if self.cuts else None
        return Answer(206 if start else 200, self.content[start:], tags, sent)


class Server(http.server.ThreadingHTTPServer):
    """Gives each path its answers in turn, the last one over and over; `asked` holds paths and headers."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers, self.asked, self.connections = {}, [], 0

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def put(self, path, *answers):
        self.answers[path] = list(answers)
        return self.address + path

    def get_request(self):
        self.connections += 1
        return super().get_request()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.server.asked.append((self.path, dict(self.headers)))
        answers = self.server.answers.get(path, [Answer(404)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, File):
            answer = answer.answer(self.headers)
        if answer.status == 0:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(answer.body[: answer.sent])
        if answer.sent is not None:
            self.close_connection = True

    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def serving():
    """Lets a server answer until the block ends."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def s3_error(status, code, message="", **headers):
    """An error as S3 sends it (S3 API reference, "REST error responses")."""
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message or code}</Message>'
        "<Resource>/bucket/key</Resource><RequestId>4442587FB7D0A2F9</RequestId></Error>"
    )
    return Answer(status, body.encode(), {"Content-Type": "application/xml", **headers})


class Time:
    """Seconds that pass only when somebody sleeps, or with every look at the clock."""

    def __init__(self):
        self.now, self.slept, self.a_look = 0.0, [], 0.0

    def clock(self):
        self.now += self.a_look
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds
