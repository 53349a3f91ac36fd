"""What a published artifact says of itself, and whether it still holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

MANIFEST = "_manifest.json"


class FileEntry(BaseModel):
    """Size in bytes and SHA-256 of one file of an artifact."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int
    sha256: str


class Manifest(BaseModel):
    """What a published artifact says of itself.

    Attributes:
        step: Who wrote it.
        status: `done`, or `refused` by a quality gate (readable, but nothing may build on it).
        key: Digest of the settings and inputs it was made from.
        digest: Digest of its files, the same for the same content.
        files: Relative path to size and checksum.
        summary: The step's own line.
        metrics: The step's own figures.
        started: UTC, ISO 8601.
        seconds: Wall time of the attempt that finished it.
        peak_mib: Peak resident memory of that attempt's process, MiB.
        code: Version of the code.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: str
    status: Literal["done", "refused"]
    key: str
    digest: str
    files: dict[str, FileEntry]
    summary: str
    metrics: dict[str, float | int | str | bool | None]
    started: str
    seconds: float
    peak_mib: float
    code: str


def read_manifest(folder: Path) -> Manifest | None:
    """Returns the manifest in `folder`, or None where there is none that can be read."""
    try:
        return parse_manifest((folder / MANIFEST).read_bytes())
    except OSError:
        return None


def parse_manifest(content: bytes | None) -> Manifest | None:
    """Returns the manifest of some bytes, None if they are none."""
    try:
        return None if content is None else Manifest.model_validate_json(content)
    except ValidationError:
        return None


def scan(folder: Path, without: Collection[str] = ()) -> dict[str, FileEntry]:
    """Returns size and checksum of every file below `folder` but the manifest, sorted by path.

    Args:
        folder: Where the files are.
        without: Names of files and folders in it that are left out.
    """
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        relative = path.relative_to(folder)
        name = relative.as_posix()
        if name != MANIFEST and relative.parts[0] not in without:
            files[name] = FileEntry(size=path.stat().st_size, sha256=sha256(path))
    return files


def find_damage(folder: Path, manifest: Manifest, *, checksums: bool) -> str | None:
    """Returns what is wrong with a published folder, or None.

    Args:
        folder: The published folder.
        manifest: Its manifest.
        checksums: Compares contents too, not only sizes.
    """
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != entry.size:
            return f"{name} has {path.stat().st_size} bytes instead of {entry.size}"
        if checksums and sha256(path) != entry.sha256:
            return f"{name} has another checksum"
    return None


def digest_of(value: Any) -> str:
    """Returns the SHA-256 of plain data in canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
