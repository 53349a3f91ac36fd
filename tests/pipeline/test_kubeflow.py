"""The Kubeflow pipeline: steps, order, gates, artifacts and pods are the table's and the job profile's."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from elysium.errors import UsageError
from elysium.pipeline.kubeflow import compile_pipeline, kubeflow_python
from elysium.pipeline.steps import STEPS, dependencies, gates_before, step

PROFILE = """
name: small
registry: registry.example.org/team/
tag: 1.2.3
pull_policy: Always
max_cpu: 4
max_memory_gib: 48
gpu_resource: amd.com/gpu
resources: {finetune: {gpu: 8, memory_gib: 40, retries: 5, seconds: 7200}}
shards: 3
nodes: 2
queue: night
node_selector: {pool: gpu}
tolerations: [{key: spot, operator: Exists, effect: NoSchedule}]
shared_memory_gib: 2
scratch_gib: 50
volume: null
stores_secret: keys
stores_config: places
labels: {team: vision}
annotations: {owner: ml}
"""


@pytest.fixture(scope="module")
def python():
    try:
        return kubeflow_python()
    except UsageError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def folder(python, tmp_path_factory):
    return tmp_path_factory.mktemp("kubeflow")


@pytest.fixture(scope="module")
def compiled(folder):
    """Compiled without a profile: the table's own figures."""
    compile_pipeline(folder / "pipeline.yaml")
    return Compiled(folder / "pipeline.yaml")


@pytest.fixture(scope="module")
def profiled(folder):
    """Compiled for a cluster that is said to be otherwise, and workspaces on S3."""
    (folder / "profile.yaml").write_text(PROFILE)
    warnings = compile_pipeline(folder / "profiled.yaml", folder / "profile.yaml", "s3://bucket/runs/")
    assert [line.partition(":")[0] for line in warnings] == ["nodes 2"]
    return Compiled(folder / "profiled.yaml")


class Compiled:
    """A compiled pipeline, walked from its root: each task with the blocks that it lies in."""

    def __init__(self, path):
        self.spec, platform = yaml.safe_load_all(path.read_text())
        self.pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        self.tasks, self.blocks = {}, {}
        self._walk(self.spec["root"]["dag"], ())

    def _walk(self, dag, inside):
        for name, task in dag["tasks"].items():
            assert name not in self.tasks, "a task stands once"
            self.tasks[name], self.blocks[name] = task, inside
            component = self.spec["components"][task["componentRef"]["name"]]
            if "dag" in component:
                self._walk(component["dag"], (*inside, name))

    def component(self, name):
        return self.spec["components"][self.tasks[name]["componentRef"]["name"]]

    def container(self, name):
        return self.spec["deploymentSpec"]["executors"][self.component(name)["executorLabel"]]["container"]

    def pod(self, name):
        return self.pods[self.component(name)["executorLabel"]]

    def source(self, name, artifact):
        """Returns the task that makes an input of a task, and what the output is called there."""
        given = self.tasks[name]["inputs"]["artifacts"][artifact]
        if "taskOutputArtifact" in given:
            return given["taskOutputArtifact"]["producerTask"], given["taskOutputArtifact"]["outputArtifactKey"]
        return self.source(self.blocks[name][-1], given["componentInputArtifact"])

    def conditions(self, name):
        """Returns the gates that must have passed, outermost first."""
        found = []
        for block in self.blocks[name]:
            condition = self.tasks[block].get("triggerPolicy", {}).get("condition")
            if condition is not None:
                pattern = r"inputs\.parameter_values\['pipelinechannel--([\w-]+)-step-Output'\] == 'done'"
                found.append(re.fullmatch(pattern, condition)[1])
        return tuple(found)


def task_of(row):
    return f"{row.name}-step"


STEP_IDS = pytest.mark.parametrize("row", STEPS, ids=lambda row: row.name)


def test_every_step_is_a_task_and_nothing_else_is_but_the_report(compiled):
    working = {name for name in compiled.tasks if "executorLabel" in compiled.component(name)}
    assert working == {task_of(row) for row in STEPS} | {"report"}


@STEP_IDS
def test_dependencies_are_the_tables(compiled, row):
    given = compiled.tasks[task_of(row)]["inputs"].get("artifacts", {})
    assert set(given) == set(row.inputs)
    sources = {name: compiled.source(task_of(row), name) for name in given}
    assert {task for task, _ in sources.values()} == {f"{name}-step" for name in dependencies(row)}
    assert {name: output for name, (_, output) in sources.items()} == {name: f"{name}_output" for name in row.inputs}


@STEP_IDS
def test_what_builds_on_a_gate_stands_behind_its_condition(compiled, row):
    assert compiled.conditions(task_of(row)) == gates_before(row)


def test_gates_are_those_that_refuse():
    assert [row.name for row in STEPS if row.gate] == ["validate-raw", "validate-tracks", "evaluate"]
    assert gates_before(step("curate")) == ("validate-raw",)
    assert gates_before(step("promote")) == ("validate-raw", "validate-tracks", "evaluate")


@STEP_IDS
def test_artifacts_are_typed(compiled, row):
    component = compiled.component(task_of(row))
    outputs = {name: entry["artifactType"] for name, entry in component["outputDefinitions"]["artifacts"].items()}
    expected = {f"{row.output.name}_output": row.output.type}
    if row.output.type != "Metrics":
        expected[f"{row.output.name}_metrics"] = "Metrics"
    if row.output.html and row.output.type != "HTML":
        expected[f"{row.output.name}_page"] = "HTML"
    assert {name: kind["schemaTitle"] for name, kind in outputs.items()} == {
        name: f"system.{kind}" for name, kind in expected.items()
    }
    said = component["outputDefinitions"].get("parameters", {})
    assert set(said) == ({"Output", "reason"} if row.gate else set())


@STEP_IDS
def test_resources_retries_and_time_are_the_tables(compiled, row):
    container, task, pod = (found(task_of(row)) for found in (compiled.container, compiled.tasks.get, compiled.pod))
    assert container["image"] == f"elysium-{row.role}:0.1.0"
    resources = container["resources"]
    for kind in ("Request", "Limit"):
        assert float(resources[f"resourceCpu{kind}"]) == row.resources.cpu
        assert resources[f"resourceMemory{kind}"] == f"{row.resources.memory_gib:g}Gi"
    assert int(resources.get("accelerator", {}).get("resourceCount", 0)) == row.resources.gpu
    assert resources.get("accelerator", {}).get("resourceType", "nvidia.com/gpu") == "nvidia.com/gpu"
    retry = task["retryPolicy"]
    assert retry["maxRetryCount"] == row.resources.retries
    assert (retry["backoffDuration"], retry["backoffFactor"]) == ("60s", 2)
    # Argo counts from the first attempt's start: less than all attempts together would cut the last ones off.
    assert int(retry["backoffMaxDuration"].rstrip("s")) > row.resources.seconds * (row.resources.retries + 1)
    assert pod["activeDeadlineSeconds"] == str(row.resources.seconds)
    taints = [taint["key"] for taint in pod.get("tolerations", [])]
    assert taints == (["nvidia.com/gpu"] if row.resources.gpu else [])


@pytest.mark.parametrize("name", [*(task_of(row) for row in STEPS), "report"])
def test_every_pod_is_restricted_mounts_the_workspace_and_is_never_cached(compiled, name):
    pod = compiled.pod(name)
    assert pod["securityContext"] == {"runAsUser": "10001", "runAsGroup": "10001", "runAsNonRoot": True}
    (mount,) = pod["pvcMount"]
    assert (mount["constant"], mount["mountPath"]) == ("elysium-workspace", "/workspace")
    mounts = {entry["mountPath"]: entry for entry in pod["emptyDirMounts"]}
    assert (mounts["/dev/shm"]["medium"], mounts["/dev/shm"]["sizeLimit"]) == ("Memory", "8Gi")
    assert mounts["/tmp"]["sizeLimit"] == "20Gi"
    (secret,), (config,) = pod["secretAsEnv"], pod["configMapAsEnv"]
    assert secret["optional"] is config["optional"] is True
    keys = [{entry["envVar"] for entry in source["keyToEnv"]} for source in (secret, config)]
    assert "AWS_SECRET_ACCESS_KEY" in keys[0]
    assert "AWS_ENDPOINT_URL" in keys[1]
    assert not keys[0] & keys[1], "one variable has one source"
    assert compiled.tasks[name]["cachingOptions"] == {}


def test_the_report_runs_however_the_others_end(compiled):
    root = compiled.spec["root"]["dag"]["tasks"]
    assert set(root) == {"report", "exit-handler-1"}
    assert root["report"]["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    assert root["report"]["dependentTasks"] == ["exit-handler-1"]
    outputs = compiled.component("report")["outputDefinitions"]["artifacts"]
    assert {entry["artifactType"]["schemaTitle"] for entry in outputs.values()} == {"system.Markdown", "system.HTML"}


def test_parameters_have_defaults_and_descriptions(compiled, profiled):
    parameters = compiled.spec["root"]["inputDefinitions"]["parameters"]
    assert {name: entry["defaultValue"] for name, entry in parameters.items()} == {
        "workspace": "/workspace/runs/",
        "preset": "nano",
        "overrides": [],
        "copy_models": True,
    }
    assert all(len(entry["description"]) > 20 for entry in parameters.values())
    assert profiled.spec["root"]["inputDefinitions"]["parameters"]["workspace"]["defaultValue"] == "s3://bucket/runs/"


def test_a_profile_decides_images_resources_and_places(profiled):
    finetune, pod = profiled.container("finetune-step"), profiled.pod("finetune-step")
    assert finetune["image"] == "registry.example.org/team/elysium-trainer:1.2.3"
    assert finetune["resources"]["resourceCpuLimit"] == "4"
    assert finetune["resources"]["resourceMemoryLimit"] == "40Gi"
    accelerator = finetune["resources"]["accelerator"]
    assert (accelerator["resourceType"], accelerator["resourceCount"]) == ("amd.com/gpu", "8")
    assert profiled.container("warmup-step")["resources"]["resourceMemoryLimit"] == "48Gi"
    assert profiled.tasks["finetune-step"]["retryPolicy"]["maxRetryCount"] == 5
    assert pod["activeDeadlineSeconds"] == "7200"
    assert "pvcMount" not in pod
    assert pod["imagePullPolicy"] == "Always"
    assert pod["nodeSelector"] == {"labels": {"pool": "gpu"}}
    assert [taint["key"] for taint in pod["tolerations"]] == ["spot", "amd.com/gpu"]
    assert {entry["sizeLimit"] for entry in pod["emptyDirMounts"]} == {"2Gi", "50Gi"}
    assert (pod["secretAsEnv"][0]["secretName"], pod["configMapAsEnv"][0]["configMapName"]) == ("keys", "places")
    labels = pod["podMetadata"]["labels"]
    assert (labels["team"], labels["kueue.x-k8s.io/queue-name"]) == ("vision", "night")
    assert labels["app.kubernetes.io/component"] == "finetune"
    assert pod["podMetadata"]["annotations"] == {"owner": "ml"}


def test_curation_in_parts_comes_before_the_step_that_publishes(profiled):
    loop = next(name for name, task in profiled.tasks.items() if "parameterIterator" in task)
    assert profiled.tasks[loop]["parameterIterator"]["items"]["raw"] == '["0/3", "1/3", "2/3"]'
    assert profiled.blocks["curate-part"][-1] == loop
    assert loop in profiled.tasks["curate-step"]["dependentTasks"]
    assert profiled.container("curate-part")["resources"] == profiled.container("curate-step")["resources"]
    assert profiled.pod("curate-part")["podMetadata"]["labels"]["app.kubernetes.io/component"] == "curate-parts"
    assert profiled.conditions("curate-part") == ("validate-raw",)


def test_kubeflow_itself_reads_what_was_compiled(python, folder, compiled, profiled):
    program = """
import sys, warnings, yaml
from google.protobuf import json_format
from kfp import components
from kfp.pipeline_spec import pipeline_spec_pb2
from kfp.kubernetes import kubernetes_executor_config_pb2
for path in sys.argv[1:]:
    components.load_component_from_file(path)
    spec, platform = yaml.safe_load_all(open(path))
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    for pod in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        json_format.ParseDict(pod, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
"""
    files = [str(folder / name) for name in ("pipeline.yaml", "profiled.yaml")]
    result = subprocess.run([python, "-c", program, *files], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("profile", "workspace", "message"),
    [
        ("volume: null", "/workspace/runs/", "name a workspace on s3://"),
        ("{}", "runs/first", "below /workspace or on s3://"),
        ("volum: x", "/workspace/runs/", "did you mean 'volume'"),
    ],
)
def test_what_pods_could_not_reach_is_refused_at_once(tmp_path, profile, workspace, message):
    (tmp_path / "profile.yaml").write_text(profile)
    with pytest.raises(UsageError, match=re.escape(message)):
        compile_pipeline(tmp_path / "pipeline.yaml", tmp_path / "profile.yaml", workspace)


def test_without_kubeflows_environment_the_remedy_is_named(monkeypatch):
    monkeypatch.setenv("ELYSIUM_KFP_PYTHON", "/nowhere/python")
    monkeypatch.setattr("elysium.pipeline.kubeflow._ROOT", Path("/nowhere"))
    with pytest.raises(UsageError, match="make kubeflow-env"):
        kubeflow_python()
