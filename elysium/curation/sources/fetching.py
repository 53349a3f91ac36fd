"""Stand-in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elysium.config import Settings
from elysium.curation.sources.tasks import VideoTask
from elysium.data.records import ClipAnnotations
from elysium.errors import ElysiumError


class FetchFailure(ElysiumError):
    """Why."""

    kind: str = "missing"
    scope: str = "video"


@dataclass(frozen=True)
class FetchedVideo:
    """A video."""

    path: Path
    sha256: str
    owned: bool
    annotations: ClipAnnotations | None = None


def fetch_video(task: VideoTask, folder: Path, settings: Settings) -> FetchedVideo:
    """Fetches."""
    path = Path(task.uri)
    if not path.is_file():
        raise FetchFailure("the file does not exist")
    return FetchedVideo(path, task.sha256 or "", False)
