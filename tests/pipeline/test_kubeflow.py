"""The Kubeflow pipeline: the table's steps, dependencies, artifacts and resources; and it runs to the end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from elysium.errors import UsageError
from elysium.pipeline.kubeflow import compile_pipeline, kubeflow_python
from elysium.pipeline.steps import STEPS, dependencies
from elysium.pipeline.workspace import Workspace

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def python():
    try:
        return kubeflow_python()
    except UsageError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def compiled(python, tmp_path_factory):
    path = tmp_path_factory.mktemp("kubeflow") / "pipeline.yaml"
    compile_pipeline(path)
    return list(yaml.safe_load_all(path.read_text()))


def name_of(row):
    return f"{row.name}-step"


def test_tasks_and_dependencies_are_the_tables(compiled):
    tasks = compiled[0]["root"]["dag"]["tasks"]
    assert set(tasks) == {name_of(row) for row in STEPS}
    for row in STEPS:
        found = set(tasks[name_of(row)].get("dependentTasks", []))
        assert found == {f"{name}-step" for name in dependencies(row)}


@pytest.mark.parametrize("row", STEPS, ids=lambda row: row.name)
def test_artifacts_are_typed(compiled, row):
    component = compiled[0]["components"][f"comp-{name_of(row)}"]
    outputs = component["outputDefinitions"]["artifacts"]
    assert outputs[f"{row.output.name}_output"]["artifactType"]["schemaTitle"] == f"system.{row.output.type}"
    inputs = component.get("inputDefinitions", {}).get("artifacts", {})
    types = {other.output.name: other.output.type for other in STEPS}
    assert {name: entry["artifactType"]["schemaTitle"] for name, entry in inputs.items()} == {
        name: f"system.{types[name]}" for name in row.inputs
    }


@pytest.mark.parametrize("row", STEPS, ids=lambda row: row.name)
def test_resources_retries_volume_and_timeout_are_the_tables(compiled, row):
    spec, platform = compiled
    container = spec["deploymentSpec"]["executors"][f"exec-{name_of(row)}"]["container"]
    assert f"elysium-{row.role}:" in container["image"]
    resources = container["resources"]
    assert float(resources["resourceCpuLimit"]) == row.resources.cpu
    assert resources["resourceMemoryLimit"] == f"{row.resources.memory_gib:g}Gi"
    accelerator = resources.get("accelerator", {})
    assert int(accelerator.get("resourceCount", 0)) == row.resources.gpu
    task = spec["root"]["dag"]["tasks"][name_of(row)]
    assert task.get("retryPolicy", {}).get("maxRetryCount", 0) == row.resources.retries
    assert task.get("cachingOptions", {}).get("enableCache", False) is False
    pod = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][f"exec-{name_of(row)}"]
    (mount,) = pod["pvcMount"]
    assert mount["mountPath"] == "/workspace"
    assert mount["pvcNameParameter"] == {"componentInputParameter": "volume"}
    assert pod["activeDeadlineSeconds"] == str(row.resources.seconds)


def test_images_come_from_the_registry_that_is_named(python, tmp_path):
    compile_pipeline(tmp_path / "pipeline.yaml", "registry.example.org/team/", "1.2.3")
    spec = next(yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text()))
    images = {executor["container"]["image"] for executor in spec["deploymentSpec"]["executors"].values()}
    assert images == {f"registry.example.org/team/elysium-{role}:1.2.3" for role in ("curator", "trainer")}


def test_parameters_have_defaults(compiled):
    parameters = compiled[0]["root"]["inputDefinitions"]["parameters"]
    assert {name: entry.get("defaultValue") for name, entry in parameters.items()} == {
        "workspace": "/workspace/run",
        "preset": "nano",
        "overrides": [],
        "volume": "elysium-workspace",
    }


def test_the_pipeline_runs_to_the_end_without_a_cluster(python, finished, toy, tmp_path):
    _, local = finished
    result = subprocess.run(
        [
            *(python, str(ROOT / "components" / "pipeline.py"), "run"),
            *("--workspace", str(tmp_path / "run"), "--preset", str(toy)),
        ],
        env={**os.environ, "ELYSIUM_PYTHON": sys.executable, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    place = Workspace.at(tmp_path / "run")
    assert [place.manifest(row).status for row in STEPS] == ["done"] * len(STEPS)
    lineage = json.loads((place.root / "snapshot" / "lineage.json").read_text())
    assert lineage["data_hash"] == local["data_hash"]
    artifacts = tmp_path / "kubeflow"
    assert list(artifacts.rglob("raw_report_output")), "the data docs are an artifact"
    assert list(artifacts.rglob("finetune_output/model.safetensors")), "the model is an artifact"
