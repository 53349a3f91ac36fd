"""Brings videos here ahead of the models, some at once, and removes them again."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from elysium.config import Settings
from elysium.curation.oracle import read_annotations
from elysium.curation.sources.fetching import FetchedVideo, fetch_video
from elysium.curation.sources.streak import FailureStreak
from elysium.curation.sources.tasks import VideoTask
from elysium.data.records import ClipAnnotations
from elysium.data.transfer import FetchError
from elysium.errors import ElysiumError

_PREFIX = "elysium-videos-"
_LOCK = ".lock"


@dataclass(frozen=True)
class LocalVideo:
    """A video that can be decoded now.

    Attributes:
        path: The file.
        sha256: Of its bytes.
        annotations: Exact boxes of a simulated clip.
    """

    path: Path
    sha256: str
    annotations: ClipAnnotations | None


class Fetcher:
    """Fetches videos; used as a context, whose scratch folder disappears at the end."""

    def __init__(self, settings: Settings) -> None:
        """Makes the scratch folder."""
        self._settings = settings.ingest
        self._ahead = settings.engine.fetch_ahead
        self._folder, self._held = _scratch(Path(settings.engine.scratch or tempfile.gettempdir()))
        self._pool = ThreadPoolExecutor(self._ahead, thread_name_prefix="fetch")
        self._coming: dict[int, Future[FetchedVideo]] = {}
        self._streak = FailureStreak(settings.ingest.max_failures_in_a_row)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        shutil.rmtree(self._folder, ignore_errors=True)  # before waiting, which may be cut short
        self._pool.shutdown(wait=True)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._held.close()

    def prepare(self, tasks: Iterable[VideoTask]) -> None:
        """Begins to fetch videos that will be asked for soon, a few of them."""
        if len(self._coming) >= self._ahead:
            return
        for task in tasks:
            if task.number not in self._coming:
                self._coming[task.number] = self._pool.submit(fetch_video, task, self._folder, self._settings)
            if len(self._coming) >= self._ahead:
                return

    @contextlib.contextmanager
    def fetch(self, task: VideoTask) -> Iterator[LocalVideo]:
        """Gives a video, and removes its file afterwards if it was brought here.

        Raises:
            FetchError: If it cannot be had; of scope `run` if no other would come either.
            ElysiumError: If its annotations cannot be read.
        """
        future = self._coming.pop(task.number, None)
        try:
            video = future.result() if future is not None else fetch_video(task, self._folder, self._settings)
        except FetchError as error:
            self._streak.note(error)
            raise
        self._streak.note(None)
        if video.owned and not all(path.is_file() for path in (video.path, video.annotations) if path is not None):
            # Something cleared the scratch folder, as machines do that tidy up /tmp.
            video = fetch_video(task, self._folder, self._settings)
        try:
            annotations = None if video.annotations is None else read_annotations(task.id, video.annotations)
            yield LocalVideo(video.path, video.sha256, annotations)
        except ElysiumError as error:
            if video.owned and not (self._folder / _LOCK).exists():
                # Such as by what empties /tmp now and then: it says nothing about the video.
                message = (
                    f"{self._folder} was removed while it was in use: name a folder for videos that nobody empties "
                    "(engine.scratch), and run the same command again"
                )
                raise FetchError(message, kind="disk", scope="run") from error
            raise
        finally:
            video.remove()


def _scratch(place: Path) -> tuple[Path, IO[bytes]]:
    """Returns a new folder, and a file in it that is held as long as the process lives.

    Folders that killed processes have left are removed: a machine that curates for weeks would fill up with videos.
    """
    place.mkdir(parents=True, exist_ok=True)
    for lock in place.glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError), lock.open("ab") as file:  # OSError: held, somebody else's, or gone by now
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    held = (folder / f"{_LOCK}.new").open("ab")
    fcntl.flock(held, fcntl.LOCK_EX)
    (folder / f"{_LOCK}.new").rename(folder / _LOCK)  # nobody sees it before it is held
    return folder, held
