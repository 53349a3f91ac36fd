"""An OpenAI-compatible endpoint on this machine, that answers as a test tells it to."""

import json
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USAGE = {"prompt_tokens": 100, "completion_tokens": 10}


@dataclass(frozen=True)
class Say:
    """One answer of the server: a completion's text, or a status with a body."""

    text: str = ""
    status: int = 200
    headers: dict = field(default_factory=dict)
    body: str | None = None
    model: str = "judge-2024"
    usage: dict | None = field(default_factory=lambda: dict(USAGE))

    def content(self):
        if self.body is not None:
            return self.body
        answer = {"model": self.model, "choices": [{"message": {"role": "assistant", "content": self.text}}]}
        return json.dumps(answer | ({"usage": self.usage} if self.usage else {}))


HANG = "hang"


class JudgeServer:
    """Answers with what is in `script`, then with `otherwise`; keeps what it was sent.

    Attributes:
        script: `Say`s and `HANG`s, one a request.
        otherwise: Returns the `Say` for a request's body.
        bodies: Of the requests, as they came.
        headers: Likewise.
        hung: Set once a request hangs.
    """

    def __init__(self):
        self.script, self.otherwise = deque(), grade
        self.bodies, self.headers = [], []
        self.hung, self._released = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body leave together: apart, the second waits for the first's acknowledgement

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server._lock:
                    server.bodies.append(body)
                    server.headers.append(dict(self.headers) | {"path": self.path})
                    said = server.script.popleft() if server.script else server.otherwise(body)
                if said == HANG:
                    server.hung.set()
                    server._released.wait()
                    self.close_connection = True
                    return
                content = said.content().encode()
                self.send_response(said.status)
                for name, value in {"Content-Length": str(len(content)), **said.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def questions(self):
        """Returns the questions in the order in which they were asked."""
        return [field_of(body, "Question") for body in self.bodies]

    def close(self):
        self._released.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def field_of(body, name):
    """Returns a line of the built-in prompt's question in a request."""
    first = next(message["content"] for message in body["messages"] if message["role"] == "user")
    return next(line.removeprefix(f"{name}: ") for line in first.splitlines() if line.startswith(f"{name}: "))


def verdict(says, score):
    return Say(json.dumps({"correct": says, "score": score}))


def grade(body):
    """Says yes, 5 to an answer that is the reference answer, and no, 1 to any other."""
    same = field_of(body, "Answer to grade") == field_of(body, "Reference answer")
    return verdict("yes", 5) if same else verdict("no", 1)
