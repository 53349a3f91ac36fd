"""Versions of the registered model: registering one, the aliases champion and challenger, and the way back."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from elysium.config import Settings
from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.workspace import digest_of, scan, write_atomic
from elysium.registry.store import RUN_TAG, Store, available, import_mlflow, logger, open_store, run_of

CHAMPION = "champion"
CHALLENGER = "challenger"
DIGEST_TAG = "elysium.model_digest"
HISTORY_TAG = "elysium.champions"
METRICS_FILE = "metrics.json"
CARD_FILE = "README.md"

# A registered model's tag holds 5,000 characters; a way back of so many champions fits and is enough.
_HISTORY = 100
# Postgres cuts no text for us.
_MAX_DESCRIPTION = 4900


@dataclass(frozen=True)
class Version:
    """One version of the registered model.

    Attributes:
        version: Its number, as text.
        aliases: The aliases that point at it.
        tags: All its tags.
        description: The model card, shortened where it is very long.
        created: Milliseconds since 1970, UTC.
        run: The MLflow run it belongs to.
        source: URI of the checkpoint folder.
    """

    version: str
    aliases: tuple[str, ...]
    tags: dict[str, str]
    description: str
    created: int
    run: str | None
    source: str


@dataclass(frozen=True)
class Champion:
    """The model to beat.

    Attributes:
        version: Its number in the registry, as text.
        model: Local folder of the checkpoint, ready for `from_pretrained`.
        metrics: The `metrics.json` it was registered with; empty where there was none.
    """

    version: str
    model: Path
    metrics: dict[str, Any]


def champion(settings: Settings, home: Path) -> Champion | None:
    """Returns the current champion, fetched if it is kept elsewhere; None where there is none.

    Args:
        settings: The section `registry` is read.
        home: The folder with the default store; what is fetched is kept in `mlflow/models` in it.

    Raises:
        ElysiumError: If the store cannot be used, or the champion's files are gone.
    """
    if not available():
        logger.warning("MLflow is not installed: there is no champion to compare with")
        return None
    if settings.registry.tracking_uri is None and not (home / "mlflow" / "mlflow.db").is_file():
        return None
    store = open_store(settings.registry, home)
    number = aliases(store).get(CHAMPION)
    if number is None:
        return None
    version = find(store, number)
    model = checkpoint_of(store, version, home)
    metrics = stored_metrics(store, version, home)
    return Champion(number, model, metrics)


def register(store: Store, run_id: str, checkpoint: Path, files: Mapping[str, str], tags: Mapping[str, str]) -> Version:
    """Registers a checkpoint as a new version and points `challenger` at it.

    The same checkpoint of the same run is registered once: called again, after a kill at any point, it returns the
    version there is. The files are copied before the version appears, so no version ever lacks its files.

    Args:
        store: An open store.
        run_id: The Elysium run the model comes from.
        checkpoint: The checkpoint folder.
        files: Name and text of files to keep beside it: the card (`README.md`), the figures (`metrics.json`).
        tags: Of the version, beside run id and digest.
    """
    digest = digest_of({name: entry.sha256 for name, entry in scan(checkpoint).items()})
    found = [v for v in versions(store) if v.tags.get(RUN_TAG) == run_id and v.tags.get(DIGEST_TAG) == digest]
    run = run_of(store, run_id).info
    folder = f"registered/{digest[:12]}"
    with tempfile.TemporaryDirectory() as scratch:
        for name, text in files.items():
            write_atomic(Path(scratch) / name, text)
        store.client.log_artifacts(run.run_id, scratch, folder)
    description = _shortened(files.get(CARD_FILE, ""))
    if found:
        number = found[-1].version
        store.client.update_model_version(store.model_name, number, description)
    else:
        store.client.log_artifacts(run.run_id, str(checkpoint), f"{folder}/model")
        _ensure_registered(store)
        made = store.client.create_model_version(
            store.model_name,
            source=f"{run.artifact_uri}/{folder}/model",
            run_id=run.run_id,
            tags={**tags, RUN_TAG: run_id, DIGEST_TAG: digest},
            description=description,
        )
        number = str(made.version)
    if aliases(store).get(CHAMPION) != number:
        store.client.set_registered_model_alias(store.model_name, CHALLENGER, number)
    return find(store, number)


def make_champion(store: Store, number: str) -> None:
    """Points `champion` at a version and remembers which came before; done twice, it changes nothing more."""
    if aliases(store).get(CHAMPION) != number:
        # The history first: read together with the alias, it is right before and after the next line.
        _write_history(store, [*history(store), number])
        store.client.set_registered_model_alias(store.model_name, CHAMPION, number)
    if aliases(store).get(CHALLENGER) == number:
        store.client.delete_registered_model_alias(store.model_name, CHALLENGER)


def roll_back(store: Store) -> tuple[str, str]:
    """Points `champion` at the champion before the current one; returns the version left and the version taken.

    Raises:
        UsageError: If there is no earlier champion.
    """
    past = history(store)
    if len(past) < 2:
        now = f"version {past[0]} is the first champion" if past else "there is no champion"
        raise UsageError(f"nothing to roll back to: {now}; name a version with `elysium registry promote VERSION`")
    left, taken = past[-1], past[-2]
    find(store, taken)
    store.client.set_registered_model_alias(store.model_name, CHAMPION, taken)
    _write_history(store, past[:-1])
    return left, taken


def history(store: Store) -> list[str]:
    """Returns the champions in order, the current one last; empty when there is none.

    The alias is the truth: an entry that was written just before a kill, with the alias not yet moved, does not count.
    """
    current = aliases(store).get(CHAMPION)
    if current is None:
        return []
    past = [str(entry) for entry in json.loads(_registered(store).tags.get(HISTORY_TAG, "[]"))]
    while past and past[-1] != current:
        past.pop()
    return past or [current]


def versions(store: Store) -> list[Version]:
    """Returns all versions, oldest first."""
    where = f"name = '{store.model_name}'"
    by_version: dict[str, list[str]] = {}
    for alias, number in aliases(store).items():
        by_version.setdefault(number, []).append(alias)
    return sorted(
        (_version(entry, by_version) for entry in _pages(store, where)), key=lambda version: int(version.version)
    )


def find(store: Store, name: str) -> Version:
    """Returns the version with a number, or the one that an alias points at.

    Raises:
        UsageError: If there is none; the message lists what there is.
    """
    known = versions(store)
    for version in known:
        if name == version.version or name in version.aliases:
            return version
    shown = ", ".join(version.version for version in known[-10:]) or "none yet"
    raise UsageError(f"the model {store.model_name!r} has no version or alias {name!r}; versions: {shown}")


def aliases(store: Store) -> dict[str, str]:
    """Returns alias → version number; empty where the model is not registered yet."""
    registered = _registered(store)
    return {} if registered is None else {name: str(number) for name, number in registered.aliases.items()}


def stored_metrics(store: Store, version: Version, home: Path) -> dict[str, Any]:
    """Returns the `metrics.json` that a version was registered with; empty where there is none."""
    uri = version.source.rsplit("/", 1)[0] + f"/{METRICS_FILE}"
    try:
        path = fetch(store, uri, _cache(store, version, home) / METRICS_FILE)
    except ElysiumError:
        return {}
    metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return metrics


def checkpoint_of(store: Store, version: Version, home: Path) -> Path:
    """Returns the local folder of a version's checkpoint; a remote one is fetched once, into `mlflow/models`."""
    return fetch(store, version.source, _cache(store, version, home) / "model")


def fetch(store: Store, uri: str, cache: Path) -> Path:
    """Returns a local path of an artifact: where it lies, or a copy that is made once.

    Args:
        store: An open store.
        uri: Of a file or folder of artifacts.
        cache: Where the copy of a remote one goes; it appears only when it is whole.

    Raises:
        ElysiumError: If the artifact is gone or cannot be fetched.
    """
    parts = urlparse(uri)
    if parts.scheme in ("", "file"):
        path = Path(unquote(parts.path))
        if not path.exists():
            raise ElysiumError(f"the registry points at {path}, which is not there; restore it or register again")
        return path
    if cache.exists():
        return cache
    mlflow = import_mlflow()
    from mlflow.artifacts import download_artifacts

    cache.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=cache.parent, prefix=".fetching-"))
    try:
        got = Path(download_artifacts(artifact_uri=uri, dst_path=str(scratch), tracking_uri=store.uri))
        got.rename(cache)
    except (OSError, mlflow.exceptions.MlflowException) as error:
        raise ElysiumError(f"{uri} cannot be fetched: {error}; check the artifact store and its credentials") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return cache


def _cache(store: Store, version: Version, home: Path) -> Path:
    # The source tells apart versions of the same number on two servers.
    return home / "mlflow" / "models" / f"{store.model_name}-{version.version}-{digest_of(version.source)[:8]}"


def _registered(store: Store) -> Any:
    try:
        return store.client.get_registered_model(store.model_name)
    except import_mlflow().exceptions.MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _ensure_registered(store: Store) -> None:
    if _registered(store) is not None:
        return
    try:
        store.client.create_registered_model(store.model_name, description="Video MLLM that tracks what you can name.")
    except import_mlflow().exceptions.MlflowException as error:
        # Another process may have been faster.
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _pages(store: Store, where: str) -> Iterator[Any]:
    token: str | None = None
    while True:
        page = store.client.search_model_versions(where, max_results=500, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _version(entry: Any, by_version: dict[str, list[str]]) -> Version:
    number = str(entry.version)
    return Version(
        version=number,
        aliases=tuple(sorted(by_version.get(number, []))),
        tags=dict(entry.tags),
        description=entry.description or "",
        created=int(entry.creation_timestamp),
        run=entry.run_id,
        source=entry.source,
    )


def _write_history(store: Store, past: list[str]) -> None:
    store.client.set_registered_model_tag(store.model_name, HISTORY_TAG, json.dumps(past[-_HISTORY:]))


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_DESCRIPTION else text[:_MAX_DESCRIPTION] + f"\n… (whole card: {CARD_FILE})"
