"""Making the index of training data once, and finding it again by what the data holds.

```
<cache>/<key>/                 the index: `index.json` and its columns
<cache>/.<key>.parts/000000/   finished parts of one that is being made
<cache>/.<key>.lock            held by the process that makes it; goes with it, also on kill -9
```
"""

from __future__ import annotations

import fcntl
import itertools
import json
import logging
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from elysium.config import PHASES, TrainingSettings
from elysium.config.training import OWN_TRACKS
from elysium.errors import ElysiumError
from elysium.evaluation.leaks.clips import Clip, find_list, training_clips
from elysium.evaluation.leaks.index import FRAME, INFORMATION, Batch, TrainingIndex, batches, frame_rows
from elysium.evaluation.leaks.looking import Looks, look_at_all, of_training
from elysium.pipeline.workspace import digest_of, publish_folder, sha256

logger = logging.getLogger(__name__)

# Of the files' form, the frames that are taken and the fingerprint: another number makes every index anew.
_VERSION = 1
_PART = 2048  # clips: some seconds of work
# Training reads over single broken samples, so may we; a whole folder that is not there is no single sample.
_MAX_UNREAD = 0.05
_NAMED = 3


def open_index(source: Path, cache: Path | None = None, root: str | None = None) -> TrainingIndex:
    """Returns the index of training data: the one that was made before, or a new one.

    Reading a million clips of 384 pixels takes about an hour of two cores, and is spread over all there are. It is
    done once for the same data: parts are kept as they are finished, and a killed attempt goes on with the next.

    Args:
        source: A snapshot's data folder with `train.jsonl`, or the folder or file of an import.
        cache: Folder of indexes; None keeps nothing.
        root: Where an import's pictures are, if not where they were then.

    Raises:
        UsageError: If the source is no training data.
        ElysiumError: If it is damaged, or more than one in twenty of its clips cannot be read.
    """
    if cache is None:
        return build(training_clips(source, root))
    key = source_key(source, root)
    folder, parts = cache / key, cache / f".{key}.parts"
    index = _load(folder)
    if index is None:
        with _lock(cache, key):
            index = _load(folder)
            if index is None:
                logger.info("looking at the training clips of %s; kept in %s", source, folder)
                index = build(training_clips(source, root), parts)
                publish_folder(folder, index.save)
            shutil.rmtree(parts, ignore_errors=True)
    return index


def open_indexes(training: TrainingSettings, tracks: Path | None, cache: Path | None = None) -> list[TrainingIndex]:
    """Returns the indexes of all that the phases of a run learn from.

    Args:
        training: Names the sets, and says where they are.
        tracks: The run's own, e.g. `snapshot/data`; None if it has none.
        cache: As of `open_index`.

    Raises:
        UsageError: As of `open_index`, likewise the others.
    """
    phases = [part for name in PHASES for part in getattr(training, name).parts()]
    names = {name for phase in phases for name, weight in phase.sets.items() if weight > 0}
    own = [open_index(tracks, cache)] if tracks is not None and OWN_TRACKS in names else []
    folder, roots = Path(training.sets_folder), training.image_roots
    return own + [open_index(folder / name, cache, roots.get(name)) for name in sorted(names - {OWN_TRACKS})]


def build(clips: Iterable[Clip], parts: Path | None = None) -> TrainingIndex:
    """Returns the index of training clips.

    Args:
        clips: The clips.
        parts: Folder for finished parts; those that are there are of the same clips.

    Raises:
        ElysiumError: If more than one in twenty clips cannot be read.
    """
    made = []
    for number, batch in enumerate(batches(clips, _PART)):
        folder = parts / f"{number:06}" if parts is not None else None
        part = _load(folder) if folder is not None else None
        if part is None:
            part = _look(batch)
            if folder is not None:
                publish_folder(folder, part.save)
            if len(batch.clips) == _PART:
                logger.info("%d training clips looked at", batch.first + _PART)
        made.append(part)
    index = TrainingIndex.join(made)
    if index.num_unread > _MAX_UNREAD * len(index.clips):
        raise ElysiumError(
            f"the frames of {index.num_unread} of {len(index.clips)} training clips cannot be read, so that nobody can "
            "say whether evaluation clips are among them; are they where the records say?"
        )
    return index


def source_key(source: Path, root: str | None = None) -> str:
    """Returns the name of the index of training data: the same for the same records and data version.

    Raises:
        UsageError: If there are none.
    """
    _, path = find_list(source)
    lineage = source.parent / "lineage.json"
    version = json.loads(lineage.read_text(encoding="utf-8")).get("data_hash") if lineage.is_file() else None
    return digest_of({"version": _VERSION, "records": sha256(path), "data": version, "root": root})[:32]


def _load(folder: Path) -> TrainingIndex | None:
    """Returns a finished index, or None where there is none, or one that a crash of the machine has damaged."""
    if not (folder / INFORMATION).is_file():
        return None
    try:
        return TrainingIndex.load(folder)
    except (OSError, EOFError, ValueError, TypeError) as error:
        logger.warning("the index of training clips in %s is damaged and made anew: %s", folder, error)
        return None


def _look(batch: Batch) -> TrainingIndex:
    rows, unread = [np.zeros(0, dtype=FRAME)], []
    for row, looks in zip(itertools.count(batch.first), look_at_all(batch.clips, of_training), strict=False):
        if isinstance(looks, Looks):
            rows.append(frame_rows(row, looks))
        else:
            unread.append(looks)
    for error in unread[:_NAMED]:
        logger.warning("known by its name only: %s", error)
    if len(unread) > _NAMED:
        logger.warning("%d more training clips cannot be read and are known by name only", len(unread) - _NAMED)
    return batch.columns(np.concatenate(rows), len(unread))


@contextmanager
def _lock(cache: Path, key: str) -> Iterator[None]:
    """Waits until no other process makes the same index."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f".{key}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            logger.info("waiting for another process that makes the same index of training clips")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
