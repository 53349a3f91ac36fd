"""Finds Kubeflow's own environment and lets `components/pipeline.py` compile there."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import elysium
from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.profile import JobProfile, load_profile

DEFAULT_WORKSPACE = "/workspace/runs/"
_ROOT = Path(elysium.__file__).resolve().parents[1]


def compile_pipeline(
    output: Path,
    profile: Path | None = None,
    workspace: str = DEFAULT_WORKSPACE,
    registry: str | None = None,
    tag: str | None = None,
) -> list[str]:
    """Writes the pipeline's YAML.

    Args:
        output: The file to write.
        profile: YAML file of the cluster; None takes the one that `ELYSIUM_JOB_PROFILE` names, or the defaults.
        workspace: Default of the pipeline's parameter. On `s3://` no volume is mounted.
        registry: Prefix of the images' names, ending in `/` where there is one; None takes the profile's.
        tag: Of the images; None takes the profile's.

    Returns:
        Warnings: what of the profile Kubeflow has no place for.

    Raises:
        UsageError: If Kubeflow's environment or the checkout is not here, or profile and workspace do not fit.
        ElysiumError: If the compiler failed.
    """
    check_workspace(workspace, profile_from(profile, registry, tag))
    given = {"profile": profile, "workspace": workspace, "registry": registry, "tag": tag}
    options = [part for name, value in given.items() if value is not None for part in (f"--{name}", str(value))]
    output.parent.mkdir(parents=True, exist_ok=True)
    command = [kubeflow_python(), str(pipeline_script()), "compile", "--output", str(output), *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ElysiumError(f"the pipeline could not be compiled: {last_line(result.stderr)}")
    return [line.removeprefix("warning: ") for line in result.stderr.splitlines() if line.startswith("warning: ")]


def check_workspace(workspace: str, profile: JobProfile) -> None:
    """Raises UsageError if pods of this cluster could not reach a workspace."""
    if workspace.startswith("s3://"):
        return
    if profile.volume is None:
        raise UsageError(
            f"the job profile {profile.name!r} has no volume: name a workspace on s3://, got {workspace!r}"
        )
    if not workspace.startswith("/workspace/"):
        raise UsageError(f"on Kubeflow the workspace lies below /workspace or on s3://, got {workspace!r}")


def profile_from(path: str | Path | None, registry: str | None, tag: str | None) -> JobProfile:
    """Returns the job profile with the images that are named."""
    named = {name: value for name, value in (("registry", registry), ("tag", tag)) if value is not None}
    return load_profile(path).model_copy(update=named)


def pipeline_script() -> Path:
    """Returns the pipeline's file in the checkout.

    Raises:
        UsageError: If this is no checkout.
    """
    script = _ROOT / "components" / "pipeline.py"
    if not script.is_file():
        raise UsageError(f"the pipeline is not at {script}: run from a checkout")
    return script


def last_line(text: str) -> str:
    """Returns the last line that says something."""
    return (text.strip().splitlines() or ["it printed nothing"])[-1]


def kubeflow_python() -> str:
    """Returns the Python that has kfp: this one, the one in `ELYSIUM_KFP_PYTHON`, or that of `make kubeflow-env`.

    Raises:
        UsageError: If there is none.
    """
    if importlib.util.find_spec("kfp") is not None:
        return sys.executable
    for candidate in (os.environ.get("ELYSIUM_KFP_PYTHON"), str(_ROOT / ".venv-kfp" / "bin" / "python")):
        if candidate and Path(candidate).is_file():
            return candidate
    raise UsageError(
        "Kubeflow's environment is not here: `make kubeflow-env` makes it, or name a Python in ELYSIUM_KFP_PYTHON"
    )
