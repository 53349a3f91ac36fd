"""The retraining pipeline for Kubeflow Pipelines, generated from the step table and a job profile.

Run in Kubeflow's own environment (`make kubeflow-env`), as `elysium pipeline compile` and `submit` do:

    .venv-kfp/bin/python components/pipeline.py compile --output pipeline.yaml --profile profile.yaml
    .venv-kfp/bin/python components/pipeline.py run --workspace runs/kubeflow    # here, without a cluster

One component a step. Its typed artifacts carry what a person looks at in the UI: checksummed manifests of the data,
checkpoints, metrics, HTML pages. The work itself happens in the run's workspace, on the shared volume or on S3, where a
pod that was lost goes on. A gate that refuses ends well and says so; what builds on it stands behind a condition.
"""

import argparse
import contextlib
import sys
from pathlib import Path
from typing import Any, List  # noqa: UP035 - Kubeflow reads the annotation

import kfp
from kfp import compiler, dsl, local
from pods import not_carried, set_up
from sources import function_name, load_components, parts_name

from elysium.pipeline.exit_report import RESOURCES
from elysium.pipeline.kubeflow import DEFAULT_WORKSPACE, profile_from
from elysium.pipeline.profile import JobProfile
from elysium.pipeline.steps import STEPS, Step, gates_before, producer

_DESCRIPTION = "From captioned videos to a measured model, promoted or not."


def build(profile: JobProfile, workspace: str = DEFAULT_WORKSPACE, on_cluster: bool = True) -> Any:
    """Returns the pipeline function.

    Args:
        profile: The cluster.
        workspace: Default of the parameter; the volume is mounted unless it is on S3.
        on_cluster: Gives tasks what only pods have.
    """
    components = load_components(profile)
    mount = not workspace.startswith("s3://")

    @dsl.pipeline(name="elysium-retrain", description=_DESCRIPTION)
    def elysium_retrain(
        workspace: str = workspace,
        preset: str = "nano",
        overrides: List[str] = [],  # noqa: B006, UP006 - Kubeflow's own form
        copy_models: bool = True,
    ):  # type: ignore[no-untyped-def]
        """From captioned videos to a measured model, promoted or not.

        Args:
            workspace: The run's folder, /workspace/... on the volume or s3://bucket/...; one that ends in / holds a
                folder for each run. Name an earlier run's folder to go on with it: finished steps are skipped.
            preset: Preset of the settings: nano, small, vicuna-7b, or a YAML file in the images.
            overrides: Settings over the preset's, each section.key=value, e.g. training.finetune.steps=200.
            copy_models: Whether checkpoints are copied into Kubeflow's artifact store; false leaves them in the
                workspace, and the artifact says where.
        """
        given = {"workspace": workspace, "run_id": dsl.PIPELINE_JOB_ID_PLACEHOLDER}
        exit_task = components.report(**given, run_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER)
        given.update(preset=preset, overrides=overrides)
        made = _Made(components, profile, given, copy_models, on_cluster, mount)
        made.set_up(exit_task, "report", RESOURCES)
        with dsl.ExitHandler(exit_task, name="retrain"):
            made.block(())

    return elysium_retrain


class _Made:
    """The tasks of one pipeline as they are made, block by block: what a gate guards lies in a block of its own."""

    def __init__(
        self,
        components: Any,
        profile: JobProfile,
        given: dict[str, Any],
        copy_models: Any,
        on_cluster: bool,
        mount: bool,
    ) -> None:
        self.components = components
        self.profile = profile
        self.given = given
        self.copy_models = copy_models
        self.on_cluster = on_cluster
        self.mount = mount
        self.tasks: dict[str, Any] = {}

    def block(self, passed: tuple[str, ...]) -> None:
        """Makes the steps that stand behind exactly these gates, then the blocks behind one more."""
        for row in STEPS:
            if gates_before(row) == passed:
                self.tasks[row.name] = self.task(row)
        deeper = [gates_before(row) for row in STEPS if gates_before(row)[: len(passed)] == passed]
        for gate in dict.fromkeys(gates[len(passed)] for gates in deeper if len(gates) > len(passed)):
            with dsl.If(self.tasks[gate].outputs["Output"] == "done", name=f"{gate} passed"):
                self.block((*passed, gate))

    def task(self, row: Step) -> Any:
        """Makes the task of one step."""
        inputs = {name: self.tasks[producer(name).name].outputs[f"{name}_output"] for name in row.inputs}
        shard = None
        if row.share and self.profile.shards > 1:
            shard = self.shards(row, inputs)
        if row.output.type == "Model":
            inputs["copy_models"] = self.copy_models
        task = getattr(self.components, function_name(row))(**self.given, **inputs)
        self.set_up(task, row.name, row.resources)
        return task if shard is None else task.after(shard)

    def shards(self, row: Step, inputs: dict[str, Any]) -> Any:
        """Makes one task a shard; the step's own task finds what they did, and publishes it."""
        count = self.profile.shards
        with dsl.ParallelFor(items=[f"{index}/{count}" for index in range(count)], name=f"{row.name} parts") as shard:
            task = getattr(self.components, parts_name(row))(**self.given, shard=shard, **inputs)
            self.set_up(task, f"{row.name}-parts", row.resources)
        return task

    def set_up(self, task: Any, name: str, resources: Any) -> None:
        """Gives a task its pod."""
        set_up(task, name, resources, self.profile, self.mount, self.on_cluster)


def compile_to(output: str, profile: JobProfile, workspace: str) -> None:
    """Writes the pipeline's YAML, and a line on standard error for all that it cannot carry."""
    for line in not_carried(profile):
        print(f"warning: {line}", file=sys.stderr)
    compiler.Compiler().compile(build(profile, workspace), package_path=output)


def run_here(workspace: Path, preset: str, overrides: list[str]) -> None:
    """Runs the pipeline without a cluster, each component a process."""
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(workspace.parent / "kubeflow"))
    pipeline = build(JobProfile(), on_cluster=False)
    pipeline(workspace=str(workspace), preset=preset, overrides=overrides)
    print(f"kfp {kfp.__version__}: every component is done")


def main() -> None:
    """Compiles the pipeline, runs it here, or submits it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    compiling = commands.add_parser("compile", help="write the pipeline's YAML")
    compiling.add_argument("--output", required=True)
    compiling.add_argument("--profile", help="YAML file of the cluster")
    compiling.add_argument("--workspace", default=DEFAULT_WORKSPACE, help="default of the parameter")
    compiling.add_argument("--registry", help="prefix of the images' names, ending in /; instead of the profile's")
    compiling.add_argument("--tag", help="of the images; instead of the profile's")
    running = commands.add_parser("run", help="run it here, each component a process")
    running.add_argument("--workspace", required=True)
    running.add_argument("--preset", default="nano")
    running.add_argument("--set", dest="overrides", action="append", default=[])
    commands.add_parser("submit", help="read a submission as JSON from standard input, and hand it in")
    arguments = parser.parse_args()
    if arguments.command == "compile":
        profile = profile_from(arguments.profile, arguments.registry, arguments.tag)
        compile_to(arguments.output, profile, arguments.workspace)
    elif arguments.command == "run":
        run_here(Path(arguments.workspace).resolve(), arguments.preset, arguments.overrides)
    else:
        from submit import submit_from

        with contextlib.redirect_stdout(sys.stderr):
            answer = submit_from(sys.stdin.read())
        print(answer)


if __name__ == "__main__":
    main()
