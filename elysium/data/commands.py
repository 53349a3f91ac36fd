"""`elysium data …`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import click

from elysium.cli import print_json
from elysium.config import Settings, load_settings
from elysium.data.sets.commands import import_command, sets_command
from elysium.data.undelete import undelete_command
from elysium.errors import ElysiumError, UsageError
from elysium.options import home_option, json_option, set_option

_MODEL = re.compile(
    r"^(?:models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[\w.-]+))|(?P<number>\d+)|@(?P<at>[\w.-]+))$"
)


@dataclass(frozen=True)
class Origin:
    """Where a version of the data is.

    Attributes:
        version: DVC's hash of the folder.
        remote: A folder or an `s3://` URI.
        endpoint: URL of the S3 server.
        of: What was asked for, in words.
    """

    version: str
    remote: str
    endpoint: str | None
    of: str


@click.group()
def data() -> None:
    """Import public data sets, and bring back the data a run or a model was trained on."""


data.add_command(import_command)
data.add_command(sets_command)
data.add_command(undelete_command)


@data.command("checkout")
@click.argument("what", metavar="RUN|MODEL_VERSION")
@click.option("--output", required=True, type=click.Path(path_type=Path), metavar="DIR", help="A new or empty folder.")
@home_option
@click.option("--remote", default=None, metavar="URI", help="The DVC remote, if it is not where the run left it.")
@set_option
@json_option
def checkout(
    what: str, output: Path, home: Path, remote: str | None, overrides: tuple[str, ...], as_json: bool
) -> None:
    """Bring back exactly the records and frames that a run made or a model was trained on.

    \b
    RUN is a run's id or folder, or `latest`. MODEL_VERSION is a number, `@champion` or another alias, or
    `models:/NAME/VERSION`; the MLflow server is the one in runs/mlflow, or --set registry.tracking_uri=URI.
    What comes back is checked against its hash.

    \b
    Examples:
      elysium data checkout latest --output data-of-latest
      elysium data checkout @champion --output champion-data
    """
    settings = load_settings("nano", overrides)
    origin = _of_model(what, settings, home) if _MODEL.match(what) and not _is_run(what, home) else _of_run(what, home)
    from elysium.data.versions import pull_folder

    pull_folder(origin.version, remote or origin.remote, output, settings.snapshot.s3_endpoint or origin.endpoint)
    num_files = sum(path.is_file() for path in output.rglob("*"))
    click.echo(f"{origin.of}: {num_files} files of version {origin.version} in {output}", err=True)
    if as_json:
        shown = {"output": str(output), "data_hash": origin.version, "num_files": num_files}
        print_json({**shown, "remote": remote or origin.remote, "of": origin.of})


def _is_run(what: str, home: Path) -> bool:
    return (home / what / "run.json").is_file() or (Path(what) / "run.json").is_file()


def _of_run(what: str, home: Path) -> Origin:
    from elysium.data.versions import POINTER, read_pointer, remote_location
    from elysium.pipeline.runner import find_run
    from elysium.pipeline.workspace import Workspace

    workspace = Workspace.at(find_run(what, home))
    pointer = workspace.root / "snapshot" / POINTER
    if not pointer.is_file():
        raise ElysiumError(f"the run {workspace.run_id} has no snapshot; run its step snapshot first")
    section = workspace.settings().snapshot
    return Origin(
        read_pointer(pointer), remote_location(section, workspace.home), section.s3_endpoint, f"run {workspace.run_id}"
    )


def _of_model(what: str, settings: Settings, home: Path) -> Origin:
    from elysium.registry.store import import_mlflow, open_store

    found = _MODEL.match(what)
    if found is None:
        raise UsageError(f"{what!r} is neither a run nor a model version")
    name = found["name"] or settings.registry.model_name
    number, alias = found["version"] or found["number"], found["alias"] or found["at"]
    database = home.resolve() / "mlflow" / "mlflow.db"
    if settings.registry.tracking_uri is None and not database.is_file():
        raise UsageError(
            f"there is no registry at {database}; name the runs' folder with --home, "
            "or a server with --set registry.tracking_uri=URI"
        )
    client = open_store(settings.registry, home).client
    try:
        version = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
    except import_mlflow().exceptions.MlflowException as error:
        raise UsageError(f"the registry has no model version {what}: {error.message}") from error
    tags: dict[str, str] = dict(version.tags)
    if not tags.get("elysium.data_hash") or not tags.get("elysium.dvc_remote"):
        raise ElysiumError(
            f"version {version.version} of {name} does not say which data it was trained on: the tags "
            f"elysium.data_hash and elysium.dvc_remote are needed, it has {', '.join(sorted(tags)) or 'none'}"
        )
    return Origin(
        tags["elysium.data_hash"],
        tags["elysium.dvc_remote"],
        tags.get("elysium.dvc_endpoint"),
        f"model {name} version {version.version}",
    )
