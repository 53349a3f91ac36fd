"""What a listing was made from, and whether that is still the same."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np
from pydantic import BaseModel, ConfigDict

from elysium.config import IngestSettings
from elysium.data.naming import hash_all
from elysium.data.sources import BUILTIN, SIDECARS, VIDEO_SUFFIXES, batched, source_list, storage_of
from elysium.data.storage import local_path, scheme_of
from elysium.data.transfer import FetchError
from elysium.errors import UsageError
from elysium.pipeline.workspace import sha256

logger = logging.getLogger(__name__)

_LOOKED_AT = 100_000  # files of a folder or prefix that are listed again; S3 gives a thousand a request
_BATCH = 16384


class Origin(BaseModel):
    """The source of a listing.

    Attributes:
        source: Path, URI or `builtin`.
        version: Of a list or of the captions beside the files; of `builtin`, its settings.
        content: SHA-256 of a local list, which settles it where only its time has changed.
        files: Number of videos, and a sum over their addresses, where the source is a folder or prefix.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    version: str | None = None
    content: str | None = None
    files: tuple[int, str] | None = None


class AddressSum:
    """A sum over addresses that does not depend on their order."""

    def __init__(self) -> None:
        self._count, self._sum = 0, np.uint64(0)

    def add(self, addresses: list[str]) -> None:
        """Adds addresses."""
        self._count += len(addresses)
        self._sum = np.add(self._sum, hash_all(addresses).sum(dtype=np.uint64))

    @property
    def value(self) -> tuple[int, str]:
        """How many there were, and their sum."""
        return self._count, f"{int(self._sum):016x}"


def origin_of(settings: IngestSettings, *, content: bool = True) -> Origin:
    """Returns what the settings name, but for its files.

    Args:
        settings: Names the source.
        content: Reads all of a local list for its checksum.

    Raises:
        UsageError: If the source is not there.
        FetchError: If its server fails.
    """
    source = settings.source
    if source == BUILTIN:
        return Origin(source=source, version=_built_in(settings))
    found = source_list(settings)
    local = scheme_of(source) in ("", "file")
    if found is not None:
        version = _version(found, settings)
        return Origin(source=found, version=version, content=sha256(local_path(found)) if local and content else None)
    source = str(local_path(source).absolute()) if local else source
    versions = (_version(f"{source.rstrip('/')}/{name}", settings) for name in SIDECARS)
    return Origin(source=source, version=next(filter(None, versions), None))


def check_origin(origin: Origin, settings: IngestSettings, folder: Path) -> None:
    """Sees to it that a listing is still one of the source that the settings name.

    Args:
        origin: What it was made from.
        settings: Names the source.
        folder: The listing's, for messages.

    Raises:
        UsageError: If the source is another one, or has changed.
        FetchError: If its server fails.
    """
    now = origin_of(settings, content=False)
    if now.source != origin.source:
        raise UsageError(
            f"{folder} lists {origin.source}, and {now.source} was asked for: name another output folder for it"
        )
    if now.version != origin.version and (origin.content is None or origin_of(settings).content != origin.content):
        raise UsageError(_changed(origin, folder, f"it had the version {origin.version}, now {now.version}"))
    if origin.files is None:
        return
    if origin.files[0] > _LOOKED_AT:
        logger.info("%s held %d videos; whether more came since is not looked at", origin.source, origin.files[0])
        return
    found = AddressSum()
    for entries in batched(storage_of(origin.source, settings).iterate_files(origin.source), _BATCH):
        found.add([entry.uri for entry in entries if PurePosixPath(entry.name).suffix.lower() in VIDEO_SUFFIXES])
    if found.value != origin.files:
        before, after = origin.files[0], found.value[0]
        how = f"it held {before} videos, now {after}" if before != after else f"some of its {after} videos are others"
        raise UsageError(_changed(origin, folder, how))


def _changed(origin: Origin, folder: Path, how: str) -> str:
    return (
        f"{origin.source} is not what it was when it was listed ({how}): bring back what was there, or name another "
        f"output folder to begin anew; what {folder.parent} holds stays as it is"
    )


def _version(uri: str, settings: IngestSettings) -> str | None:
    """Returns a file's version, None if there is no such file or nothing tells."""
    try:
        return storage_of(uri, settings).version(uri)
    except FetchError as error:
        if error.scope == "run" or error.passing:
            raise
        return None


def _built_in(settings: IngestSettings) -> str:
    from elysium.data.samples import CAPTIONS, SEEDS, read_resource

    facts: Iterable[object] = (
        settings.num_simulated_train,
        settings.num_simulated_evaluation,
        settings.simulated_frames,
        settings.simulated_side,
        *(hashlib.sha256(read_resource(name)).hexdigest() for name in (CAPTIONS, SEEDS)),
    )
    return hashlib.sha256(repr(tuple(facts)).encode()).hexdigest()
