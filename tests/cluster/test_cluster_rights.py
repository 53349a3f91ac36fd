"""Who may do what in the namespace, asked of the API itself, and what a step's pod finds around it."""

import json

import pytest

from elysium.pipeline.kubernetes import JobRequest, Work, render_work
from elysium.pipeline.steps import Resources

AIRFLOW, STEP = "elysium-airflow", "elysium-step"
ALLOWED = [
    (AIRFLOW, verb, what)
    for what, verbs in {
        "jobs.batch": ("create", "get", "list", "watch", "delete"),
        "pods": ("get", "list", "watch"),
        "pods/log": ("get",),
        "events": ("list",),
    }.items()
    for verb in verbs
]
DENIED = [
    *((AIRFLOW, verb, "secrets") for verb in ("get", "list", "create", "delete")),
    *((AIRFLOW, verb, "configmaps") for verb in ("create", "update", "delete")),
    *((AIRFLOW, verb, "pods") for verb in ("create", "delete", "update")),
    *((AIRFLOW, verb, "pods/exec") for verb in ("create", "get")),
    *((AIRFLOW, verb, "jobs.batch") for verb in ("deletecollection",)),
    *((AIRFLOW, verb, "deployments.apps") for verb in ("get", "create", "update")),
    *((AIRFLOW, verb, "serviceaccounts/token") for verb in ("create",)),
    *((AIRFLOW, verb, "rolebindings.rbac.authorization.k8s.io") for verb in ("create", "update")),
    *((STEP, verb, what) for verb in ("get", "list", "create", "delete") for what in ("jobs.batch", "pods", "secrets")),
]
# What a program in a pod sees; printed as JSON.
LOOK = """
import json, os, pathlib
def may_write(place):
    try:
        (pathlib.Path(place) / "elysium-probe").write_text("x")
        return True
    except OSError:
        return False
places = "/ /etc /opt /opt/elysium /usr /var /home /root /tmp /dev/shm"
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(),
    "writable": [place for place in places.split() if may_write(place)],
    "capabilities": {name: int(value, 16) for name, value in status.items() if name.startswith("Cap")},
    "no_new_privileges": int(status["NoNewPrivs"]), "seccomp": int(status["Seccomp"]),
    "token": os.path.exists("/var/run/secrets/kubernetes.io"),
}))
"""


@pytest.fixture(scope="module")
def inside(cluster, deployed, profile):
    """What a program finds in a step's pod."""
    request = JobRequest("inside", "s3://nowhere/inside", profile=profile)
    work = Work("look", "curator", Resources(cpu=0.2, memory_gib=0.5, retries=0, seconds=120), ("python", "-c", LOOK))
    cluster.apply(*render_work(work, request))
    job = cluster.wait_for_job("elysium-inside-look")
    assert job["status"].get("succeeded") == 1, cluster.logs("job-name=elysium-inside-look")
    return json.loads(cluster.logs("job-name=elysium-inside-look").strip().splitlines()[-1])


@pytest.mark.parametrize(("account", "verb", "what"), ALLOWED)
def test_what_airflow_needs_it_may_do(cluster, deployed, account, verb, what):
    assert can(cluster, account, verb, what)


@pytest.mark.parametrize(("account", "verb", "what"), DENIED)
def test_nobody_may_do_more(cluster, deployed, account, verb, what):
    assert not can(cluster, account, verb, what)


@pytest.mark.parametrize("account", [AIRFLOW, STEP])
def test_nobody_may_do_anything_in_another_namespace(cluster, deployed, account):
    for what in ("jobs.batch", "pods", "secrets"):
        for verb in ("get", "list", "create", "delete"):
            assert not can(cluster, account, verb, what, namespace="default"), f"{verb} {what}"


def test_a_step_is_an_ordinary_user_without_capabilities(inside):
    assert inside["uid"] == inside["gid"] == 10001
    assert not any(inside["capabilities"].values()), inside["capabilities"]
    assert inside["no_new_privileges"] == 1


def test_a_step_writes_to_its_scratch_folders_alone(inside):
    assert inside["writable"] == ["/tmp", "/dev/shm"]


def test_a_step_has_no_token(inside):
    assert not inside["token"]


def test_system_calls_are_filtered(inside):
    assert inside["seccomp"] == 2, "mode 2 is a filter: RuntimeDefault"


def can(cluster, account, verb, what, namespace=None):
    """Asks the API whether a service account may do something."""
    resource, _, sub = what.partition("/")
    name = f"system:serviceaccount:{cluster.namespace}:{account}"
    place = ("-n", namespace) if namespace else ()
    subresource = (f"--subresource={sub}",) if sub else ()
    answer = cluster.kubectl("auth", "can-i", verb, resource, *subresource, "--as", name, *place, check=False)
    assert answer.split()[0] in ("yes", "no"), answer
    return answer.split()[0] == "yes"
