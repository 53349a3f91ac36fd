"""`elysium pipeline …` and `elysium step …`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from elysium import __version__
from elysium.cli import print_json
from elysium.errors import UsageError
from elysium.options import json_option, set_option
from elysium.pipeline.steps import STEPS, step
from elysium.pipeline.workspace import Workspace

registry_option = click.option(
    "--registry", default="", help="Prefix of the images' names, e.g. registry.example.org/team/."
)
tag_option = click.option("--tag", default=__version__, show_default=True, help="Of the images.")


@click.group()
def pipeline() -> None:
    """Run the whole retraining pipeline, or write it for Kubeflow."""


@pipeline.command("run")
@click.option("--preset", default=None, help="nano (default), or a YAML file of the same form.")
@click.option("--workspace", default=None, metavar="DIR", help="The run's folder; by default runs/<date-time>.")
@click.option(
    "--resume", default=None, metavar="RUN", help="Go on with an earlier run: its id, its folder, or `latest`."
)
@click.option(
    "--runner",
    type=click.Choice(["local", "airflow"]),
    default="local",
    help="Who starts the steps.",
    show_default=True,
)
@set_option
@json_option
def run_command(
    preset: str | None,
    workspace: str | None,
    resume: str | None,
    runner: str,
    overrides: tuple[str, ...],
    as_json: bool,
) -> int:
    """Run the whole table of steps: from videos to a measured model that was promoted, or why it was not.

    \b
    Registry and data versions are kept beside the run's folder (runs/mlflow, runs/dvc-remote), so that the next
    run's model is compared with this one's.
    Exit codes: 0 done, 1 failed, 2 bad usage, 3 a quality gate said no.

    Examples:
      elysium pipeline run
      elysium pipeline run --set training.finetune.steps=20 --set ingest.source=my_videos/
      elysium pipeline run --resume latest
    """
    from elysium.pipeline.runner import find_run, new_run, run_table, write_report
    from elysium.pipeline.summary import print_summary, summarise

    if resume is not None and workspace is not None:
        raise UsageError("--resume names the run already; leave --workspace out")
    place = Workspace.at(find_run(resume) if resume is not None else workspace or new_run())
    settings = place.settings(preset, overrides, keep=True)
    for row in STEPS:
        row.check(settings)

    def say(line: str) -> None:
        click.echo(line, err=True)

    say(f"run {place.run_id} in {place.root}")
    if runner == "airflow":
        from elysium.pipeline.airflow import run_dag

        code = run_dag(place.root, say=say)
    else:
        code = run_table(place, say).exit_code
    summary = summarise(place, write_report(place))
    if as_json:
        print_json(summary)
    else:
        print_summary(place, summary)
    return code


@pipeline.command("report")
@click.argument("run", metavar="RUN")
@json_option
def report_command(run: str, as_json: bool) -> None:
    """Write RUN's report.html again from what it has published, and print its summary.

    \b
    Example:
      elysium pipeline report latest
    """
    from elysium.pipeline.runner import find_run, write_report
    from elysium.pipeline.summary import print_summary, summarise

    place = Workspace.at(find_run(run))
    summary = summarise(place, write_report(place))
    if as_json:
        print_json(summary)
    else:
        print_summary(place, summary)


@click.command("step")
@click.argument("name", type=click.Choice([row.name for row in STEPS]), metavar="NAME")
@click.option("--workspace", required=True, metavar="URI", help="The run's folder; made if it is not there.")
@click.option("--preset", default=None, help="Preset of a new run: nano (default), or a YAML file.")
@set_option
@json_option
def step_command(name: str, workspace: str, preset: str | None, overrides: tuple[str, ...], as_json: bool) -> int:
    """Run step NAME of a workspace; a finished step is skipped, a half-finished one goes on.

    \b
    Exit codes: 0 done, 1 failed, 2 bad usage, 3 a quality gate said no.

    Example:
      elysium step curate --workspace runs/first --set curate.min_iou=0.4
    """
    from elysium.pipeline.execute import run_step

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # Else all but one would fail for the step's lock.
        raise UsageError(
            f"torchrun starts {os.environ['WORLD_SIZE']} processes, and a step is one, which starts its own for the "
            "GPUs of its machine (training.processes); what spans machines is `elysium train run`"
        )
    row = step(name)
    place = Workspace.at(workspace)
    outcome = run_step(place, row, place.settings(preset, overrides))
    manifest = outcome.manifest
    verb = "refused" if manifest.status == "refused" else "skipped (finished before)" if outcome.skipped else "done"
    click.echo(f"{name}: {verb} in {manifest.seconds:.1f} s: {manifest.summary}", err=True)
    if as_json:
        shown = manifest.model_dump(mode="json", exclude={"files"})
        print_json({**shown, "skipped": outcome.skipped, "folder": str(place.folder(row))})
    return 3 if manifest.status == "refused" else 0


@pipeline.command("compile")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The YAML to write.")
@registry_option
@tag_option
@json_option
def compile_command(output: Path, registry: str, tag: str, as_json: bool) -> None:
    """Write the pipeline for Kubeflow Pipelines: one component a step, typed artifacts, resources from the table.

    \b
    Needs Kubeflow's own environment beside this one: `make kubeflow-env`.

    Example:
      elysium pipeline compile --output pipeline.yaml
    """
    from elysium.pipeline.kubeflow import compile_pipeline

    compile_pipeline(output, registry, tag)
    click.echo(f"{output}: {len(STEPS)} steps", err=True)
    if as_json:
        print_json({"output": str(output), "steps": [row.name for row in STEPS]})


@pipeline.command("manifests")
@click.option("--workspace", required=True, help="The run's folder as the pods see it, below /workspace.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for the YAML.")
@click.option("--preset", default="nano", show_default=True, help="A preset's name, or a YAML file in the image.")
@registry_option
@tag_option
@set_option
def manifests_command(
    workspace: str, output: Path, preset: str, registry: str, tag: str, overrides: tuple[str, ...]
) -> None:
    """Write one Kubernetes Job a step, from the template in k8s/.

    \b
    Example:
      elysium pipeline manifests --workspace /workspace/run-1 --output jobs/
    """
    from elysium.config import load_settings
    from elysium.pipeline.kubernetes import JobRequest, write_manifests

    load_settings(preset, overrides)
    name = workspace.rstrip("/").rsplit("/", 1)[-1]
    request = JobRequest(name, workspace, preset, overrides, registry, tag)
    for path in write_manifests(request, output):
        click.echo(str(path))
