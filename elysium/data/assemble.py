"""The built-in source as a DVC folder: `data/` at the top of a checkout, which the committed `data.dvc` points at."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import yaml

from elysium.data.samples import CAPTIONS, SEEDS, SampleClip, read_resource
from elysium.errors import ElysiumError

logger = logging.getLogger(__name__)

_POINTER = "data.dvc"
_FOLDER = "data"


def find_checkout(start: Path | None = None) -> Path | None:
    """Returns the checkout of this project that holds `start` or this package, or None outside of one.

    Args:
        start: By default the working directory.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents, Path(__file__).resolve().parents[2]):
        if (folder / _POINTER).is_file() and (folder / ".dvc").is_dir() and (folder / "elysium" / "data").is_dir():
            return folder
    return None


def assemble(samples: Sequence[SampleClip], checkout: Path | None = None) -> Path | None:
    """Puts captions, clips and seeds into the checkout's `data/`, and into its DVC cache, so that DVC finds it clean.

    What is there already and right is not touched. Outside a checkout, or where DVC is not installed, nothing that a
    step needs is lost: the pipeline reads the package's own files.

    Args:
        samples: The real clips.
        checkout: The top of the repository; by default the one found from here.

    Returns:
        The folder, or None outside a checkout and in one that cannot be written.
    """
    top = checkout or find_checkout()
    if top is None:
        return None
    try:
        _copy(samples, top)
    except OSError as error:
        logger.warning("data/ in %s could not be assembled: %s", top, error)
        return None
    _store(top, top / _FOLDER)
    return top / _FOLDER


def _copy(samples: Sequence[SampleClip], top: Path) -> None:
    scratch = top / ".dvc" / "tmp" / f"assemble-{os.getpid()}"
    scratch.mkdir(parents=True, exist_ok=True)
    contents = {name: read_resource(name) for name in (CAPTIONS, SEEDS)}
    contents |= {f"clips/{sample.id}.mp4": sample.path.read_bytes() for sample in samples}
    try:
        for name, content in contents.items():
            target = top / _FOLDER / name
            if not target.is_file() or target.read_bytes() != content:
                target.parent.mkdir(parents=True, exist_ok=True)
                # Made elsewhere: a process beside this one never sees a half-written or extra file in the folder.
                temporary = scratch / "file"
                temporary.write_bytes(content)
                temporary.replace(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _store(top: Path, folder: Path) -> None:
    """Puts the folder's content into the DVC cache under the hash that the committed pointer names."""
    expected = yaml.safe_load((top / _POINTER).read_text(encoding="utf-8"))["outs"][0]["md5"]
    actual = folder_md5(folder)
    if actual != expected:
        logger.warning(
            "data/ has the DVC hash %s, the committed data.dvc says %s: run `dvc status` to see what differs, "
            "and `dvc add data` if the change is meant",
            actual,
            expected,
        )
        return
    if _in_cache(top, folder, expected):
        return
    try:
        from elysium.data.versions import commit_pointer
    except ImportError:
        logger.info("DVC is not installed; data/ was assembled without its cache")
        return
    try:
        commit_pointer(top, _POINTER)
    except ElysiumError as error:
        logger.warning("data/ is right but not in the DVC cache: %s", error)


def folder_md5(folder: Path) -> str:
    """Returns the hash that DVC gives a folder: the MD5 of its sorted list of paths and MD5s.

    Args:
        folder: With files anywhere below.
    """
    listing = [{"md5": _md5(path), "relpath": path.relative_to(folder).as_posix()} for path in _files(folder)]
    listing.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _in_cache(top: Path, folder: Path, digest: str) -> bool:
    cache = top / ".dvc" / "cache" / "files" / "md5"
    digests = [digest, *(_md5(path) for path in _files(folder))]
    return all((cache / value[:2] / value[2:]).is_file() for value in digests)
