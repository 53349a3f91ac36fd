"""A Job from start to end, against a small server that answers as the Kubernetes API does."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from kubernetes.client import ApiClient, BatchV1Api, Configuration, CoreV1Api

from elysium.errors import ElysiumError
from elysium.pipeline.airflow import airflow_environment
from elysium.pipeline.jobs import JobRun
from elysium.pipeline.kubernetes import JobRequest, render_job
from elysium.pipeline.steps import STEPS, step

MANIFEST = render_job(step("validate-raw"), JobRequest("run", "/workspace/run"))
NAME = MANIFEST["metadata"]["name"]
COMPLETE = [{"type": "Complete", "status": "True"}]
DEADLINE = [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "active longer than allowed"}]
POLICY = [{"type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": "exit code 3"}]


class Cluster:
    """What the server knows, and what it was asked.

    Attributes:
        jobs: Name to manifest, with the status that is to be answered.
        ends: Conditions of the Jobs that are made, by the number of looks until they have them.
        exit_code: Of every pod.
        log: Lines that every pod prints.
        asked: Method and last part of the path, in order.
    """

    def __init__(self):
        self.jobs, self.looks, self.asked, self.refuse = {}, 0, [], None
        self.ends, self.exit_code, self.log = {1: COMPLETE}, 0, ["one", "two"]
        self.waiting = None
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def make(self, manifest, conditions=()):
        self.jobs[manifest["metadata"]["name"]] = {**manifest, "status": {"conditions": list(conditions)}}

    def answer(self, method, path, query, body):
        last = path.rsplit("/", 1)[-1]
        self.asked.append((method, last))
        if self.refuse is not None:
            return self.refuse, {"message": "quota exceeded"}
        if method == "POST":
            name = body["metadata"]["name"]
            if name in self.jobs:
                return 409, {"message": "exists"}
            self.make(body)
            return 201, self.jobs[name]
        if method == "DELETE":
            return (200, {}) if self.jobs.pop(last, None) else (404, {})
        if last == "log":
            return 200, "".join(f"2026-01-01T00:00:0{i}.000000000Z {line}\n" for i, line in enumerate(self.log))
        if last == "pods":
            return 200, {"items": [] if self.waiting == "nothing" else [self._pod(query)]}
        self.looks += 1
        if last not in self.jobs:
            return 404, {"message": "not found"}
        if not self.jobs[last]["status"]["conditions"]:
            self.jobs[last]["status"]["conditions"] = self.ends.get(self.looks, [])
        return 200, self.jobs[last]

    def _pod(self, query):
        state = {"terminated": {"exitCode": self.exit_code}}
        if self.waiting:
            state = {"waiting": {"reason": self.waiting, "message": "no such image"}}
        return {
            "metadata": {"name": f"pod-of-{query.partition('%3D')[2]}", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "status": {
                "phase": "Pending" if self.waiting else "Succeeded",
                "containerStatuses": [
                    {"name": "step", "state": state, "ready": False, "restartCount": 0, "image": "", "imageID": ""}
                ],
            },
        }

    def _handler(cluster):  # noqa: N805 - the handler below has a self of its own
        class Handler(BaseHTTPRequestHandler):
            def respond(self):
                path, _, query = self.path.partition("?")
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"null")
                status, answer = cluster.answer(self.command, path, query, body)
                content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = respond  # noqa: N815 - the names that the base class calls

            def log_message(self, *_):
                pass

        return Handler


@pytest.fixture
def cluster():
    made = Cluster()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def run(cluster):
    """Runs one Job and returns how it ended and what was said."""
    with contextlib.ExitStack() as stack:

        def start():
            said = []
            configuration = Configuration(host=cluster.url)
            configuration.retries = False
            client = stack.enter_context(ApiClient(configuration))
            return JobRun(BatchV1Api(client), CoreV1Api(client), MANIFEST, said.append, seconds=0.01).run(), said

        yield start


def test_a_job_is_made_followed_and_ends_with_its_last_line(cluster, run):
    end, said = run()
    assert end.complete
    assert end.reason == "two"
    assert said[-2:] == ["one", "two"]
    assert {key: value for key, value in cluster.jobs[NAME].items() if key != "status"} == MANIFEST


def test_a_living_job_is_gone_on_with_and_no_second_one_is_made(cluster, run):
    cluster.make(MANIFEST)
    cluster.ends = {3: COMPLETE}
    end, said = run()
    assert end.complete
    assert "lives already" in said[0]
    assert [method for method, _ in cluster.asked].count("POST") == 1
    assert "DELETE" not in [method for method, _ in cluster.asked]


@pytest.mark.parametrize("conditions", [COMPLETE, DEADLINE], ids=["complete", "failed"])
def test_a_job_that_ended_earlier_makes_way(cluster, run, conditions):
    cluster.make(MANIFEST, conditions)
    cluster.ends = {2: COMPLETE}
    assert run()[0].complete
    assert [method for method, _ in cluster.asked][:4] == ["POST", "GET", "DELETE", "POST"]


def test_a_line_is_handed_on_once(cluster, run):
    cluster.ends = {4: COMPLETE}
    assert run()[1].count("one") == 1


def test_a_refused_gate_is_told_by_its_exit_code_and_its_reason(cluster, run):
    cluster.ends, cluster.exit_code, cluster.log = {1: POLICY}, 3, ["validate-raw: refused in 1.0 s: 2 clips are black"]
    end, _ = run()
    assert not end.complete
    assert end.exit_code == 3
    assert "2 clips are black" in end.reason
    assert "PodFailurePolicy" in end.reason


def test_a_job_whose_pods_are_gone_still_says_why(cluster, run):
    cluster.ends, cluster.waiting = {1: DEADLINE}, "nothing"
    end, _ = run()
    assert end.exit_code is None
    assert "DeadlineExceeded: active longer than allowed" in end.reason


def test_what_keeps_a_pod_from_starting_is_told_once(cluster, run):
    cluster.ends, cluster.waiting = {3: DEADLINE}, "ImagePullBackOff"
    _, said = run()
    (line,) = [line for line in said if "does not start" in line]
    assert "ImagePullBackOff: no such image" in line


def test_a_refusal_of_the_cluster_is_one_sentence(cluster, run):
    cluster.refuse = 403
    with pytest.raises(ElysiumError, match=f"refuses the Job {NAME}: quota exceeded"):
        run()


def test_the_job_outlives_an_api_that_does_not_answer(cluster, run):
    cluster.make(MANIFEST)
    answers = iter([None, None, 503, 503])
    usual = cluster.answer

    def answer(*request):
        cluster.refuse = next(answers, None)
        return usual(*request)

    cluster.answer, cluster.ends = answer, {4: COMPLETE, 5: COMPLETE}
    end, said = run()
    assert end.complete
    assert sum("does not answer" in line for line in said) == 1


def test_a_job_that_somebody_deletes_has_not_done_its_work(cluster, run):
    usual = cluster.answer

    def answer(*request):
        result = usual(*request)
        cluster.jobs.clear()
        return result

    cluster.answer = answer
    end, _ = run()
    assert not end.complete
    assert "was deleted" in end.reason


def airflow(cluster, home, **conf):
    config = {
        "clusters": [{"name": "c", "cluster": {"server": cluster.url}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {}}],
        "current-context": "c",
    }
    home.mkdir()
    (home / "kubeconfig").write_text(yaml.safe_dump(config))
    environment = {
        **airflow_environment(home),
        "KUBECONFIG": str(home / "kubeconfig"),
        "ELYSIUM_IMAGE_REGISTRY": "registry.example.org/",
        "PATH": os.environ["PATH"],
    }
    command = [sys.executable, "-m", "airflow"]
    subprocess.run([*command, "db", "migrate"], env=environment, check=True, capture_output=True)
    return subprocess.run(
        [*command, "dags", "test", "elysium_retrain", "--conf", json.dumps({"runner": "kubernetes", **conf})],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_dag_makes_one_job_a_step_in_the_tables_order(cluster, tmp_path):
    cluster.ends = dict.fromkeys(range(1, 100), COMPLETE)
    result = airflow(cluster, tmp_path / "home", workspace="/workspace/run-1", overrides=["seed=3"])
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    jobs = list(cluster.jobs.values())
    assert [job["metadata"]["labels"]["app.kubernetes.io/component"] for job in jobs] == [row.name for row in STEPS]
    for job, row in zip(jobs, STEPS, strict=True):
        run_id = job["metadata"]["name"].removeprefix("elysium-").removesuffix(f"-{row.name}")
        assert run_id.startswith("manual-")
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert container["image"].startswith(f"registry.example.org/elysium-{row.role}:")
        assert container["command"][-4:] == ["--preset", "nano", "--set", "seed=3"]
