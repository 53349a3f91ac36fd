"""Where MLflow keeps its runs and models, and the one place that opens it."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import logging
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elysium.config import RegistrySettings
from elysium.errors import ElysiumError
from elysium.pipeline.versions import code_version

logger = logging.getLogger(__name__)

RUN_TAG = "elysium.run_id"
KIND_TAG = "elysium.kind"

# MLflow's own limits on one log_batch call and on the length of a value.
_MAX_PARAMS = 100
_MAX_VALUE = 6000


@dataclass(frozen=True)
class Store:
    """An open MLflow store.

    Attributes:
        client: An `mlflow.MlflowClient` for runs and registered models.
        experiment_id: Where runs go.
        model_name: Name of the registered model.
        uri: Tracking URI.
    """

    client: Any
    experiment_id: str
    model_name: str
    uri: str


def available() -> bool:
    """Returns whether the real MLflow can be imported.

    The repository's own folder `mlflow/` (policy and templates, no Python file) imports as an empty namespace
    package where MLflow is not installed; that does not count.
    """
    spec = importlib.util.find_spec("mlflow")
    return spec is not None and spec.origin is not None


def tracking_uri(settings: RegistrySettings, home: Path) -> str:
    """Returns the tracking URI in force.

    Args:
        settings: `tracking_uri` wins where it is set; then a server in `MLFLOW_TRACKING_URI`, as pods have it.
        home: The folder that outlives runs, with the default store in `mlflow/mlflow.db`.

    Example:
        >>> tracking_uri(RegistrySettings(), Path("/data/runs"))
        'sqlite:////data/runs/mlflow/mlflow.db'
    """
    server = os.environ.get("MLFLOW_TRACKING_URI", "")
    if settings.tracking_uri is None and server.startswith(("http://", "https://")):
        return server
    return settings.tracking_uri or f"sqlite:///{home.resolve() / 'mlflow' / 'mlflow.db'}"


def open_store(settings: RegistrySettings, home: Path) -> Store:
    """Opens the store, making database and experiment the first time (seconds); writes nothing outside `home`.

    Args:
        settings: Tracking URI, experiment and model name.
        home: As `tracking_uri`; local artifacts go to `mlflow/artifacts` in it.

    Raises:
        ElysiumError: If MLflow is not installed, or the store cannot be reached or read.
    """
    mlflow = import_mlflow()
    uri = tracking_uri(settings, home)
    place = home.resolve() / "mlflow"
    local = not uri.startswith(("http://", "https://"))
    try:
        if not local:
            client, experiment_id = _connect(mlflow, uri, settings.experiment, None)
        else:
            place.mkdir(parents=True, exist_ok=True)
            # Two processes that make the tables at once leave a broken schema.
            with (place / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                client, experiment_id = _connect(mlflow, uri, settings.experiment, (place / "artifacts").as_uri())
    except mlflow.exceptions.MlflowException as error:
        raise ElysiumError(
            f"the MLflow store {without_password(uri)} cannot be used: {first_line(error)}; "
            "check registry.tracking_uri and that the server answers"
        ) from error
    return Store(client, experiment_id, settings.model_name, uri)


@contextlib.contextmanager
def in_one_sentence() -> Iterator[None]:
    """Says in one sentence that MLflow failed half-way, as a server that cannot write its artifacts does.

    Raises:
        ElysiumError: Instead of MLflow's exception.
    """
    mlflow = import_mlflow()
    try:
        yield
    except mlflow.exceptions.MlflowException as error:
        raise ElysiumError(
            f"the MLflow store failed: {first_line(error)}; mend it (a server's own log says more) and run this again"
        ) from error


def import_mlflow() -> Any:
    """Returns the `mlflow` module, quiet and without telemetry.

    Raises:
        ElysiumError: If it is not installed.
    """
    if not available():
        raise ElysiumError("MLflow is not installed here; install it with `pip install 'elysium[registry]'`")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # Standard output belongs to the command's own result.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    with warnings.catch_warnings():
        # MLflow's table definitions use what SQLAlchemy 2.1 deprecates; nothing a user of ours could mend.
        warnings.simplefilter("ignore", DeprecationWarning)
        import mlflow
        import mlflow.exceptions
        import mlflow.store.tracking.sqlalchemy_store
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow


def run_of(store: Store, run_id: str, *, create: bool = True) -> Any:
    """Returns the MLflow run that stands for a whole Elysium run; phases are its children.

    Args:
        store: An open store.
        run_id: The Elysium run's id.
        create: Makes it where it is missing, else None is returned.
    """
    found = find_runs(store, run_id, "run")
    if found or not create:
        return found[0] if found else None
    run = store.client.create_run(store.experiment_id, run_name=run_id, tags=run_tags(run_id, "run"))
    # It only holds its phases together: nobody could close it if the pipeline stopped before its last step.
    store.client.set_terminated(run.info.run_id, "FINISHED")
    return run


def find_runs(store: Store, run_id: str, kind: str) -> list[Any]:
    """Returns the MLflow runs of one Elysium run and kind (`run` or a phase), oldest first."""
    quote = '"' if "'" in run_id else "'"
    query = f"tags.`{RUN_TAG}` = {quote}{run_id}{quote} and tags.`{KIND_TAG}` = '{kind}'"
    runs = store.client.search_runs([store.experiment_id], filter_string=query, order_by=["attributes.start_time ASC"])
    return list(runs)


def run_tags(run_id: str, kind: str) -> dict[str, str]:
    """Returns the tags that every MLflow run of ours carries."""
    return {RUN_TAG: run_id, KIND_TAG: kind, "elysium.code_version": code_version()}


def log_params(store: Store, mlflow_run_id: str, params: dict[str, Any]) -> None:
    """Writes parameters in as few calls as MLflow allows; nested mappings become dotted names."""
    from mlflow.entities import Param

    flat = [Param(key, str(value)[:_MAX_VALUE]) for key, value in flatten(params).items()]
    for start in range(0, len(flat), _MAX_PARAMS):
        store.client.log_batch(mlflow_run_id, params=flat[start : start + _MAX_PARAMS])


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested mappings as one, with dotted keys.

    Example:
        >>> flatten({"mixture": {"sot": 1.0}, "steps": 3})
        {'mixture.sot': 1.0, 'steps': 3}
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat.update(flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def without_password(uri: str) -> str:
    """Returns a URI fit to be shown.

    Example:
        >>> without_password("postgresql://me:secret@db/mlflow")
        'postgresql://me:***@db/mlflow'
    """
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", uri)


def _connect(mlflow: Any, uri: str, experiment: str, artifacts: str | None) -> tuple[Any, str]:
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return client, client.create_experiment(experiment, artifact_location=artifacts)
    if found.lifecycle_stage != "active":
        raise ElysiumError(f"the MLflow experiment {experiment!r} was deleted; restore it, or set registry.experiment")
    return client, found.experiment_id
