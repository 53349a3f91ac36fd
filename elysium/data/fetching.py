"""Bringing a listed clip to where it can be read: copied, downloaded, or made by the simulator; checked on its way."""

from __future__ import annotations

import threading
from pathlib import Path, PurePosixPath

from elysium.config import IngestSettings
from elysium.data.sources import SIMULATOR, VIDEO_SUFFIXES, ClipReference, storage_of
from elysium.data.storage import Storage, name_of, scheme_of, sha256_in_place
from elysium.data.transfer import FetchError, disk_error
from elysium.errors import UsageError
from elysium.pipeline.workspace import sha256, write_atomic


class Fetcher:
    """Brings clips here. One serves all threads of a process: its connections are kept and shared.

    Args:
        settings: Limits, patience and the S3 server.
    """

    def __init__(self, settings: IngestSettings) -> None:
        self._settings = settings
        self._max_bytes = settings.max_clip_mib << 20
        self._storages: dict[str, Storage] = {}
        self._lock = threading.Lock()

    def fetch(self, clip: ClipReference, target: Path, annotations: Path) -> str:
        """Brings a clip, and its annotations if it has some, and returns the SHA-256 of the video's bytes.

        Args:
            clip: Which one.
            target: Where its video shall be; its folder is made.
            annotations: Where its annotations shall be.

        Raises:
            FetchError: If it cannot be taken in; nothing is left then.
        """
        if clip.problem is not None:
            raise FetchError(clip.problem, kind="not_allowed")
        if clip.uri.startswith(SIMULATOR):
            digest = self._simulate(int(clip.uri.removeprefix(SIMULATOR)), target, annotations)
        else:
            digest = self._storage(clip.uri).fetch(clip.uri, target, self._max_bytes)
        try:
            check_digest(clip, digest)
            if clip.annotations is not None and not clip.annotations.startswith(SIMULATOR):
                self.fetch_annotations(clip.annotations, annotations)
        except FetchError:
            target.unlink()
            raise
        return digest

    def fetch_annotations(self, uri: str, target: Path) -> None:
        """Brings the annotations of a clip.

        Raises:
            FetchError: If they cannot be had.
        """
        try:
            self._storage(uri).fetch(uri, target, self._max_bytes)
        except FetchError as error:
            error.args = (f"its annotations: {error}",)
            raise

    def digest_in_place(self, clip: ClipReference) -> str:
        """Returns the SHA-256 of a local clip.

        Raises:
            FetchError: If it cannot be taken in.
        """
        if clip.problem is not None:
            raise FetchError(clip.problem, kind="not_allowed")
        digest = sha256_in_place(clip.uri, self._max_bytes)
        check_digest(clip, digest)
        return digest

    def _storage(self, uri: str) -> Storage:
        scheme = scheme_of(uri)
        with self._lock:
            if scheme not in self._storages:
                try:
                    self._storages[scheme] = storage_of(uri, self._settings)
                except UsageError as error:
                    raise FetchError(str(error), kind="not_allowed") from error
            return self._storages[scheme]

    def _simulate(self, seed: int, target: Path, annotations: Path) -> str:
        from elysium.data.simulator import simulate
        from elysium.data.video import write_video

        clip = simulate(seed, self._settings.simulated_frames, self._settings.simulated_side)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_video(target, clip.frames, clip.frame_rate)
            write_atomic(annotations, clip.annotations.model_dump_json())
            return sha256(target)
        except OSError as error:
            raise disk_error(error) from error


def check_digest(clip: ClipReference, digest: str) -> None:
    """Raises FetchError if a clip's bytes are not those that the source announced."""
    if clip.sha256 and digest != clip.sha256.lower():
        message = f"the file's SHA-256 is {digest}, the source says {clip.sha256}"
        raise FetchError(message, kind="checksum")


def is_local(uri: str) -> bool:
    """Returns whether an address names a file of this machine.

    Example:
        >>> is_local("/clips/a.mp4"), is_local("s3://bucket/a.mp4"), is_local("simulator:3")
        (True, False, False)
    """
    return scheme_of(uri) in ("", "file") and not uri.startswith(SIMULATOR)


def suffix_of(uri: str) -> str:
    """Returns the suffix for a clip's file: that of its address if it is a video's, else `.mp4`."""
    suffix = PurePosixPath(name_of(uri)).suffix.lower()
    return suffix if suffix in VIDEO_SUFFIXES else ".mp4"
