"""Handing the pipeline in: a server here speaks the part of Kubeflow's API (v2beta1) that its client uses."""

import contextlib
import json
import re
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.kubeflow import compile_pipeline, kubeflow_python
from elysium.pipeline.schedule import check_cron
from elysium.pipeline.submission import Submission, ask_host, submit

TOKEN = "the-secret-token"


class Kubeflow:
    """What one Kubeflow knows, and what it was asked."""

    def __init__(self):
        self.requests, self.experiments, self.recurring = [], {}, {}
        self.multi_user = False
        self.denied = ()
        # What a run is seen to be, question after question.
        self.states = [{"state": "SUCCEEDED"}]

    def answer(self, method, path, query, body):
        """Returns status and answer."""
        if (method, path) in self.denied:
            return 403, {"error": "denied", "code": 7, "message": "User 'ann' is not authorized"}
        what, _, rest = path.removeprefix("/apis/v2beta1/").partition("/")
        if what == "healthz":
            return 200, {"multi_user": self.multi_user}
        if what == "experiments":
            return 200, self._experiments(method, query, body)
        if what == "runs":
            return 200, {**body, "run_id": "run-1"} if method == "POST" else self._run(rest)
        if what == "recurringruns":
            return 200, self._recurring(method, rest, query, body)
        return 404, {}

    def _experiments(self, method, query, body):
        if method == "POST":
            made = {**body, "experiment_id": f"experiment-{len(self.experiments)}"}
            self.experiments[body["display_name"]] = made
            return made
        return {"experiments": self._filtered(list(self.experiments.values()), query)}

    def _run(self, run_id):
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return {"run_id": run_id, **state}

    def _recurring(self, method, identifier, query, body):
        if method == "POST":
            made = {**body, "recurring_run_id": f"recurring-{len(self.recurring)}"}
            self.recurring[made["recurring_run_id"]] = made
            return made
        if method == "DELETE":
            del self.recurring[identifier]
            return {}
        return {"recurringRuns": self._filtered(list(self.recurring.values()), query)}

    @staticmethod
    def _filtered(entries, query):
        for text in query.get("filter", []):
            for predicate in json.loads(text)["predicates"]:
                assert predicate["operation"] in (1, "EQUALS"), "its number or its name"
                assert predicate["key"] == "display_name"
                entries = [entry for entry in entries if entry["display_name"] == predicate["stringValue"]]
        return entries

    def bodies(self, path):
        return [body for method, asked, body in self.requests if (method, asked) == ("POST", f"/apis/v2beta1/{path}")]


@pytest.fixture
def kubeflow(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    state = Kubeflow()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            url = urlsplit(self.path)
            state.requests.append((self.command, url.path, body))
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                status, answer = 401, {"message": "no token"}
            else:
                status, answer = state.answer(self.command, url.path, parse_qs(url.query), body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self):
            self.handle_any()

        def do_POST(self):
            self.handle_any()

        def do_DELETE(self):
            self.handle_any()

        def log_message(self, *_):
            pass

    with serve(Handler) as state.host:
        yield state


@contextlib.contextmanager
def serve(handler):
    """Runs a server on this machine while the block runs, and returns its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def asked(kubeflow, tmp_path):
    """Makes a submission to that Kubeflow."""
    try:
        kubeflow_python()
    except UsageError as error:
        pytest.skip(str(error))
    (tmp_path / "token").write_text(f"{TOKEN}\n")

    def make(**given):
        return Submission(kubeflow.host, token_file=str(tmp_path / "token"), poll_seconds=0.01, **given)

    return make


def test_a_run_is_handed_in_and_watched_to_its_end(kubeflow, asked, tmp_path):
    gate = {"display_name": "condition-3", "state": "SKIPPED", "run_id": "run-1", "task_id": "t"}
    kubeflow.states = [
        {"state": "PENDING"},
        {"state": "RUNNING"},
        {"state": "SUCCEEDED", "run_details": {"task_details": [gate]}},
    ]
    answer = submit(
        asked(
            workspace="s3://bucket/runs/",
            preset="small",
            overrides=("curate.min_iou=0.4",),
            name="first",
            service_account="trainer",
            copy_models=False,
            wait_seconds=60,
        )
    )
    assert (answer["run"], answer["state"], answer["refused"]) == ("run-1", "SUCCEEDED", True)
    assert answer["url"] == f"{kubeflow.host}/#/runs/details/run-1"
    assert list(kubeflow.experiments) == ["elysium"], "the default experiment is made"
    (body,) = kubeflow.bodies("runs")
    assert (body["display_name"], body["service_account"]) == ("first", "trainer")
    assert body["experiment_id"] == "experiment-0"
    assert body["runtime_config"]["parameters"] == {
        "workspace": "s3://bucket/runs/",
        "preset": "small",
        "overrides": ["curate.min_iou=0.4"],
        "copy_models": False,
    }
    compile_pipeline(tmp_path / "pipeline.yaml", workspace="s3://bucket/runs/")
    spec, platform = yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text())
    assert plain(body["pipeline_spec"]["pipeline_spec"]) == plain(spec)
    assert body["pipeline_spec"]["platform_spec"] == platform
    assert TOKEN not in json.dumps(answer)


def test_a_schedule_takes_the_place_of_the_one_with_its_name(kubeflow, asked):
    kubeflow.experiments["nightly"] = {"display_name": "nightly", "experiment_id": "experiment-9"}
    for identifier, name in (("old", "elysium-retrain"), ("other", "another")):
        kubeflow.recurring[identifier] = {"recurring_run_id": identifier, "display_name": name}
    answer = submit(asked(experiment="nightly", cron="0 0 3 * * 0"))
    assert answer["replaced"] == ["old"]
    assert set(kubeflow.recurring) == {"other", answer["recurring_run"]}
    made = kubeflow.recurring[answer["recurring_run"]]
    assert made["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 0"}}
    assert (made["display_name"], made["experiment_id"]) == ("elysium-retrain", "experiment-9")
    assert (made["mode"], str(made["max_concurrency"]), made["no_catchup"]) == ("ENABLE", "1", True)
    assert made["runtime_config"]["parameters"]["workspace"] == "/workspace/runs/"
    order = [method for method, path, _ in kubeflow.requests if path.startswith("/apis/v2beta1/recurringruns")]
    assert order == ["GET", "POST", "DELETE"], "there is no moment without a schedule"


def test_an_unknown_experiment_is_not_made_unasked(kubeflow, asked):
    kubeflow.experiments["nightly"] = {"display_name": "nightly", "experiment_id": "experiment-9"}
    with pytest.raises(UsageError, match=r"no experiment 'nigthly'; there are: nightly; --create-experiment"):
        submit(asked(experiment="nigthly"))
    assert kubeflow.bodies("experiments") == kubeflow.bodies("runs") == []


def test_a_denial_says_who_denies_what(kubeflow, asked):
    kubeflow.multi_user = True
    kubeflow.denied = (("POST", "/apis/v2beta1/experiments"),)
    with pytest.raises(ElysiumError, match=r"denies it in the namespace team \(403\): User 'ann' is not authorized"):
        submit(asked(namespace="team"))


def test_where_users_are_kept_apart_a_namespace_is_needed(kubeflow, asked):
    kubeflow.multi_user = True
    with pytest.raises(UsageError, match="name your --namespace"):
        submit(asked())
    assert kubeflow.bodies("runs") == []


def test_nobody_gets_in_without_the_token(kubeflow):
    with pytest.raises(ElysiumError, match=r"without a login \(it answered 401\); give --token-file"):
        ask_host(kubeflow.host, None)
    with pytest.raises(ElysiumError, match="the token is not valid there"):
        ask_host(kubeflow.host, "another")
    assert ask_host(kubeflow.host + "/", TOKEN) is False


def test_where_nobody_answers_the_way_in_is_named():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ElysiumError, match=r"no Kubeflow answers at .* port-forward"):
        ask_host(host, None)


def test_what_is_no_kubeflow_is_told_apart():
    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html>Welcome</html>")

        def log_message(self, *_):
            pass

    with serve(Page) as host, pytest.raises(UsageError, match=r"is no Kubeflow Pipelines .* ends in /pipeline"):
        ask_host(host, None)
    with pytest.raises(UsageError, match="begins with http"):
        ask_host("kubeflow.example.org", None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cron": "0 0 3 * * 0", "interval_seconds": 60}, "not both"),
        ({"cron": "0 3 * * 1"}, "six fields, seconds first, got 5 in '0 3 * * 1'; with seconds it is '0 0 3 * * 1'"),
        ({"interval_seconds": 0}, "1 or more, got 0"),
        ({"interval_seconds": 60, "workspace": "s3://bucket/run"}, "end --workspace in /"),
        ({"interval_seconds": 60, "wait_seconds": 1.0}, "a schedule has no end"),
        ({"workspace": "/data/run"}, "below /workspace or on s3://"),
        ({"token_file": "/nowhere/token"}, "token file /nowhere/token cannot be read"),
    ],
)
def test_what_cannot_work_is_refused_before_anybody_is_asked(given, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        submit(Submission("http://127.0.0.1:9", **given))


@pytest.mark.parametrize("text", ["0 0 3 * * 0", "0 */15 8-18 ? * MON-FRI", "30 0 0 1,15 JAN,jul *", "@weekly"])
def test_kubeflows_crons_are_taken(text):
    assert check_cron(text) == text


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("60 0 3 * * 0", "'60' is no second"),
        ("0 0 24 * * 0", "'24' is no hour"),
        ("0 0 3 0 * *", "'0' is no day of the month"),
        ("0 0 3 * 13 *", "'13' is no month"),
        ("0 0 3 * * 7", "'7' is no day of the week"),
        ("0 0 3-1 * * *", "'3-1' is no hour"),
        ("0 */0 3 * * *", "'*/0' is no minute"),
        ("0 ? 3 * * *", "'?' is no minute"),
        ("0 0 3 * * FOO", "'FOO' is no day of the week"),
        ("@every 1h", "six fields"),
        ("", "six fields"),
    ],
)
def test_other_crons_are_not(text, field):
    with pytest.raises(UsageError, match=re.escape(field)):
        check_cron(text)


def plain(value):
    """Returns a spec with one kind of number: JSON knows no other."""
    return json.loads(json.dumps(value), parse_int=float)
