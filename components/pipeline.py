"""The retraining pipeline for Kubeflow Pipelines, generated from the step table.

Run in Kubeflow's own environment (`make kubeflow-env`); `elysium pipeline compile` does that:

    .venv-kfp/bin/python components/pipeline.py compile --output pipeline.yaml
    .venv-kfp/bin/python components/pipeline.py run --workspace runs/kubeflow    # here, without a cluster

One component a step. Its typed artifacts carry what a person looks at in the UI: checksummed manifests of the data,
checkpoints, metrics, HTML pages. The work itself happens in the run's workspace on the shared volume, where a pod that
was lost goes on.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import Any

import kfp
from kfp import compiler, local

from elysium import __version__
from elysium.pipeline.steps import STEPS, Step

_MODULE = """
from typing import List

import kfp
from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Model, Output
{components}

@dsl.pipeline(name="elysium-retrain", description="From captioned videos to a measured model, promoted or not.")
def elysium_retrain(workspace: str = "/workspace/run", preset: str = "nano", overrides: List[str] = []{volume}):
{tasks}
"""

_COMPONENT = '''
@dsl.component(base_image="{image}", install_kfp_package=False)
def {function}({parameters}):
    """{summary}"""
    from elysium.pipeline.component import run_component

    run_component("{name}", workspace, preset, overrides, {output}{page})
'''


def build(registry: str = "", tag: str = __version__, on_cluster: bool = True) -> Any:
    """Returns the pipeline function.

    Args:
        registry: Prefix of the images' names, ending in `/` where there is one.
        tag: Of the images.
        on_cluster: Mounts the workspace volume; a run without a cluster has none.
    """
    components = "".join(_component(row, registry, tag) for row in STEPS)
    tasks = "\n".join(line for row in STEPS for line in _task(row, on_cluster))
    # Components are read back from their source, so the source must lie in a file.
    path = Path(tempfile.mkdtemp(prefix="elysium-kfp-")) / "elysium_retrain_pipeline.py"
    volume = ', volume: str = "elysium-workspace"' if on_cluster else ""
    path.write_text(_MODULE.format(components=components, tasks=tasks, volume=volume), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module.elysium_retrain


def _component(row: Step, registry: str, tag: str) -> str:
    parameters = ["workspace: str", "preset: str", "overrides: List[str]"]
    parameters += [f"{name}: Input[{_type(name)}]" for name in row.inputs]
    parameters.append(f"{row.output.name}_output: Output[{row.output.type}]")
    if _has_page(row):
        parameters.append(f"{row.output.name}_page: Output[HTML]")
    return _COMPONENT.format(
        image=f"{registry}elysium-{row.role}:{tag}",
        function=_function(row),
        parameters=", ".join(parameters),
        summary=row.summary,
        name=row.name,
        output=f"{row.output.name}_output",
        page=f", {row.output.name}_page" if _has_page(row) else "",
    )


def _task(row: Step, on_cluster: bool) -> list[str]:
    given = ["workspace=workspace", "preset=preset", "overrides=overrides"]
    for name in row.inputs:
        source = next(other for other in STEPS if other.output.name == name)
        given.append(f"{name}={_function(source)}_task.outputs['{name}_output']")
    task = f"{_function(row)}_task"
    lines = [f"{task} = {_function(row)}({', '.join(given)})", f"{task}.set_display_name('{row.name}')"]
    # Steps skip finished work by their own checksums; Kubeflow's cache does not see the workspace.
    lines.append(f"{task}.set_caching_options(False)")
    lines.append(f"{task}.set_cpu_request('{row.resources.cpu:g}').set_cpu_limit('{row.resources.cpu:g}')")
    lines.append(
        f"{task}.set_memory_request('{row.resources.memory_gib:g}Gi').set_memory_limit('{row.resources.memory_gib:g}Gi')"
    )
    if row.resources.gpu:
        lines.append(f"{task}.set_accelerator_type('nvidia.com/gpu').set_accelerator_limit({row.resources.gpu})")
    if row.resources.retries and on_cluster:
        lines.append(f"{task}.set_retry(num_retries={row.resources.retries}, backoff_duration='60s', backoff_factor=2)")
    if on_cluster:
        lines.append("from kfp import kubernetes")
        lines.append(f"kubernetes.mount_pvc({task}, pvc_name=volume, mount_path='/workspace')")
        lines.append(f"kubernetes.set_timeout({task}, {row.resources.seconds})")
        if row.resources.gpu:
            lines.append(
                f"kubernetes.add_toleration({task}, key='nvidia.com/gpu', operator='Exists', effect='NoSchedule')"
            )
    return [f"    {line}" for line in lines]


def _function(row: Step) -> str:
    return row.name.replace("-", "_") + "_step"


def _type(artifact: str) -> str:
    return next(row.output.type for row in STEPS if row.output.name == artifact)


def _has_page(row: Step) -> bool:
    return row.output.html is not None and row.output.type != "HTML"


def main() -> None:
    """Compiles the pipeline, or runs it here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    compiling = commands.add_parser("compile", help="write the pipeline's YAML")
    compiling.add_argument("--output", required=True)
    compiling.add_argument("--registry", default="", help="prefix of the images' names, ending in /")
    compiling.add_argument("--tag", default=__version__, help="of the images")
    running = commands.add_parser("run", help="run it here, each component a process")
    running.add_argument("--workspace", required=True)
    running.add_argument("--preset", default="nano")
    running.add_argument("--set", dest="overrides", action="append", default=[])
    arguments = parser.parse_args()
    if arguments.command == "compile":
        compiler.Compiler().compile(build(arguments.registry, arguments.tag), package_path=arguments.output)
        return
    workspace = Path(arguments.workspace).resolve()
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(workspace.parent / "kubeflow"))
    build(on_cluster=False)(workspace=str(workspace), preset=arguments.preset, overrides=arguments.overrides)
    print(f"kfp {kfp.__version__}: every component is done")


if __name__ == "__main__":
    main()
