"""Brings videos here ahead of the models, some at once, and removes them again."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from elysium.config import Settings
from elysium.curation.oracle import read_annotations
from elysium.curation.sources.fetching import FetchedVideo, fetch_video
from elysium.curation.sources.tasks import VideoTask
from elysium.data.limits import Limits
from elysium.data.records import ClipAnnotations


@dataclass(frozen=True)
class LocalVideo:
    """A video that can be decoded now.

    Attributes:
        path: The file.
        sha256: Of its bytes.
        annotations: Exact boxes of a simulated clip.
        limits: How much it may ask of this machine.
    """

    path: Path
    sha256: str
    annotations: ClipAnnotations | None
    limits: Limits


class Fetcher:
    """Fetches videos; used as a context, whose scratch folder disappears at the end.

    Attributes:
        settings: Of the whole run.
    """

    def __init__(self, settings: Settings, scratch: Path | None = None, *, ahead: int = 4) -> None:
        """Makes the scratch folder.

        Args:
            settings: Limits and retries.
            scratch: Folder to make it in; None takes the machine's folder for temporary files.
            ahead: Videos that are fetched at the same time.
        """
        self.settings = settings
        self._ahead = ahead
        if scratch is not None:
            scratch.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="elysium-", dir=scratch))
        self._pool = ThreadPoolExecutor(ahead, thread_name_prefix="fetch")
        self._coming: dict[int, Future[FetchedVideo]] = {}
        self._roots: set[str] = {str(self._folder)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for future in self._coming.values():
            future.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def prepare(self, tasks: Iterable[VideoTask]) -> None:
        """Begins to fetch videos that will be asked for soon, a few of them."""
        for task in tasks:
            if len(self._coming) >= self._ahead:
                return
            if task.number not in self._coming:
                self._coming[task.number] = self._pool.submit(self._fetch, task)

    @contextmanager
    def fetch(self, task: VideoTask) -> Iterator[LocalVideo]:
        """Gives a video, and removes its file afterwards if it was brought here.

        Raises:
            FetchFailure: If it cannot be had.
        """
        future = self._coming.pop(task.number, None)
        video = future.result() if future is not None else self._fetch(task)
        try:
            annotations = video.annotations
            if annotations is None and task.annotations is not None:
                annotations = read_annotations(task.id, Path(task.annotations))
            limits = Limits(max_seconds=self.settings.curate.max_seconds)
            yield LocalVideo(video.path, video.sha256, annotations, limits)
        finally:
            if video.owned:
                video.path.unlink(missing_ok=True)

    def without_folders(self, message: str) -> str:
        """Returns an error message without the folders of this machine."""
        for root in sorted(self._roots, key=len, reverse=True):
            message = message.replace(f"{root}{os.sep}", "")
        return message

    def _fetch(self, task: VideoTask) -> FetchedVideo:
        video = fetch_video(task, self._folder, self.settings)
        self._roots.add(str(video.path.parent))
        return video
