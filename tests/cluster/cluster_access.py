"""A Kubernetes cluster and an S3 server that tests may use, as the environment names them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "ELYSIUM_CLUSTER_S3": "URL of an S3 server that the pods and this machine reach",
    "AWS_ACCESS_KEY_ID": "a key of that server",
    "AWS_SECRET_ACCESS_KEY": "its secret",
}


@dataclass(frozen=True)
class Cluster:
    """One namespace of a cluster.

    Attributes:
        kubeconfig: Of somebody who may do anything in it.
        namespace: Made for the tests.
        registry: Prefix of the images' names, ending in `/` where there is one.
        tag: Of the images.
        s3: URL of the S3 server.
    """

    kubeconfig: Path
    namespace: str
    registry: str
    tag: str
    s3: str

    def kubectl(self, *arguments: str, check: bool = True, given: str | None = None) -> str:
        """Runs kubectl in the namespace and returns what it printed; errors carry both of its streams."""
        result = subprocess.run(
            ["kubectl", "--kubeconfig", str(self.kubeconfig), "--namespace", self.namespace, *arguments],
            capture_output=True,
            text=True,
            input=given,
            check=False,
        )
        if check:
            said = f"kubectl {' '.join(arguments)}:\n{result.stdout}\n{result.stderr}"
            assert result.returncode == 0, said
            return result.stdout
        return result.stdout + result.stderr

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        """Applies manifests."""
        self.kubectl("apply", "-f", "-", given=yaml.safe_dump_all([dict(manifest) for manifest in manifests]))

    def get(self, *arguments: str) -> Any:
        """Returns what `kubectl get … -o json` answers."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def pods(self, selector: str) -> list[dict[str, Any]]:
        """Returns the pods with these labels, oldest first."""
        found = self.get("pods", "-l", selector)["items"]
        return sorted(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def jobs(self, selector: str = "app.kubernetes.io/name=elysium") -> dict[str, dict[str, Any]]:
        """Returns the Jobs with these labels, by name."""
        return {job["metadata"]["name"]: job for job in self.get("jobs", "-l", selector)["items"]}

    def wait_for_job(self, name: str, seconds: float = 300) -> dict[str, Any]:
        """Waits for a Job's end and returns it."""
        found: dict[str, Any] = {}

        def ended() -> bool:
            found.update(self.get("job", name))
            conditions = found["status"].get("conditions") or []
            return any(entry["type"] in ("Complete", "Failed") and entry["status"] == "True" for entry in conditions)

        self.wait_until(ended, seconds, f"the end of Job {name}")
        return found

    def wait_until(self, reached: Callable[[], bool], seconds: float, what: str) -> None:
        """Waits until `reached()`; fails with what the namespace looks like."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if reached():
                return
            time.sleep(0.5)
        seen = self.kubectl("get", "pods,jobs", "-o", "wide", check=False)
        events = self.kubectl("get", "events", "--sort-by=.lastTimestamp", check=False).splitlines()[-15:]
        raise AssertionError(f"waited {seconds:.0f} s for {what}\n{seen}\n" + "\n".join(events))

    def logs(self, selector: str) -> str:
        """Returns all that pods with these labels have printed."""
        return self.kubectl("logs", "-l", selector, "--tail=-1", "--all-containers", check=False)

    def token(self, account: str) -> str:
        """Returns a token of a service account: one made now, or where the API is older than 1.24 the one it keeps."""
        if self.server >= (1, 24):
            return self.kubectl("create", "token", account, "--duration=6h").strip()
        name = self.get("serviceaccount", account)["secrets"][0]["name"]
        return base64.b64decode(self.get("secret", name)["data"]["token"]).decode()

    @property
    def server(self) -> tuple[int, int]:
        """The API's version."""
        version = json.loads(self.kubectl("get", "--raw", "/version"))
        return int(version["major"]), int(str(version["minor"]).rstrip("+"))


def missing_settings() -> str | None:
    """Returns why no test can run, or None."""
    if not os.environ.get("KUBECONFIG"):
        return "KUBECONFIG names no cluster: docs/cluster/testing.md says what these tests need"
    lacking = [f"{name} ({meaning})" for name, meaning in SETTINGS.items() if not os.environ.get(name)]
    return f"not set: {', '.join(lacking)}" if lacking else None
