"""What images are made from, without an engine that makes them; tests/cluster/images looks into finished ones."""

import fnmatch
import importlib.util
import json
import re
import subprocess
from importlib.metadata import distribution, distributions

import pytest
from image_files import DOCKERFILES, ROLES, ROOT, closure, extras, instructions, step_imports

from elysium import __version__
from elysium.pipeline.steps import STEPS

POSTGRES = ROOT / "tests" / "cluster" / "images" / "Dockerfile.postgres"
ALL = {**DOCKERFILES, "postgres": POSTGRES}
SCRIPTS = sorted([*(ROOT / "components" / "images").glob("*.sh"), *POSTGRES.parent.glob("*.sh")])


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "components" / "images" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


wheelhouse, sbom = tool("wheelhouse"), tool("sbom")


def test_every_role_of_the_table_has_an_image():
    assert set(DOCKERFILES) == {*ROLES, "base"} >= {row.role for row in STEPS}


@pytest.mark.parametrize("path", ALL.values(), ids=ALL)
def test_an_image_is_pinned_runs_as_nobody_special_and_keeps_no_cache(path):
    arguments, *stages = instructions(path)
    defaults = dict(rest.split("=", 1) for name, rest in arguments if name == "ARG")
    names = set()
    for stage in stages:
        image, _, name = stage[0][1].partition(" AS ")
        if image not in names:
            pinned = defaults[image.strip("${}")]
            assert re.fullmatch(rf"\S+:3\.11-slim-bookworm|elysium-base:{re.escape(__version__)}", pinned)
        names.add(name)
    last = stages[-1]
    assert [rest for name, rest in last if name == "USER"][-1] == ("999:999" if path == POSTGRES else "10001:10001")
    for stage in stages:
        for name, rest in stage:
            assert name != "ADD", "ADD fetches and unpacks; COPY says what it does"
            if name == "RUN" and " pip " in rest:
                assert "--no-cache-dir" in rest
            if name == "RUN" and "apt-get install" in rest:
                assert "--no-install-recommends" in rest
                assert stage is not last or "rm -rf /var/lib/apt/lists/*" in rest


@pytest.mark.parametrize("role", DOCKERFILES)
def test_a_finished_image_knows_neither_index_nor_compiler(role):
    text = " ".join(f"{name} {rest}" for name, rest in instructions(DOCKERFILES[role])[-1])
    assert not re.search(r"PIP_|TORCH_INDEX|DEBIAN_MIRROR|apt-get|g\+\+", text)


@pytest.mark.parametrize("role", ROLES)
def test_an_image_says_what_it_is_and_the_code_is_its_last_layer(role):
    last = instructions(DOCKERFILES[role])[-1]
    labels = dict(
        re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', " ".join(r for n, r in last if n == "LABEL"))
    )
    assert labels.pop("description")
    assert labels == {
        "title": f"elysium-{role}",
        "version": "${VERSION}",
        "revision": "${ELYSIUM_COMMIT}",
        "licenses": "Apache-2.0",
    }
    assert ("ENV", "ELYSIUM_COMMIT=${ELYSIUM_COMMIT}") in last
    positions = {rest: number for number, (_, rest) in enumerate(last)}
    code = positions["--from=project /opt/elysium /opt/elysium"]
    assert positions['ELYSIUM_COMMIT=""'] > max(n for rest, n in positions.items() if "install.sh" in rest)
    assert [rest for name, rest in last[code:] if name == "RUN" and "sbom.py" not in rest] == []


def test_what_is_copied_into_images_passes_the_ignore_file():
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    allowed = [line[1:] for line in lines if line.startswith("!")]
    assert lines[0] == "*"
    for path in ALL.values():
        for name, rest in (instruction for stage in instructions(path) for instruction in stage):
            if name != "COPY" or "--from=" in rest:
                continue
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), f"{path.name} copies {source}, which is not there"
                assert any(source == each or source.startswith(f"{each}/") for each in allowed), source
    assert not any(fnmatch.fnmatch(".git", each) or fnmatch.fnmatch(".env", each) for each in allowed)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_plain_shell(path):
    subprocess.run(["sh", "-n", path], check=True)


def test_what_both_roles_install_is_the_base():
    assert set(extras("base")) - {"deepspeed"} <= set(extras("curator"))
    assert set(extras("base")) <= set(extras("trainer"))


@pytest.mark.parametrize("row", STEPS, ids=lambda row: row.name)
def test_all_that_a_step_imports_is_in_its_roles_image(row):
    installed = closure(wheelhouse.requirements(ROOT / "pyproject.toml", extras(row.role)))
    missing = {top: module for names, (top, module) in step_imports(row).items() if not names & installed}
    assert missing == {}, f"elysium-{row.role} lacks what these modules import"


def test_a_missing_package_would_be_found():
    row = next(row for row in STEPS if row.name == "validate-raw")
    installed = closure(wheelhouse.requirements(ROOT / "pyproject.toml", ["train"]))
    assert {top for names, (top, _) in step_imports(row).items() if not names & installed} == {
        "great_expectations",
        "pandas",
    }


def test_what_schedules_has_no_torch():
    names = closure(wheelhouse.requirements(ROOT / "pyproject.toml", extras("orchestrator")))
    assert {"apache-airflow-core", "mlflow", "boto3"} <= names
    assert not {"torch", "transformers", "deepspeed", "opencv-contrib-python-headless"} & names


def test_extras_that_name_extras_are_followed(tmp_path):
    project = tmp_path / "pyproject.toml"
    project.write_text(
        '[project]\ndependencies = ["click"]\n[project.optional-dependencies]\n'
        'a = ["x>=1"]\nb = ["elysium[a, c]", "y"]\nc = ["z"]\n'
    )
    assert wheelhouse.requirements(project, []) == ["click"]
    assert wheelhouse.requirements(project, ["b"]) == ["click", "x>=1", "y", "z"]


def test_the_bill_lists_each_package_once_and_depends_on_nothing_else():
    components = [
        sbom.python_component(each) for each in distributions() if each.metadata["Name"] in ("click", "torch")
    ]
    bill = sbom.bill("elysium-trainer", "0.1.0", "abc", components)
    assert json.dumps(bill) == json.dumps(sbom.bill("elysium-trainer", "0.1.0", "abc", reversed(components)))
    assert bill["serialNumber"] != sbom.bill("elysium-trainer", "0.1.0", "abd", components)["serialNumber"]
    assert [each["name"] for each in bill["components"]] == ["click", "torch"]
    click = bill["components"][0]
    assert click["purl"] == f"pkg:pypi/click@{distribution('click').version}"
    assert click["licenses"] == [{"expression": "BSD-3-Clause"}]


def test_debian_packages_have_urls_of_their_own():
    line = "installed\tlibstdc++6:amd64\t12.2.0-14+deb12u1\tamd64\tgcc-12"
    component = sbom.debian_component(line)
    assert component["purl"] == "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12"
    assert (component["name"], component["version"]) == ("libstdc++6", "12.2.0-14+deb12u1")
    assert sbom.debian_component("config-files" + line[len("installed") :]) is None


def test_make_images_builds_the_base_first_and_names_the_commit():
    command = [
        "make",
        "-s",
        "images",
        "ENGINE=echo",
        "REGISTRY=registry.example/",
        "TAG=7",
        "ROLES=curator orchestrator",
    ]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    builds = [line for line in lines if line.startswith("build ")]
    names = [
        re.search(r"-f components/Dockerfile\.(\w+) -t registry\.example/elysium-(\w+):7 \.$", line) for line in builds
    ]
    assert [name.groups() for name in names] == [(role, role) for role in ("base", "curator", "orchestrator")]
    for line in builds:
        assert re.search(
            rf"--build-arg ELYSIUM_COMMIT=[0-9a-f]{{12}}(\.dirty)? --build-arg VERSION={__version__} ", line
        )
        assert "--build-arg BASE_IMAGE=registry.example/elysium-base:7" in line
    alone = subprocess.run(
        [*command, "ROLES=orchestrator"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert "Dockerfile.base" not in alone
