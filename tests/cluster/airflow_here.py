"""A whole Airflow outside the cluster: scheduler, triggerer, DAG processor, API server; on SQLite, in its own home."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from elysium.pipeline.airflow import airflow_environment

ENDED = ("success", "failed")


class AirflowHere:
    """Talks to a running Airflow by its REST API, as a person's browser does.

    Args:
        url: Of the API server.
        log: What its processes print.
    """

    def __init__(self, url: str, log: Path) -> None:
        self.url, self.log = url, log
        self._client = httpx.Client(base_url=url, timeout=60)

    def start(self, dag: str, run: str, conf: Mapping[str, Any]) -> None:
        """Triggers a run of a DAG with these params."""
        self.call("POST", f"/dags/{dag}/dagRuns", {"dag_run_id": run, "logical_date": None, "conf": dict(conf)})
        self.call("PATCH", f"/dags/{dag}", {"is_paused": False})

    def end(self, dag: str, run: str) -> None:
        """Ends a run, whatever it is at, and keeps the schedule from following it."""
        self.call("PATCH", f"/dags/{dag}", {"is_paused": True})
        self.call("PATCH", f"/dags/{dag}/dagRuns/{run}", {"state": "failed"})

    def state(self, dag: str, run: str) -> str:
        """Returns the state of a run."""
        return str(self.call("GET", f"/dags/{dag}/dagRuns/{run}")["state"])

    def tasks(self, dag: str, run: str) -> dict[str, dict[str, Any]]:
        """Returns the run's task instances by id; of a mapped task, by `id[index]`."""
        found = self.call("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances?limit=200")["task_instances"]
        return {
            task["task_id"] if task["map_index"] < 0 else f"{task['task_id']}[{task['map_index']}]": task
            for task in found
        }

    def wait(self, dag: str, run: str, seconds: float) -> dict[str, dict[str, Any]]:
        """Waits for the end of a run and returns its tasks."""
        self.wait_until(lambda: self.state(dag, run) in ENDED, seconds, f"the end of {dag} {run}")
        self.call("PATCH", f"/dags/{dag}", {"is_paused": True})
        return self.tasks(dag, run)

    def wait_for_task(self, dag: str, run: str, task: str, states: tuple[str, ...], seconds: float) -> None:
        """Waits until a task is in one of some states."""

        def reached() -> bool:
            found = self.tasks(dag, run).get(task)
            return found is not None and found["state"] in states

        self.wait_until(reached, seconds, f"{task} of {dag} {run} to be {' or '.join(states)}")

    def wait_until(self, reached: Any, seconds: float, what: str) -> None:
        """Waits until `reached()`; fails with the end of Airflow's own log."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if reached():
                return
            time.sleep(1.0)
        last = "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])
        raise AssertionError(f"waited {seconds:.0f} s for {what}; Airflow's last lines:\n{last}")

    def task_log(self, dag: str, run: str, task: str, map_index: int = -1) -> str:
        """Returns the log of a task's last try, as the page of the task shows it."""
        name = task if map_index < 0 else f"{task}[{map_index}]"
        tried = self.tasks(dag, run)[name]["try_number"]
        place = f"/dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/{tried}?full_content=true&map_index={map_index}"
        content = self.call("GET", place)["content"]
        return "\n".join(text for line in content for text in _texts(line))

    def close(self) -> None:
        """Closes its connections."""
        self._client.close()

    def call(self, method: str, path: str, body: Any | None = None) -> Any:
        """Asks the API; errors carry its answer."""
        answer = self._client.request(method, f"/api/v2{path}", json=body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json() if answer.content else None

    def log_in(self) -> None:
        """Takes a token; everybody is an administrator here."""
        token = self._client.get("/auth/token").raise_for_status().json()["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"


def _texts(line: Any) -> Iterator[str]:
    """Yields what the page shows of a line: its text, and what failed."""
    if isinstance(line, str):
        yield line
        return
    yield str(line.get("event", line))
    for error in line.get("error_detail") or ():
        yield str(error.get("exc_value"))


@contextlib.contextmanager
def airflow_here(home: Path, environment: Mapping[str, str]) -> Iterator[AirflowHere]:
    """Runs an Airflow of its own, and leaves no process behind.

    Args:
        home: Its folder.
        environment: On top of `airflow_environment`: connections, the job profile.
    """
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    own = {
        **airflow_environment(home),
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__PARALLELISM": "3",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
        # Runs of the schedule would come in between.
        "ELYSIUM_RETRAIN_CRON": "",
        "ELYSIUM_EVALUATE_CRON": "",
        **environment,
    }
    own.pop("ELYSIUM_ATTENDED", None)
    home.mkdir(parents=True, exist_ok=True)
    log = home / "standalone.log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "airflow", "standalone"],
            env=own,
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            # Its children outlive it unless the whole group is stopped.
            start_new_session=True,
        )
    server = AirflowHere(url, log)
    try:
        server.wait_until(lambda: process.poll() is not None or _is_up(server), 240, "Airflow's API")
        assert process.poll() is None, log.read_text(errors="replace")[-4000:]
        yield server
    finally:
        server.close()
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)


def _is_up(server: AirflowHere) -> bool:
    try:
        server.log_in()
        health = server.call("GET", "/monitor/health")
        dags = server.call("GET", "/dags?limit=50")["dags"]
    except (httpx.HTTPError, AssertionError, ValueError, KeyError):
        return False
    parts = ("scheduler", "triggerer", "dag_processor")
    return bool(dags) and all(health[part]["status"] == "healthy" for part in parts)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
