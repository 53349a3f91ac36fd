"""`elysium pipeline compile` and `elysium pipeline submit`."""

from __future__ import annotations

from pathlib import Path

import click

from elysium.cli import print_json
from elysium.errors import GateRefused
from elysium.options import json_option, set_option, together
from elysium.pipeline.steps import STEPS

_cluster_options = together(
    click.option(
        "--profile",
        type=click.Path(path_type=Path, dir_okay=False),
        default=None,
        metavar="FILE",
        help="What the cluster is like; by default what ELYSIUM_JOB_PROFILE names.",
    ),
    click.option(
        "--workspace",
        default="/workspace/runs/",
        show_default=True,
        metavar="URI",
        help="The run's folder below /workspace, or on s3://; one that ends in / holds a folder for each run.",
    ),
    click.option("--registry", default=None, help="Prefix of the images' names, ending in /; else the profile's."),
    click.option("--tag", default=None, help="Of the images; else the profile's."),
)


@click.command("compile")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The YAML to write.")
@_cluster_options
@json_option
def compile_command(
    output: Path, profile: Path | None, workspace: str, registry: str | None, tag: str | None, as_json: bool
) -> None:
    """Write the pipeline for Kubeflow Pipelines: one component a step, typed artifacts, resources from the table.

    \b
    Needs Kubeflow's own environment beside this one: `make kubeflow-env`.

    \b
    Example:
      elysium pipeline compile --output pipeline.yaml --profile k8s/overlays/gpu/profile.yaml
    """
    from elysium.pipeline.kubeflow import compile_pipeline

    warnings = compile_pipeline(output, profile, workspace, registry, tag)
    for line in warnings:
        click.echo(f"warning: {line}", err=True)
    click.echo(f"{output}: {len(STEPS)} steps", err=True)
    if as_json:
        print_json({"output": str(output), "steps": [row.name for row in STEPS], "warnings": warnings})


@click.command("submit")
@click.option("--host", required=True, envvar="KF_PIPELINES_ENDPOINT", help="Of Kubeflow Pipelines, with https://.")
@click.option("--run-name", default=None, help="By default elysium-<date-time>, or elysium-retrain for a schedule.")
@click.option("--experiment", default="elysium", show_default=True, help="Of Kubeflow.")
@click.option("--create-experiment", is_flag=True, help="Make the experiment if it is not there.")
@click.option("--namespace", default=None, help="Yours, where Kubeflow keeps its users apart.")
@click.option("--service-account", default=None, help="Of the run's pods; else Kubeflow's default.")
@click.option("--token-file", default=None, metavar="FILE", help="Bearer token; else what ELYSIUM_KFP_TOKEN holds.")
@click.option("--ca-file", default=None, metavar="FILE", help="Certificates of the host's authority.")
@click.option("--preset", default="nano", show_default=True, help="A preset's name, or a YAML file in the image.")
@set_option
@click.option("--no-copy-models", is_flag=True, help="Leave checkpoints in the workspace, out of Kubeflow's store.")
@click.option("--cron", default=None, help='Run again and again: six fields, seconds first, e.g. "0 0 3 * * 0".')
@click.option("--interval-seconds", type=int, default=None, help="Run again and again.")
@click.option("--wait", is_flag=True, help="Wait for the run's end.")
@click.option("--timeout-seconds", type=float, default=7 * 86400.0, show_default=True, help="How long --wait waits.")
@click.option("--poll-seconds", type=float, default=15.0, show_default=True, help="Between two looks at the run.")
@_cluster_options
@json_option
def submit_command(
    host: str,
    run_name: str | None,
    experiment: str,
    create_experiment: bool,
    namespace: str | None,
    service_account: str | None,
    token_file: str | None,
    ca_file: str | None,
    preset: str,
    overrides: tuple[str, ...],
    no_copy_models: bool,
    cron: str | None,
    interval_seconds: int | None,
    wait: bool,
    timeout_seconds: float,
    poll_seconds: float,
    profile: Path | None,
    workspace: str,
    registry: str | None,
    tag: str | None,
    as_json: bool,
) -> int:
    """Compile the pipeline and hand it in at a Kubeflow: a run now, or with a schedule again and again.

    \b
    A schedule takes the place of an earlier one with the same name.
    Exit codes: 0 done, 1 failed, 2 bad usage, 3 a quality gate said no (with --wait).

    \b
    Examples:
      elysium pipeline submit --host http://localhost:8080 --workspace s3://bucket/runs/ --wait
      elysium pipeline submit --host http://localhost:8080 --preset small --cron "0 0 3 * * 0"
    """
    from elysium.config import load_settings
    from elysium.pipeline.submission import Submission, submit

    load_settings(preset, overrides)
    answer = submit(
        Submission(
            host=host,
            workspace=workspace,
            preset=preset,
            overrides=overrides,
            copy_models=not no_copy_models,
            name=run_name,
            experiment=experiment,
            create_experiment=create_experiment,
            namespace=namespace,
            service_account=service_account,
            token_file=token_file,
            ca_file=ca_file,
            cron=cron,
            interval_seconds=interval_seconds,
            wait_seconds=timeout_seconds if wait else None,
            poll_seconds=poll_seconds,
            profile=None if profile is None else str(profile),
            registry=registry,
            tag=tag,
        )
    )
    for line in answer["warnings"]:
        click.echo(f"warning: {line}", err=True)
    click.echo(f"{answer['name']}: {answer['url']}", err=True)
    if as_json:
        print_json(answer)
    if not wait:
        return 0
    click.echo(
        f"{answer['name']}: {answer['state']}{', a quality gate said no' if answer['refused'] else ''}", err=True
    )
    if answer["refused"]:
        return GateRefused.exit_code
    return 0 if answer["state"] == "SUCCEEDED" else 1
