"""Finished images, run as a restricted pod runs them. Needs an engine, and images that it has:

make images ENGINE=podman REGISTRY=localhost/ TAG=test
ELYSIUM_IMAGES='localhost/elysium-{role}:test' pytest tests/cluster/images
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from elysium import __version__

ROOT = Path(__file__).parents[3]
NAMES = os.environ.get("ELYSIUM_IMAGES", "")
ENGINE = os.environ.get("ELYSIUM_IMAGES_ENGINE") or ("podman" if shutil.which("podman") else "docker")
RESTRICTED = (
    "--read-only",
    "--tmpfs=/tmp",
    "--network=none",
    "--user=10001:10001",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)
ROLES = ("orchestrator", "trainer", "curator")

pytestmark = pytest.mark.skipif(not NAMES, reason="needs images: ELYSIUM_IMAGES='REGISTRY/elysium-{role}:TAG'")


def run(role, *command, options=(), check=True):
    """Runs a command in a pod-like container and returns how it ended."""
    whole = [ENGINE, "run", "--rm", *RESTRICTED, *options, NAMES.format(role=role), *command]
    result = subprocess.run(whole, capture_output=True, text=True, check=False)
    if check:
        assert result.returncode == 0, f"{command} ended with {result.returncode}:\n{result.stdout}\n{result.stderr}"
    return result


def python(role, code, **options):
    """Returns what a Python program in the image prints, as JSON."""
    return json.loads(run(role, "python", "-c", code, **options).stdout.splitlines()[-1])


@pytest.fixture(scope="module", params=ROLES)
def role(request):
    return request.param


def test_the_command_answers_as_nobody_special(role):
    assert "Usage: elysium" in run(role, "elysium", "--help").stdout
    assert run(role, "id", "-u").stdout.strip() == "10001"
    lines = run(role, "cat", "/proc/self/status").stdout
    assert re.search(r"^CapEff:\s+0+$", lines, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", lines, re.MULTILINE)


def test_nothing_can_be_written_but_temporary_files(role):
    places = "/ /opt/elysium/lib /usr/share/elysium /etc /home"
    script = f"touch /tmp/yes; for each in {places}; do touch $each/no 2>/dev/null && echo $each; done; true"
    assert run(role, "sh", "-c", script).stdout == ""
    # Nor where the file system is not read-only: all belongs to root.
    find = "find /opt /usr /etc -writable -not -type l 2>/dev/null; true"
    loose = [ENGINE, "run", "--rm", "--user=10001:10001", NAMES.format(role=role), "sh", "-c", find]
    assert subprocess.run(loose, capture_output=True, text=True, check=True).stdout == ""


def test_labels_say_which_code_it_is(role):
    labels = json.loads(
        subprocess.run(
            [ENGINE, "image", "inspect", "--format", "{{json .Config.Labels}}", NAMES.format(role=role)],
            capture_output=True,
            check=True,
        ).stdout
    )
    assert labels["org.opencontainers.image.title"] == f"elysium-{role}"
    assert labels["org.opencontainers.image.version"] == __version__
    revision = labels["org.opencontainers.image.revision"]
    assert re.fullmatch(r"[0-9a-f]{12}(\.dirty)?", revision)
    code = "import json; from elysium.pipeline.versions import code_version; print(json.dumps(code_version()))"
    assert python(role, code) == f"{__version__}+{revision}"


def test_the_bill_of_materials_is_what_is_installed(role):
    bill = json.loads(run(role, "cat", "/usr/share/elysium/sbom.json").stdout)
    code = (
        "import json; from importlib.metadata import distributions as d;"
        "print(json.dumps(sorted([x.metadata['Name'], x.version] for x in d())))"
    )
    listed = {
        kind: [each for each in bill["components"] if each["purl"].startswith(f"pkg:{kind}/")]
        for kind in ("pypi", "deb")
    }
    here = {tuple(each) for each in python(role, code)}
    assert here <= {(each["name"], each["version"]) for each in listed["pypi"]}
    query = run(role, "dpkg-query", "-W", "-f", "${Package} ${Version}\\n").stdout.splitlines()
    assert {f"{each['name']} {each['version']}" for each in listed["deb"]} == set(query)
    assert {"bomFormat", "specVersion", "serialNumber", "components"} <= bill.keys()


def test_every_package_is_the_pinned_one(role):
    code = (
        "import json; from importlib.metadata import distributions as d;"
        "print(json.dumps({x.metadata['Name']: x.version for x in d()}))"
    )
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {
        re.sub(r"[-_.]+", "-", name).lower(): version for name, _, version in (line.partition("==") for line in lines)
    }
    own = {"elysium", "kfp", "pip", "setuptools", "wheel"}
    here = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in python(role, code).items()}
    wrong = {
        name: version
        for name, version in here.items()
        if name not in own and pinned.get(name) != version.partition("+")[0]
    }
    assert wrong == {}


def test_neither_cache_nor_compiler_nor_source_is_left(role):
    places = "/root/.cache /var/lib/apt/lists /src /wheels /images"
    look = f"command -v gcc g++ cc c++ make; find {places} -type f 2>/dev/null; true"
    assert run(role, "sh", "-c", look).stdout == ""


def test_bytecode_is_there_and_never_checked(role):
    code = "import json, elysium, pathlib; print(json.dumps(list(pathlib.Path(elysium.__cached__).read_bytes()[4:8])))"
    assert python(role, code) == [1, 0, 0, 0]  # PEP 552: hash-based, unchecked


@pytest.mark.parametrize("role", ["trainer", "curator"])
def test_kubeflows_runtime_starts(role):
    result = run(role, "env", "_KFP_RUNTIME=true", "python", "-m", "kfp.dsl.executor_main", "--help")
    assert "--executor_input" in result.stdout


def test_deepspeed_has_its_extensions_built_in():
    code = """
import json, torch, deepspeed
from deepspeed.git_version_info import installed_ops
from deepspeed.ops.adam import DeepSpeedCPUAdam
from deepspeed.ops.op_builder import CPUAdamBuilder
CPUAdamBuilder().load()
weight = torch.nn.Parameter(torch.ones(1000))
weight.grad = torch.full((1000,), 0.5)
DeepSpeedCPUAdam([weight], lr=0.1, weight_decay=0).step()
built = sorted(name for name, here in installed_ops.items() if here)
print(json.dumps([weight.min().item(), weight.max().item(), built]))
"""
    low, high, ops = python("trainer", code)
    # Adam's first step is the learning rate against the gradient's sign.
    assert low == high == pytest.approx(0.9, abs=1e-6)
    assert {"cpu_adam"} <= set(ops)
    if python("trainer", "import json, torch; print(json.dumps(torch.version.cuda))") is None:
        assert {"cpu_adam", "deepspeed_shm_comm", "pin_memory"} == set(ops)


def test_airflow_reads_the_dags():
    assert run("orchestrator", "airflow", "version").stdout.strip()
    code = """
import json
from airflow.dag_processing.dagbag import DagBag
bag = DagBag('/opt/elysium-project/dags')
print(json.dumps([sorted(bag.dags), bag.import_errors]))
"""
    dags, errors = python("orchestrator", code)
    assert errors == {}
    assert "elysium_retrain" in dags


def test_servers_have_their_drivers():
    code = "import json, asyncpg, psycopg2, mlflow.server; print(json.dumps(psycopg2.__libpq_version__))"
    assert python("orchestrator", code) >= 140000
    missing = "import importlib.util, json; print(json.dumps(importlib.util.find_spec('torch') is None))"
    assert python("orchestrator", missing) is True


def test_the_whole_table_runs_at_toy_size(tmp_path):
    """Every step in the image of its role, on a mounted folder, one after the other."""
    from elysium.pipeline.steps import STEPS

    toy = tmp_path / "toy.yaml"
    shutil.copyfile(ROOT / "tests" / "toy.yaml", toy)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    for path in (tmp_path, workspace):
        path.chmod(0o777)  # the pod's user is another one
    mounts = (f"--volume={workspace}:/workspace", f"--volume={toy}:/toy.yaml:ro", "--env=OMP_NUM_THREADS=1")
    for row in STEPS:
        command = ("elysium", "step", row.name, "--workspace", "/workspace/run", "--preset", "/toy.yaml")
        run(row.role, *command, options=mounts)
    decision = json.loads((workspace / "run" / "promotion" / "decision.json").read_text())
    assert decision["promoted"] in (True, False)
