"""Fetching one video: local ones are read where they are, the others come to a scratch folder and go after use."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from elysium.config import IngestSettings
from elysium.curation.sources.tasks import VideoTask
from elysium.data.fetching import Fetcher, is_local, suffix_of
from elysium.data.sources import BUILTIN
from elysium.data.storage import local_path
from elysium.data.transfer import FetchError


@dataclass(frozen=True)
class FetchedVideo:
    """A video that can be read here.

    Attributes:
        path: The file.
        sha256: Of its bytes.
        owned: Whether the file was made for this and is to be removed; one of the source's own never is.
        annotations: File of its exact boxes, if it has some.
        owned_annotations: As `owned`.
    """

    path: Path
    sha256: str
    owned: bool
    annotations: Path | None = None
    owned_annotations: bool = False

    def remove(self) -> None:
        """Removes what was made for this; may be called twice."""
        if self.owned:
            self.path.unlink(missing_ok=True)
        if self.owned_annotations and self.annotations is not None:
            self.annotations.unlink(missing_ok=True)


def fetch_video(task: VideoTask, folder: Path, settings: IngestSettings) -> FetchedVideo:
    """Returns a video's file; any number of threads may call this, for different videos.

    Args:
        task: The video.
        folder: Scratch folder of this process, for files that have to come here; it is made.
        settings: Limits, patience and servers.

    Raises:
        FetchError: If it cannot be had. `scope` says whether this is the video's own matter (`video`: it has failed) or
            whether no other would come either (`run`: stop, and mark nothing as failed); `kind` says what is wrong.
    """
    fetcher = _fetcher(settings, os.getpid())
    target, annotations = folder / f"{task.id}{suffix_of(task.uri)}", folder / f"{task.id}.json"
    if not is_local(task.uri):
        digest = fetcher.fetch(task, target, annotations)
        has = task.annotations is not None
        return FetchedVideo(target, digest, owned=True, annotations=annotations if has else None, owned_annotations=has)
    try:
        digest = fetcher.digest_in_place(task)
    except FetchError as error:
        if error.kind == "missing" and _source_gone(settings):
            message = f"the source {settings.source!r} is no longer there: mount it and run the same command again"
            raise FetchError(message, kind="unreachable", scope="run") from error
        raise
    path = local_path(task.uri)
    if task.annotations is None or is_local(task.annotations):
        here = local_path(task.annotations) if task.annotations is not None else None
        return FetchedVideo(path, digest, owned=False, annotations=here)
    fetcher.fetch_annotations(task.annotations, annotations)
    return FetchedVideo(path, digest, owned=False, annotations=annotations, owned_annotations=True)


@lru_cache(maxsize=4)
def _fetcher(settings: IngestSettings, process: int) -> Fetcher:
    """Returns the fetcher of a process: a forked one may not use its parent's connections."""
    return Fetcher(settings)


def _source_gone(settings: IngestSettings) -> bool:
    if not is_local(settings.source) or settings.source == BUILTIN:
        return False
    place = local_path(settings.source)
    if not place.is_dir():
        return not place.exists()
    with os.scandir(place) as entries:
        return next(entries, None) is None  # a mount point stays where it was, empty
