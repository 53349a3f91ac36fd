"""What the API at hand stores without enforcing it: said in the skip, never claimed."""

import pytest
import yaml

from elysium.pipeline.kubernetes import JobRequest, Work, render_work
from elysium.pipeline.steps import Resources

PRIVILEGED = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "privileged"},
    "spec": {"containers": [{"name": "x", "image": "scratch", "securityContext": {"privileged": True}}]},
}
# Steps have no business with the API server; its address is in every pod's environment.
REACH = """
import os, socket, sys
try:
    socket.create_connection((os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])), 10)
except OSError as error:
    sys.exit(print("refused:", error))
print("reached")
"""


def test_a_privileged_pod_is_refused_by_the_namespace(cluster, deployed):
    if cluster.server < (1, 25):
        pytest.skip(
            f"Kubernetes {cluster.server[0]}.{cluster.server[1]} has no Pod Security admission: the labels are "
            "checked against the standard's rules in tests/pipeline, and a pod's settings from inside"
        )
    assert "violates PodSecurity" in cluster.kubectl("apply", "-f", "-", given=yaml.safe_dump(PRIVILEGED), check=False)


def test_a_step_cannot_reach_the_api_server(cluster, deployed, profile):
    if cluster.server < (1, 30):
        pytest.skip("this cluster's network stores NetworkPolicies without enforcing them: they are validated only")
    request = JobRequest("reach", "s3://nowhere/reach", profile=profile)
    work = Work("reach", "curator", Resources(cpu=0.2, memory_gib=0.5, retries=0, seconds=120), ("python", "-c", REACH))
    cluster.apply(*render_work(work, request))
    cluster.wait_for_job("elysium-reach-reach")
    assert "refused" in cluster.logs("job-name=elysium-reach-reach")
