"""Finds Kubeflow's own environment and lets `components/pipeline.py` compile there."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import elysium
from elysium import __version__
from elysium.errors import ElysiumError, UsageError

_ROOT = Path(elysium.__file__).resolve().parents[1]


def compile_pipeline(output: Path, registry: str = "", tag: str = __version__) -> None:
    """Writes the pipeline's YAML.

    Args:
        output: The file to write.
        registry: Prefix of the images' names, ending in `/` where there is one.
        tag: Of the images.

    Raises:
        UsageError: If Kubeflow's environment or the checkout is not here.
        ElysiumError: If the compiler failed.
    """
    script = _ROOT / "components" / "pipeline.py"
    if not script.is_file():
        raise UsageError(f"the pipeline is not at {script}: run from a checkout")
    output.parent.mkdir(parents=True, exist_ok=True)
    result = subprocess.run(
        [kubeflow_python(), str(script), "compile", "--output", str(output), "--registry", registry, "--tag", tag],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise ElysiumError(f"the pipeline could not be compiled: {last}")


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
