"""The notifier, against a real webhook on this machine: what people read, and that its silence fails nothing."""

import contextlib
import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

from elysium.pipeline import notify

SECRET = "/services/T000/B000/very-secret"


@contextlib.contextmanager
def webhook(status=200):
    """A webhook that keeps what it is told."""
    told = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.append((self.path, self.headers["Content-Type"], json.loads(body)))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield told, f"http://127.0.0.1:{server.server_port}{SECRET}"
        server.shutdown()
        thread.join()


def context(exception=None, map_index=-1):
    task = SimpleNamespace(
        dag_id="elysium_retrain", task_id="finetune", run_id="weekly", map_index=map_index, log_url="http://airflow/log"
    )
    return {"task_instance": task, "exception": exception}


def test_a_failure_says_which_task_why_and_where_its_log_is(monkeypatch):
    with webhook() as (told, url):
        monkeypatch.setenv("ELYSIUM_NOTIFY_URL", url)
        notify.task_failed(context(RuntimeError("finetune failed: the loss is not a number")))
    ((path, kind, payload),) = told
    assert path == SECRET
    assert kind == "application/json"
    assert list(payload) == ["text"]
    for part in ("elysium_retrain", "finetune", "weekly", "the loss is not a number", "http://airflow/log"):
        assert part in payload["text"]


def test_a_refusal_is_no_failure(monkeypatch):
    with webhook() as (told, url):
        monkeypatch.setenv("ELYSIUM_NOTIFY_URL", url)
        notify.task_refused(context(RuntimeError("curate refused: 2 clips are black"), map_index=3))
    text = told[0][2]["text"]
    assert "*finetune[3]*" in text
    assert "said no" in text
    assert "2 clips are black" in text


@pytest.mark.parametrize("trouble", ["nobody there", "refused", "redirect", "no address"])
def test_a_channel_that_fails_is_told_without_its_address_and_raises_nothing(monkeypatch, caplog, trouble):
    caplog.set_level(logging.DEBUG)
    with webhook({"refused": 403, "redirect": 302}.get(trouble, 200)) as (_, url):
        given = {"nobody there": f"http://127.0.0.1:1{SECRET}", "no address": f"file://{SECRET}"}.get(trouble, url)
        monkeypatch.setenv("ELYSIUM_NOTIFY_URL", given)
        assert notify.tell("hello") is False
    assert "nobody was notified" in caplog.text
    assert "very-secret" not in caplog.text


def test_long_texts_keep_what_stands_first_and_last_and_no_secret(monkeypatch):
    with webhook() as (told, url):
        monkeypatch.setenv("ELYSIUM_NOTIFY_URL", url)
        notify.tell("first\n" + "x" * 9000 + "\nAWS_SECRET_ACCESS_KEY=abc123 last")
    text = told[0][2]["text"]
    assert len(text) < 3100
    assert text.startswith("first")
    assert text.endswith("last")
    assert "abc123" not in text


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        ("AWS_SECRET_ACCESS_KEY=abc123 last", "AWS_SECRET_ACCESS_KEY=*** last"),
        ("password: abc123", "password: ***"),
        ('{"secret_key": "abc123", "bucket": "b"}', '{"secret_key": ***, "bucket": "b"}'),
        ('{"password":"abc123 abc123","user":"u"}', '{"password":***,"user":"u"}'),
        ("{'token': 'abc123', 'n': 1}", "{'token': ***, 'n': 1}"),
        ('"{\\"api_key\\": \\"abc123\\"}"', '"{\\"api_key\\": ***'),
        ("Authorization: Bearer abc123.x-y_z== and so on", "Authorization: Bearer *** and so on"),
        ('{"Authorization": "Bearer abc123"}', '{"Authorization": "Bearer ***"}'),
        ("Authorization: Basic abc123", "Authorization: Basic ***"),
        ("Authorization: abc123 and so on", "Authorization: *** and so on"),
        ("token: Bearer abc123", "token: *** ***"),
        ("cannot clone https://user:abc123@host/x.git", "cannot clone https://***@host/x.git"),
        ("postgresql://mlflow:abc@123@db:5432/mlflow", "postgresql://***@db:5432/mlflow"),
        ("GET /x?X-Amz-Signature=abc123 failed", "GET /x?X-Amz-Signature=*** failed"),
    ],
)
def test_what_looks_like_a_secret_goes_to_nobody(monkeypatch, line, sent):
    with webhook() as (told, url):
        monkeypatch.setenv("ELYSIUM_NOTIFY_URL", url)
        notify.tell(line)
    assert told[0][2]["text"] == sent


@pytest.mark.parametrize(
    "line",
    ["KeyError: 'approval'", "s3://bucket/runs/x@2 is empty", "see http://airflow/log?to=me@host", "4.2 tokens/s"],
)
def test_what_is_no_secret_is_sent_as_it_is(monkeypatch, line):
    with webhook() as (told, url):
        monkeypatch.setenv("ELYSIUM_NOTIFY_URL", url)
        notify.tell(line)
    assert told[0][2]["text"] == line
