"""A small server that answers as the Kubernetes API does, for tests of what talks to it."""

import contextlib
import datetime
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml
from kubernetes.client import ApiClient, BatchV1Api, Configuration, CoreV1Api

from elysium.pipeline.jobs import Cluster

COMPLETE = [{"type": "Complete", "status": "True"}]
DEADLINE = [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "active longer than allowed"}]
POLICY = [{"type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": "exit code 3"}]
BACKOFF = [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "reached the limit"}]
_TIMES = {"creationTimestamp": "2026-01-01T00:00:00Z"}


class JobsApi:
    """What the server knows, and what it was asked.

    Attributes:
        jobs: Name to manifest, with the status that is answered.
        ends: Conditions that living Jobs have from so many looks at any of them on.
        pods: Of every Job; made by `pod`. Lists of them are answered one after the other; the last stays.
        events: Of whatever is asked for; or what returns them.
        log: Lines that every pod prints.
        logs: Lines of pods that print others, by the pod's name.
        leaving: Looks at a Job for which it is there still, being deleted.
        asked: Method and last part of the path, in order.
        answers: For (method, resource), status and message instead of the usual answer, one after the other; the last
            stays. None is the usual answer.
    """

    def __init__(self):
        self.jobs, self.services, self.asked, self.looks = {}, {}, [], 0
        self.ends, self.log, self.events, self.answers = {1: COMPLETE}, ["one", "two"], [], {}
        self.logs, self.leaving = {}, 0
        self.pods, self.minor = [pod()], "30"
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @contextlib.contextmanager
    def serving(self):
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield self
        self.server.shutdown()
        self.server.server_close()
        thread.join()

    @contextlib.contextmanager
    def cluster(self, say, seconds=0.01, **options):
        configuration = Configuration(host=self.url)
        configuration.retries = False
        with ApiClient(configuration) as client:
            yield Cluster(BatchV1Api(client), CoreV1Api(client), say, seconds, **options)

    def kubeconfig(self, path):
        config = {
            "clusters": [{"name": "c", "cluster": {"server": self.url}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {}}],
            "current-context": "c",
        }
        path.write_text(yaml.safe_dump(config))
        return path

    def make(self, manifest, conditions=(), **status):
        job = json.loads(json.dumps(manifest))
        job["metadata"].update(_TIMES)
        job["status"] = {"conditions": list(conditions), "startTime": "2026-01-01T00:00:00Z", **status}
        job["status"].setdefault("active", 1)
        # Old enough Jobs would be over their deadline.
        job["status"]["startTime"] = status.get("startTime", "2100-01-01T00:00:00Z")
        self.jobs[job["metadata"]["name"]] = job

    def methods(self, last=None):
        return [method for method, name in self.asked if last in (None, name)]

    def answer(self, method, path, query, body):
        last = path.rsplit("/", 1)[-1]
        self.asked.append((method, last))
        kind = (
            "log"
            if last == "log"
            else "pods"
            if "/pods" in path
            else next((k for k in ("jobs", "services", "events") if f"/{k}" in path), path)
        )
        planned = self.answers.get((method, kind))
        if planned:
            answer = planned.pop(0) if len(planned) > 1 else planned[0]
            if answer is not None:
                return answer[0], {"message": answer[1]}
        if path == "/version/":
            return 200, dict.fromkeys(_VERSION, "") | {"major": "1", "minor": self.minor}
        if kind == "events":
            return 200, {"items": self.events() if callable(self.events) else self.events}
        known = self.services if kind == "services" else self.jobs
        if method == "POST":
            name = body["metadata"]["name"]
            if name in known:
                return 409, {"message": "exists"}
            if kind == "services":
                known[name] = body
            else:
                self.make(body)
            return 201, known[name]
        if method == "DELETE" and kind == "jobs" and self.leaving and last in known:
            known[last]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            return 200, {}
        if method == "DELETE":
            return (200, {}) if known.pop(last, None) else (404, {})
        if last == "log":
            lines = self.logs.get(path.rsplit("/", 2)[-2], self.log)
            return 200, "".join(f"2026-01-01T00:00:{i:02}.000000000Z {line}\n" for i, line in enumerate(lines))
        if last == "pods":
            name = query.partition("job-name%3D")[2].partition("&")[0]
            pods = self.pods
            if pods and isinstance(pods[0], list):
                pods = pods.pop(0) if len(pods) > 1 else pods[0]
            return 200, {"items": [_named(made, name) for made in pods]}
        self.looks += 1
        if last in self.jobs and self.jobs[last]["metadata"].get("deletionTimestamp"):
            self.leaving -= 1
            if self.leaving < 0:
                del self.jobs[last]
        if last not in self.jobs:
            return 404, {"message": "not found"}
        if not self.jobs[last]["status"]["conditions"]:
            come = [number for number in self.ends if number <= self.looks]
            self.jobs[last]["status"]["conditions"] = self.ends[max(come)] if come else []
        return 200, self.jobs[last]

    def _handler(api):  # noqa: N805 - the handler below has a self of its own
        class Handler(BaseHTTPRequestHandler):
            def respond(self):
                path, _, query = self.path.partition("?")
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"null")
                status, answer = api.answer(self.command, path, query, body)
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


_VERSION = ("buildDate", "compiler", "gitCommit", "gitTreeState", "gitVersion", "goVersion", "platform")


def pod(
    phase="Succeeded",
    *,
    code=0,
    waiting=None,
    message="no such image",
    reason=None,
    conditions=(),
    memory=None,
    index=None,
    name=None,
):
    """Returns a pod of the Job that is asked about, by default called after it; of an Indexed Job with its index."""
    state = {"terminated": {"exitCode": code, "reason": "OOMKilled" if memory else "Error"}}
    if waiting:
        phase, state = "Pending", {"waiting": {"reason": waiting, "message": message}}
    elif phase == "Running":
        state = {"running": {}}
    elif phase == "Pending":
        state = {}
    status = {"phase": phase, "conditions": list(conditions), "reason": reason, "message": message}
    status["containerStatuses"] = [
        {"name": "step", "state": state, "ready": False, "restartCount": 0, "image": "elysium:1", "imageID": ""}
    ]
    limits = {"memory": memory} if memory else {}
    metadata = {} if index is None else {"annotations": {"batch.kubernetes.io/job-completion-index": str(index)}}
    metadata |= {"name": name} if name else {}
    spec = {"containers": [{"name": "step", "resources": {"limits": limits}}]}
    return {"metadata": metadata, "status": status, "spec": spec}


def event(reason, message, seconds_ago=0):
    """Returns a warning about whatever is asked for."""
    at = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds_ago)
    return {
        "reason": reason, "message": message, "type": "Warning", "metadata": {}, "involvedObject": {},
        "lastTimestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }  # fmt: skip


def _named(made, job):
    return {**made, "metadata": {"name": f"pod-of-{job}", **_TIMES, **made["metadata"]}}
