"""Who may do what on the cluster: rights in the API, ways through the network, and where secrets come from."""

import base64
import importlib.util
import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from kubernetes import client
from network_ways import passes
from pod_security import containers
from rendered_overlays import K8S, OVERLAYS, named, of_kind, pods, profile_of, rendered, standing_pods

from elysium.pipeline.steps import STEPS

RIGHTS = {
    "elysium-airflow": {
        "jobs": {"create", "get", "list", "watch", "delete"},
        "services": {"create", "delete"},
        "pods": {"get", "list", "watch"},
        "events": {"get", "list", "watch"},
        "pods/log": {"get"},
    },
    "elysium-airflow-executor": {
        "pods": {"create", "get", "list", "watch", "patch", "delete"},
        "pods/log": {"get"},
        "events": {"list"},
    },
    "elysium-setup": {"secrets": {"create"}},
}
# Who gets a token, by the overlay's kind: with the LocalExecutor tasks run in the scheduler.
WITH_TOKEN = {
    "local": {
        "airflow-scheduler": "elysium-airflow",
        "airflow-triggerer": "elysium-airflow",
        "elysium-setup": "elysium-setup",
    },
    "kubernetes-1.20": {"elysium-setup": "elysium-setup"},
}
ON_GPUS = {
    "airflow-scheduler": "elysium-airflow-executor",
    "airflow-triggerer": "elysium-airflow",
    "airflow-task": "elysium-airflow",
}
# A name that ends in FILE says where something lies, not what it is.
SECRET_NAMES = re.compile(r"^(?!.*_FILE$).*(PASSWORD|SECRET|TOKEN|FERNET|ACCESS_KEY|CREDENTIAL)")

_spec = importlib.util.spec_from_file_location(
    "make_secrets", K8S / "components" / "generated-secrets" / "make_secrets.py"
)
make_secrets = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_secrets)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_accounts_have_the_rights_they_need_and_no_others(overlay):
    documents = rendered(overlay)
    assert not of_kind(documents, "ClusterRole", "ClusterRoleBinding")
    roles = {}
    for role in of_kind(documents, "Role"):
        rules = [(name, set(rule["verbs"])) for rule in role["rules"] for name in rule["resources"]]
        roles[role["metadata"]["name"]] = dict(rules)
        assert len(dict(rules)) == len(rules)
    bound = {}
    for binding in of_kind(documents, "RoleBinding"):
        (subject,) = binding["subjects"]
        assert subject["namespace"] == "elysium"
        assert subject["name"] in named(documents, "ServiceAccount")
        bound[subject["name"]] = roles[binding["roleRef"]["name"]]
    assert bound.keys() == roles.keys()
    assert bound == {name: RIGHTS[name] for name in bound}
    assert "elysium-airflow" in bound


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_pod_has_a_token_but_those_that_talk_to_kubernetes(overlay):
    accounts = of_kind(rendered(overlay), "ServiceAccount")
    assert all(account["automountServiceAccountToken"] is False for account in accounts)
    found = {}
    for name, template in pods(overlay).items():
        if template["spec"]["automountServiceAccountToken"] is not False:
            found[name] = template["spec"]["serviceAccountName"]
    assert found == WITH_TOKEN.get(overlay, ON_GPUS)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_secrets_are_named_and_never_held(overlay):
    documents = rendered(overlay)
    assert not of_kind(documents, "Secret")
    for document in of_kind(documents, "ConfigMap"):
        assert not [name for name in document["data"] if SECRET_NAMES.search(name)]
    for name, template in pods(overlay).items():
        for container in containers(template["spec"]):
            for variable in container.get("env", []):
                if SECRET_NAMES.search(variable["name"]):
                    assert "secretKeyRef" in variable["valueFrom"], f"{name}: {variable['name']}"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_secret_that_must_be_there_can_be_made(overlay):
    made = {name: values.keys() for name, values in make_secrets.draw().items()}
    for template in pods(overlay).values():
        for container in containers(template["spec"]):
            references = [v["valueFrom"].get("secretKeyRef") for v in container.get("env", []) if "valueFrom" in v]
            for reference in filter(None, references):
                if not reference.get("optional"):
                    assert reference["key"] in made[reference["name"]]
            stores = [source["secretRef"] for source in container.get("envFrom", []) if "secretRef" in source]
            assert all(store == {"name": "elysium-stores", "optional": True} for store in stores)


def test_keys_of_the_stores_go_to_nobody_who_does_not_ask_them():
    without = {"airflow-api-server", "airflow-dag-processor", "elysium-setup", "postgres"}
    for overlay in ("local", "gpu"):
        for name, template in pods(overlay).items():
            sources = [source for container in containers(template["spec"]) for source in container.get("envFrom", [])]
            held = {"name": "elysium-stores", "optional": True} in [source.get("secretRef") for source in sources]
            assert held is (name not in without), name


def test_two_clusters_have_no_secret_in_common():
    one, other = make_secrets.draw(), make_secrets.draw()
    values = [value for drawn in (one, other) for keys in drawn.values() for value in keys.values()]
    assert len(set(values)) == len(values)
    assert len(base64.urlsafe_b64decode(one["elysium-airflow"]["fernet-key"])) == 32  # what Fernet asks for
    assert min(map(len, values)) >= 16


def test_secrets_are_printed_as_kubectl_takes_them():
    script = K8S / "components" / "generated-secrets" / "make_secrets.py"
    printed = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    items = json.loads(printed)["items"]
    assert {item["metadata"]["name"]: item["stringData"].keys() for item in items} == {
        name: values.keys() for name, values in make_secrets.draw().items()
    }


def test_secrets_that_are_there_stay_as_they_are(capsys):
    stored = {"elysium-airflow": "mine"}

    class Api(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = body["metadata"]["name"]
            status = 409 if name in stored else 201
            stored.setdefault(name, body["stringData"])
            answer = json.dumps({"kind": "Secret"} if status == 201 else {"reason": "AlreadyExists"}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        configuration = client.Configuration(host=f"http://127.0.0.1:{server.server_port}")
        with client.ApiClient(configuration) as connection:
            make_secrets.create(client.CoreV1Api(connection), "elysium")
        server.shutdown()
    assert stored["elysium-airflow"] == "mine"
    assert stored["elysium-postgres"].keys() == {"mlflow-password", "airflow-password"}
    printed = capsys.readouterr().out
    assert "elysium-airflow is there and stays as it is" in printed
    assert not [value for value in stored["elysium-postgres"].values() if value in printed]


def step_pod(name):
    return {"app.kubernetes.io/name": "elysium", "app.kubernetes.io/component": name}


def airflow(part):
    return {"app.kubernetes.io/name": "airflow", "app.kubernetes.io/component": part}


MLFLOW, POSTGRES = {"app.kubernetes.io/name": "mlflow"}, {"app.kubernetes.io/name": "postgres"}
WAYS = [
    (step_pod("evaluate"), MLFLOW, 5000, True),
    (step_pod("evaluate"), POSTGRES, 5432, False),
    (step_pod("ingest"), airflow("api-server"), 8080, False),
    (step_pod("ingest"), step_pod("curate"), 29500, False),
    (step_pod("finetune"), step_pod("finetune"), 29500, True),
    (step_pod("warmup"), step_pod("warmup"), 43210, True),
    (step_pod("ingest"), step_pod("finetune"), 29500, False),
    (MLFLOW, POSTGRES, 5432, True),
    (MLFLOW, airflow("scheduler"), 8793, False),
    (POSTGRES, MLFLOW, 5000, False),
    (airflow("scheduler"), POSTGRES, 5432, True),
    (airflow("worker"), airflow("api-server"), 8080, True),
    (airflow("api-server"), airflow("triggerer"), 8794, True),
    (airflow("triggerer"), MLFLOW, 5000, True),
    (airflow("scheduler"), step_pod("curate"), 8080, False),
    ({"app.kubernetes.io/name": "stranger"}, MLFLOW, 5000, False),
    ({"app.kubernetes.io/name": "stranger"}, POSTGRES, 5432, False),
]
WAYS_OUT = [
    (step_pod("ingest"), 443, True),
    (step_pod("ingest"), 80, False),
    (step_pod("finetune"), 6443, False),
    (MLFLOW, 443, True),
    (MLFLOW, 6443, False),
    (POSTGRES, 443, False),
    (airflow("scheduler"), 6443, True),
    (airflow("triggerer"), 6443, True),
    (airflow("worker"), 6443, True),
    (airflow("api-server"), 6443, False),
    (airflow("dag-processor"), 6443, False),
]


@pytest.mark.parametrize("overlay", ["local", "gpu", "multinode"])
@pytest.mark.parametrize(("sender", "receiver", "port", "open_"), WAYS)
def test_pods_reach_the_pods_they_need_and_no_others(overlay, sender, receiver, port, open_):
    policies = of_kind(rendered(overlay), "NetworkPolicy")
    out = passes(policies, sender, "Egress", port, receiver)
    assert (out and passes(policies, receiver, "Ingress", port, sender)) is open_


@pytest.mark.parametrize("overlay", ["local", "gpu", "multinode"])
@pytest.mark.parametrize(("sender", "port", "open_"), WAYS_OUT)
def test_pods_leave_the_cluster_by_the_ports_they_need(overlay, sender, port, open_):
    assert passes(of_kind(rendered(overlay), "NetworkPolicy"), sender, "Egress", port, None) is open_


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_is_denied_that_is_not_named(overlay):
    (deny,) = [p for p in of_kind(rendered(overlay), "NetworkPolicy") if p["metadata"]["name"] == "default-deny"]
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_people_come_in_through_marked_namespaces_alone():
    policies = of_kind(rendered("gpu"), "NetworkPolicy")
    marked = {"elysium.ingress": "true"}
    for pod, port in ((MLFLOW, 5000), (airflow("api-server"), 8080)):
        assert passes(policies, pod, "Ingress", port, None, namespace=marked)
        assert not passes(policies, pod, "Ingress", port, None, namespace={})
    assert not passes(policies, POSTGRES, "Ingress", 5432, None, namespace=marked)


def test_steps_that_can_spread_find_each_other_whatever_the_table_says():
    policies = of_kind(rendered("multinode"), "NetworkPolicy")
    for row in STEPS:
        pod = step_pod(row.name)
        assert passes(policies, pod, "Ingress", 40000, pod) is row.multi_node, row.name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_one_that_the_network_knows(overlay):
    known = {"elysium", "mlflow", "postgres", "airflow", "setup"}
    assert {template["metadata"]["labels"]["app.kubernetes.io/name"] for template in pods(overlay).values()} <= known


def test_airflow_finds_profile_and_cluster():
    (settings,) = [
        d["data"] for d in of_kind(rendered("local"), "ConfigMap") if d["metadata"]["name"] == "elysium-airflow"
    ]
    connection = json.loads(settings["AIRFLOW_CONN_KUBERNETES_DEFAULT"])
    namespace = profile_of("local").namespace
    assert connection == {"conn_type": "kubernetes", "extra": {"in_cluster": True, "namespace": namespace}}
    template = standing_pods("local")["airflow-scheduler"]
    (container,) = template["spec"]["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert settings["ELYSIUM_JOB_PROFILE"] == f"{mounts['profile']}/profile.yaml"


def test_the_executor_is_the_overlays_choice():
    for overlay, executor in (("local", "LocalExecutor"), ("gpu", "KubernetesExecutor")):
        maps = {d["metadata"]["name"]: d["data"] for d in of_kind(rendered(overlay), "ConfigMap")}
        settings = maps["elysium-airflow"]
        assert settings["AIRFLOW__CORE__EXECUTOR"] == executor
    (container,) = standing_pods("gpu")["airflow-scheduler"]["spec"]["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert settings["AIRFLOW__KUBERNETES_EXECUTOR__POD_TEMPLATE_FILE"] == f"{mounts['executor']}/pod.yaml"
    task = yaml.safe_load(maps["elysium-executor"]["pod.yaml"])
    assert [container["name"] for container in task["spec"]["containers"]] == ["base"]  # Airflow's name for it
    # Tasks ask Airflow's API: no key to the database, and none to what is stored there.
    secret = {v["valueFrom"]["secretKeyRef"]["key"] for v in task["spec"]["containers"][0]["env"] if "valueFrom" in v}
    assert secret == {"notify-url"}
