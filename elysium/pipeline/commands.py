"""`elysium pipeline …` and `elysium step …`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from elysium.cli import print_json
from elysium.errors import UsageError
from elysium.options import ShardOption, json_option, set_option
from elysium.pipeline.kubeflow_commands import compile_command, submit_command
from elysium.pipeline.steps import STEPS, StepResult, step
from elysium.pipeline.workspace import Share, Workspace, open_workspace


@click.group()
def pipeline() -> None:
    """Run the whole retraining pipeline, or write it for Kubeflow."""


pipeline.add_command(compile_command)
pipeline.add_command(submit_command)


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
@click.option(
    "--workspace",
    required=True,
    metavar="URI",
    help="The run's folder, made if it is not there, or s3://bucket/prefix/run; the bucket must exist.",
)
@click.option("--preset", default=None, help="Preset of a new run: nano (default), or a YAML file.")
@click.option(
    "--nodes",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="How many nodes run this command together; ELYSIUM_RENDEZVOUS=HOST:PORT says where they meet.",
)
@click.option(
    "--node", type=click.IntRange(0), default=None, help="Which of them this is; by default JOB_COMPLETION_INDEX."
)
@click.option(
    "--shard",
    "share",
    type=ShardOption(),
    default=None,
    help="Do this part of the work only, e.g. 0/8, and publish nothing; `step NAME` without it does. For curate.",
)
@set_option
@json_option
def step_command(
    name: str,
    workspace: str,
    preset: str | None,
    nodes: int,
    node: int | None,
    share: tuple[int, int] | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> int:
    """Run step NAME of a workspace; a finished step is skipped, a half-finished one goes on.

    \b
    Exit codes: 0 done, 1 failed, 2 bad usage, 3 a quality gate said no; 128 + n stopped by signal n, to be run again.

    Examples:
      elysium step curate --workspace runs/first --set curate.min_iou=0.4
      elysium step curate --workspace s3://bucket/runs/first --shard $INDEX/8
      ELYSIUM_RENDEZVOUS=first:29500 elysium step finetune --workspace /shared/runs/first --nodes 4 --node 0
    """
    from elysium.pipeline.execute import run_share, run_step
    from elysium.stopping import stoppable

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # Else all but one would fail for the step's lock.
        raise UsageError(
            f"torchrun starts {os.environ['WORLD_SIZE']} processes, and a step is one, which starts its own for the "
            "GPUs of its machine (training.processes); over several machines, start it on each with --nodes"
        )
    row = step(name)
    place = open_workspace(workspace)
    with stoppable():
        settings = place.settings(preset, overrides)
        if share is not None:
            return _show_share(name, share, run_share(place, row, settings, Share(*share)), as_json)
        if nodes > 1:
            from elysium.pipeline.meeting import Node
            from elysium.pipeline.nodes import run_on_nodes

            outcome = run_on_nodes(place, row, settings, Node.here(nodes, node))
        else:
            outcome = run_step(place, row, settings)
    manifest = outcome.manifest
    verb = "refused" if manifest.status == "refused" else "skipped (finished before)" if outcome.skipped else "done"
    click.echo(f"{name}: {verb} in {manifest.seconds:.1f} s: {manifest.summary}", err=True)
    if as_json:
        shown = manifest.model_dump(mode="json", exclude={"files"})
        print_json({**shown, "skipped": outcome.skipped, "folder": place.location(row)})
    return 3 if manifest.status == "refused" else 0


def _show_share(name: str, share: tuple[int, int], done: StepResult | None, as_json: bool) -> int:
    summary = "finished before" if done is None else done.summary
    click.echo(f"{name}, share {share[0]} of {share[1]}: {summary}", err=True)
    if as_json:
        print_json({"step": name, "share": list(share), "finished": done is None, "summary": summary})
    return 0


@pipeline.command("manifests")
@click.option(
    "--workspace", required=True, metavar="URI", help="The run's folder as the pods see it: below /workspace, or s3://."
)
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for the YAML.")
@click.option(
    "--profile",
    default=None,
    metavar="FILE",
    help="What the cluster is like; by default what ELYSIUM_JOB_PROFILE names.",
)
@click.option("--preset", default="nano", show_default=True, help="A preset's name, or a YAML file in the image.")
@set_option
@json_option
def manifests_command(
    workspace: str, output: Path, profile: str | None, preset: str, overrides: tuple[str, ...], as_json: bool
) -> None:
    """Write the Kubernetes Jobs of a run, from the template in k8s/: numbered in the order in which they are applied.

    \b
    Example:
      elysium pipeline manifests --workspace /workspace/run-1 --profile k8s/overlays/local/profile.yaml --output jobs/
    """
    from elysium.config import load_settings
    from elysium.pipeline.kubernetes import JobRequest, write_manifests
    from elysium.pipeline.profile import load_profile

    load_settings(preset, overrides)
    name = workspace.rstrip("/").rsplit("/", 1)[-1]
    paths = write_manifests(JobRequest(name, workspace, preset, overrides, load_profile(profile)), output)
    for path in paths:
        click.echo(str(path), err=as_json)
    if as_json:
        print_json({"output": str(output), "files": [path.name for path in paths]})
