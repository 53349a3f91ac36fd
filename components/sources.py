"""The components' source, one function a step: Kubeflow reads components back from the file that they stand in."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from elysium.pipeline.profile import JobProfile
from elysium.pipeline.steps import STEPS, Step, producer

_HEAD = """
from typing import List

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Markdown, Metrics, Model, Output, OutputPath
"""

_COMPONENT = '''

@dsl.component(base_image="{image}", install_kfp_package=False)
def {function}({parameters}){returns}:
    """{summary}

    Args:
{help}
    """
    from elysium.pipeline.component import RunArguments, {called}

    {result}{called}({arguments})
'''

_REPORT = '''

@dsl.component(base_image="{image}", install_kfp_package=False)
def report(workspace: str, run_id: str, run_name: str, run_summary: Output[Markdown], run_report: Output[HTML]):
    """Says how each step fared, however the run ended.

    Args:
        workspace: The run's folder, or the folder of runs.
        run_id: Kubeflow's id of the run.
        run_name: What the run is called.
        run_summary: A table of the steps.
        run_report: The run's report as one page.
    """
    from elysium.pipeline.exit_report import run_report as write

    write(workspace, run_id, run_name, run_summary, run_report)
'''

_GIVEN = {
    "workspace": ("str", "The run's folder, or the folder of runs."),
    "run_id": ("str", "Kubeflow's id of the run."),
    "preset": ("str", "Preset of the settings."),
    "overrides": ("List[str]", "Settings, each section.key=value."),
}


def load_components(profile: JobProfile) -> ModuleType:
    """Returns a module with the component of every step, of a shard and of the report.

    Args:
        profile: Names the images.
    """
    source = _HEAD + "".join(_component(row, profile) for row in STEPS)
    source += "".join(_shard(row, profile) for row in STEPS if row.share)
    source += _REPORT.format(image=profile.image("trainer"))
    path = Path(tempfile.mkdtemp(prefix="elysium-kfp-")) / "elysium_components.py"
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def function_name(row: Step) -> str:
    """Returns the name of a step's component."""
    return row.name.replace("-", "_") + "_step"


def parts_name(row: Step) -> str:
    """Returns the name of the component that does one part of a step."""
    return row.name.replace("-", "_") + "_part"


def _component(row: Step, profile: JobProfile) -> str:
    name = row.output.name
    parameters = {**_GIVEN, **_inputs(row)}
    parameters[f"{name}_output"] = (f"Output[{row.output.type}]", "What the step makes.")
    arguments = [f'"{row.name}"', _run(), f"{name}_output"]
    if row.output.html is not None and row.output.type != "HTML":
        parameters[f"{name}_page"] = ("Output[HTML]", "Its page.")
        arguments.append(f"page={name}_page")
    if row.output.type != "Metrics":
        parameters[f"{name}_metrics"] = ("Output[Metrics]", "Its figures.")
        arguments.append(f"metrics={name}_metrics")
    if row.gate:
        parameters["reason"] = ("OutputPath(str)", "What the gate says of it.")
        arguments.append("reason=reason")
    if row.output.type == "Model":
        parameters["copy_models"] = ("bool", "Whether the model's files become the artifact.")
        arguments.append("copy_model=copy_models")
    return _fill(row, function_name(row), profile, parameters, "run_component", arguments, returns=row.gate)


def _shard(row: Step, profile: JobProfile) -> str:
    parameters = {**_GIVEN, "shard": ("str", "INDEX/COUNT."), **_inputs(row)}
    arguments = [f'"{row.name}"', _run(), "shard"]
    return _fill(row, parts_name(row), profile, parameters, "run_shard", arguments, True)


def _fill(
    row: Step,
    function: str,
    profile: JobProfile,
    parameters: dict[str, tuple[str, str]],
    called: str,
    arguments: list[str],
    returns: bool,
) -> str:
    return _COMPONENT.format(
        image=profile.image(row.role),
        function=function,
        parameters=", ".join(f"{name}: {kind}" for name, (kind, _) in parameters.items()),
        returns=" -> str" if returns else "",
        summary=row.summary,
        help="\n".join(f"        {name}: {text}" for name, (_, text) in parameters.items()),
        called=called,
        result="return " if returns else "",
        arguments=", ".join(arguments),
    )


def _inputs(row: Step) -> dict[str, tuple[str, str]]:
    """Returns the artifacts a step reads: they make the order and the lineage, the files come from the workspace."""
    return {name: (f"Input[{producer(name).output.type}]", f"Of {producer(name).name}.") for name in row.inputs}


def _run() -> str:
    return "RunArguments(workspace, preset, overrides, run_id)"
