"""DVC versions of folders: push one under its hash, bring one back, commit a pointer.

DVC works in process on scratch repositories without git, whose cache and site folder lie inside them: nothing is
written to the machine's own DVC folders, and nothing is reported to anybody.
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from elysium.config import SnapshotSettings
from elysium.data.assemble import folder_md5
from elysium.data.storage import scheme_of
from elysium.errors import ElysiumError, UsageError

_FOLDER = "data"
POINTER = "data.dvc"


def remote_location(settings: SnapshotSettings, home: Path) -> str:
    """Returns where data versions are kept: an absolute folder, or an `s3://` URI.

    Args:
        settings: The section `snapshot`.
        home: The folder that outlives runs.

    Raises:
        UsageError: If the remote is neither a folder nor on S3.
    """
    if settings.remote is None:
        return str(home.resolve() / "dvc-remote")
    scheme = scheme_of(settings.remote)
    if scheme == "s3":
        return settings.remote
    if scheme not in ("", "file"):
        raise UsageError(f"snapshot.remote {settings.remote!r} is neither a folder nor s3://bucket/prefix")
    return str(Path(settings.remote.removeprefix("file://")).expanduser().resolve())


def push_folder(root: Path, remote: str, endpoint: str | None = None) -> str:
    """Gives `root/data` a version, writes `root/data.dvc` and pushes the content; the remote is asked back.

    The files become read-only: they are hard-linked into DVC's cache while it works.

    Args:
        root: Holds the folder `data`; `.dvc` in it is made anew and removed.
        remote: A folder, or an `s3://` URI.
        endpoint: URL of the S3 server; None is AWS.

    Returns:
        The version: DVC's hash of the folder, the same for the same content.

    Raises:
        ElysiumError: If DVC cannot store or find the content.
    """
    with _scratch(root, remote, endpoint) as repo, _plain_errors(f"the data could not be pushed to {remote}"):
        repo.add(str(root / _FOLDER))
        repo.push()
        missing = repo.status(cloud=True)
        if missing:
            raise ElysiumError(f"the remote {remote} lacks {len(missing)} files after the push; run the step again")
    return read_pointer(root / POINTER)


def pull_folder(version: str, remote: str, target: Path, endpoint: str | None = None) -> None:
    """Brings a version's content back to `target`, checked against its hash.

    Args:
        version: What `push_folder` returned.
        remote: Where it was pushed to.
        target: A folder that does not exist yet, or an empty one; it appears only when all of it is there.
        endpoint: URL of the S3 server; None is AWS.

    Raises:
        UsageError: If `target` holds something.
        ElysiumError: If the remote does not have the version, or something else under its name.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} exists and is not empty; name a new folder")
    if scheme_of(remote) == "" and not Path(remote).is_dir():
        raise ElysiumError(f"the DVC remote {remote} does not exist; if it was moved, say where with --remote")
    target.parent.mkdir(parents=True, exist_ok=True)
    root = target.with_name(f".{target.name}.partial")
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    try:
        pointer = {"outs": [{"md5": version, "hash": "md5", "path": _FOLDER}]}
        (root / POINTER).write_text(yaml.safe_dump(pointer), encoding="utf-8")
        with _scratch(root, remote, endpoint) as repo, _plain_errors(f"{version} could not be brought from {remote}"):
            repo.pull()
        found = folder_md5(root / _FOLDER) if (root / _FOLDER).is_dir() else "nothing"
        if found != version:
            raise ElysiumError(f"the remote {remote} gave {found} where {version} was asked for; it is damaged")
        for path in (root / _FOLDER).rglob("*"):
            path.chmod(path.stat().st_mode | stat.S_IWUSR)
        if target.exists():
            target.rmdir()
        (root / _FOLDER).rename(target)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def read_pointer(path: Path) -> str:
    """Returns the hash that a `.dvc` file names.

    Raises:
        ElysiumError: If it is no such file.
    """
    try:
        return str(yaml.safe_load(path.read_text(encoding="utf-8"))["outs"][0]["md5"])
    except (OSError, yaml.YAMLError, KeyError, IndexError, TypeError) as error:
        raise ElysiumError(f"{path} is not a DVC pointer to a folder") from error


def commit_pointer(top: Path, pointer: str) -> None:
    """Puts what a committed pointer names into its repository's cache; the pointer itself stays as it is.

    Args:
        top: The top of a DVC repository.
        pointer: File name of the pointer, whose folder already has the right content.

    Raises:
        ElysiumError: If DVC refuses.
    """
    content = (top / pointer).read_bytes()
    config = {"core": {"no_scm": True, "site_cache_dir": str(top / ".dvc" / "tmp" / "site")}}
    with _plain_errors(f"dvc commit {pointer}"), _opened(top, config) as repo:
        repo.commit(str(top / pointer), force=True, relink=False)
    if (top / pointer).read_bytes() != content:
        (top / pointer).write_bytes(content)


@contextmanager
def _scratch(root: Path, remote: str, endpoint: str | None) -> Iterator[Any]:
    """Opens a DVC repository at `root` that leaves no `.dvc` behind."""
    folder = root / ".dvc"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "config").touch()
    storage = {"url": remote} | ({"endpointurl": endpoint} if endpoint and scheme_of(remote) == "s3" else {})
    config = {
        "core": {"no_scm": True, "remote": "storage", "site_cache_dir": str(folder / "site")},
        "cache": {"type": ["hardlink", "copy"]},
        "remote": {"storage": storage},
    }
    try:
        with _opened(root, config) as repo:
            yield repo
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _opened(root: Path, config: dict[str, Any]) -> Iterator[Any]:
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    with warnings.catch_warnings():
        # DVC uses parts of pygtrie and others that are to go away; nothing a user of ours could mend.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"dvc")
        from dvc.repo import Repo

        for name in ("dvc", "dvc_data", "dvc_objects"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with Repo(str(root), config=config) as repo:
            yield repo


@contextmanager
def _plain_errors(what: str) -> Iterator[None]:
    """Turns DVC's and its file systems' errors into ours."""
    from dvc.exceptions import DvcException
    from dvc_objects.errors import ObjectDBError

    errors: tuple[type[Exception], ...] = (DvcException, ObjectDBError)
    try:
        from botocore.exceptions import BotoCoreError, ClientError

        errors += (BotoCoreError, ClientError, ConnectionError)
    except ImportError:
        pass  # without botocore there is no S3 remote whose errors could come here
    try:
        yield
    except errors as error:
        raise ElysiumError(f"{what}: {error}") from error
