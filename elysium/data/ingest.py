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
import errno
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, ValidationError

from elysium.config import IngestSettings
from elysium.data.assemble import assemble
from elysium.data.records import ClipAnnotations, RawClip, Split, write_jsonl
from elysium.data.samples import SampleClip, sample_clips, seeds
from elysium.data.simulator import SIMULATOR_VERSION, simulate
from elysium.data.sources import VIDEO_SUFFIXES, ClipReference, list_clips
from elysium.data.storage import FetchError, Storage, name_of, scheme_of, storage_for
from elysium.data.video import write_video
from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.steps import StepContext, StepResult
from elysium.pipeline.workspace import sha256, write_atomic

logger = logging.getLogger(__name__)

BUILTIN = "builtin"
_JOURNAL = ".journal.jsonl"
_THREADS = 8  # transfers wait for the network, not for cores
_BATCH = 256
_SIMULATED_LICENCE = "Apache-2.0"


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
    """Yields every clip of the source that could be had, in a stable order."""
    if settings.source != BUILTIN:
        yield from _fetch_all(list_clips(settings), settings, journal, skipped)
        return
    samples = sample_clips()
    assemble(samples)
    yield from _fetch_all([_sample_reference(sample) for sample in samples], settings, journal, skipped)
    yield from _simulate_all(settings, journal)


def _fetch_all(
    references: Sequence[ClipReference], settings: IngestSettings, journal: Journal, skipped: list[SkippedClip]
) -> Iterator[RawClip]:
    """Yields the clips that could be brought here, in the references' order; the others go to `skipped`."""
    storages: dict[str, Storage | UsageError] = {}
    for reference in references:
        scheme = scheme_of(reference.uri)
        if scheme not in storages:
            try:
                storages[scheme] = storage_for(
                    reference.uri,
                    s3_endpoint=settings.s3_endpoint,
                    allow_private_hosts=settings.allow_private_hosts,
                )
            except UsageError as error:
                storages[scheme] = error
    max_bytes = settings.max_clip_mib << 20

    def fetch(reference: ClipReference) -> RawClip | SkippedClip:
        try:
            return _fetch(reference, storages[scheme_of(reference.uri)], max_bytes, journal)
        except FetchError as error:
            return SkippedClip(id=reference.id, source=reference.source, reason=str(error))

    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(references), _BATCH):
            for result in pool.map(fetch, references[start : start + _BATCH]):
                if isinstance(result, SkippedClip):
                    logger.warning("skipped %s: %s", result.id, result.reason)
                    skipped.append(result)
                else:
                    yield journal.add(result)
            logger.info("%d of %d clips", min(start + _BATCH, len(references)), len(references))


def _fetch(reference: ClipReference, storage: Storage | UsageError, max_bytes: int, journal: Journal) -> RawClip:
    """Brings one clip here, unless an earlier attempt did.

    Raises:
        FetchError: If it cannot be taken in.
    """
    if reference.problem is not None:
        raise FetchError(reference.problem)
    if isinstance(storage, UsageError):
        raise FetchError(str(storage))
    suffix = PurePosixPath(name_of(reference.uri)).suffix.lower()
    path = f"clips/{reference.id}{suffix if suffix in VIDEO_SUFFIXES else '.mp4'}"
    known = journal.get(reference.id)
    target = journal.folder / path
    if known is None or known.path != path:
        try:
            storage.fetch(reference.uri, target, max_bytes)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise  # what is wrong with the output stops the step
            raise FetchError(error.strerror or str(error)) from error
    digest = known.sha256 if known is not None else sha256(target)
    if reference.sha256 and digest != reference.sha256.lower():
        target.unlink()
        raise FetchError(f"the file's SHA-256 is {digest}, the source says {reference.sha256}")
    return RawClip(
        id=reference.id,
        path=path,
        caption=reference.caption,
        source=reference.source,
        licence=reference.licence,
        sha256=digest,
    )


def _sweep(folder: Path, clips: Sequence[RawClip]) -> None:
    """Removes what killed attempts left and the manifest does not name."""
    named = {folder / name for clip in clips for name in (clip.path, clip.annotations) if name is not None}
    for part in ("clips", "annotations"):
        for path in (folder / part).glob("*"):
            if path not in named:
                path.unlink()


def _sample_reference(sample: SampleClip) -> ClipReference:
    return ClipReference(
        id=sample.id,
        uri=str(sample.path),
        caption=sample.caption,
        source=sample.source,
        licence=sample.licence,
        sha256=sample.sha256,
    )


def _simulate_all(settings: IngestSettings, journal: Journal) -> Iterator[RawClip]:
    """Yields the simulated clips: training ones first, from seeds that evaluation never uses."""
    known = seeds()
    if known.simulator_version != SIMULATOR_VERSION:
        raise ElysiumError(
            f"the seeds file is of simulator version {known.simulator_version}, the simulator of {SIMULATOR_VERSION}"
        )
    plan: list[tuple[Split, range]] = [
        ("train", known.train_seeds.take(settings.num_simulated_train)),
        ("evaluation", known.evaluation_seeds.take(settings.num_simulated_evaluation)),
    ]
    for split, numbers in plan:
        for seed in numbers:
            clip_id = f"simulated-{seed:07d}"
            yield journal.get(clip_id) or journal.add(_simulate(clip_id, seed, split, settings, journal.folder))
        if numbers:
            logger.info("%d simulated clips for %s", len(numbers), split)


def _simulate(clip_id: str, seed: int, split: Split, settings: IngestSettings, folder: Path) -> RawClip:
    clip = simulate(seed, settings.simulated_frames, settings.simulated_side)
    path, annotations = f"clips/{clip_id}.mp4", f"annotations/{clip_id}.json"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    write_video(folder / path, clip.frames, clip.frame_rate)
    write_annotations(folder / annotations, clip.annotations)
    return RawClip(
        id=clip_id,
        path=path,
        caption=clip.caption,
        source=f"simulator {SIMULATOR_VERSION} seed {seed}",
        licence=_SIMULATED_LICENCE,
        sha256=sha256(folder / path),
        split=split,
        annotations=annotations,
    )


def write_annotations(path: Path, annotations: ClipAnnotations) -> None:
    """Writes a clip's annotation file."""
    write_atomic(path, annotations.model_dump_json())
