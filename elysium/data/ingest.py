"""Step `ingest`: brings captioned clips into `raw/`, whatever they come from; one bad clip never stops the rest.

```
raw/manifest.jsonl           one RawClip a line
raw/clips/<id>.mp4           the files, byte for byte
raw/annotations/<id>.json    exact boxes; simulated clips only
raw/skipped.jsonl            what could not be taken in, and why
```
A clip is written down in a journal as soon as it is whole; a run that was killed goes on from there.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from elysium.config import IngestSettings
from elysium.data.assemble import assemble
from elysium.data.fetching import Fetcher, check_digest, suffix_of
from elysium.data.records import RawClip, write_jsonl
from elysium.data.samples import sample_clips
from elysium.data.sources import BUILTIN, ClipReference, batched, list_clips
from elysium.data.transfer import FetchError
from elysium.errors import ElysiumError
from elysium.pipeline.steps import StepContext, StepResult
from elysium.pipeline.workspace import sha256

logger = logging.getLogger(__name__)

_JOURNAL = ".journal.jsonl"
_THREADS = 8  # transfers wait for the network, not for cores
_BATCH = 256


class SkippedClip(BaseModel):
    """One line of `skipped.jsonl`.

    Attributes:
        id: The clip's id in the source.
        source: Its origin, as the manifest would have named it.
        reason: Why it was not taken in.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    source: str
    reason: str


def run(context: StepContext) -> StepResult:
    """Fills `raw/` from `settings.ingest.source`.

    Raises:
        UsageError: If the source does not exist, or its list cannot be read.
        ElysiumError: If no clip at all could be taken in.
    """
    settings = context.settings.ingest
    skipped: list[SkippedClip] = []
    with Journal(context.output) as journal:
        clips = list(_take_in(settings, journal, skipped))
    if not clips:
        first = f"; the first: {skipped[0].id}: {skipped[0].reason}" if skipped else ""
        raise ElysiumError(f"no clip of {settings.source!r} could be taken in ({len(skipped)} were skipped{first})")
    write_jsonl(context.output / "manifest.jsonl", clips)
    write_jsonl(context.output / "skipped.jsonl", skipped)
    journal.remove()
    _sweep(context.output, clips)
    num_bytes = sum((context.output / clip.path).stat().st_size for clip in clips)
    num_simulated = sum(clip.annotations is not None for clip in clips)
    kinds = f"{len(clips) - num_simulated} real, {num_simulated} simulated"
    return StepResult(
        summary=f"{len(clips)} clips ({kinds}), {num_bytes / 2**20:.1f} MiB; {len(skipped)} skipped",
        metrics={
            "num_clips": len(clips),
            "num_simulated": num_simulated,
            "num_skipped": len(skipped),
            "mebibytes": round(num_bytes / 2**20, 3),
        },
    )


class Journal:
    """Remembers which clips are whole, over a kill; used as a context that keeps its file open.

    Attributes:
        folder: The step's output.
    """

    def __init__(self, folder: Path) -> None:
        """Reads what an earlier attempt left; a line that a kill cut short is ignored."""
        self.folder = folder
        self._path = folder / _JOURNAL
        self._found: dict[str, RawClip] = {}
        if self._path.is_file():
            for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValidationError):
                    clip = RawClip.model_validate_json(line)
                    self._found[clip.id] = clip

    def __enter__(self) -> Journal:
        self._file = self._path.open("a", encoding="utf-8")
        self._file.write("\n")  # ends a line that was cut short
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def get(self, clip_id: str) -> RawClip | None:
        """Returns a clip that an earlier attempt finished and whose file is still as it was."""
        clip = self._found.get(clip_id)
        if clip is None:
            return None
        path = self.folder / clip.path
        if not path.is_file() or sha256(path) != clip.sha256:
            return None
        if clip.annotations is not None and not (self.folder / clip.annotations).is_file():
            return None
        return clip

    def add(self, clip: RawClip) -> RawClip:
        """Writes a whole clip down."""
        self._file.write(clip.model_dump_json() + "\n")
        self._file.flush()
        return clip

    def remove(self) -> None:
        """Deletes the file: the manifest has taken its place."""
        self._path.unlink()


def _take_in(settings: IngestSettings, journal: Journal, skipped: list[SkippedClip]) -> Iterator[RawClip]:
    """Yields every clip of the source that could be had, in a stable order; the others go to `skipped`."""
    if settings.source == BUILTIN:
        assemble(sample_clips())
    fetcher, number = Fetcher(settings), 0

    def fetch(reference: ClipReference) -> RawClip | SkippedClip:
        try:
            return _fetch(reference, fetcher, journal)
        except FetchError as error:
            if error.scope == "run":
                raise
            return SkippedClip(id=reference.id, source=reference.source, reason=str(error))

    with ThreadPoolExecutor(_THREADS) as pool:
        for batch in batched(list_clips(settings), _BATCH):
            for result in pool.map(fetch, batch):
                if isinstance(result, SkippedClip):
                    logger.warning("skipped %s: %s", result.id, result.reason)
                    skipped.append(result)
                else:
                    yield journal.add(result)
            number += len(batch)
            logger.info("%d clips", number)


def _fetch(reference: ClipReference, fetcher: Fetcher, journal: Journal) -> RawClip:
    """Brings one clip here, unless an earlier attempt did.

    Raises:
        FetchError: If it cannot be taken in.
    """
    path, annotations = f"clips/{reference.id}{suffix_of(reference.uri)}", f"annotations/{reference.id}.json"
    known = journal.get(reference.id)
    if known is None or known.path != path or reference.problem is not None:
        digest = fetcher.fetch(reference, journal.folder / path, journal.folder / annotations)
    else:
        digest = known.sha256
        check_digest(reference, digest)
    return RawClip(
        id=reference.id,
        path=path,
        caption=reference.caption,
        source=reference.source,
        licence=reference.licence,
        sha256=digest,
        split=reference.split,
        annotations=annotations if reference.annotations is not None else None,
    )


def _sweep(folder: Path, clips: Sequence[RawClip]) -> None:
    """Removes what killed attempts left and the manifest does not name."""
    named = {folder / name for clip in clips for name in (clip.path, clip.annotations) if name is not None}
    for part in ("clips", "annotations"):
        for path in (folder / part).glob("*"):
            if path not in named:
                path.unlink()
