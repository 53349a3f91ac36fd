"""Importing a public set: everything it holds is kept, or counted with the reason why not; then one file appears."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from elysium.boxes import BoxCodec
from elysium.data.sets.readers import PublicSet, find_set
from elysium.data.sets.source import BrokenSample, Images, Sample, Source
from elysium.data.sets.store import DATA, SetWriter, open_writer
from elysium.data.storage import scheme_of
from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.workspace import write_atomic

logger = logging.getLogger(__name__)

REPORT = "report.json"
TRAIN, ALL_SPLITS = "train", "all"
_UNSTATED = "no part stated"
_FIRST_IDS = 5
# So many samples without a good one are no accident: the images' folder or the files are wrong.
_HOPELESS = 1000
_LOG_EVERY = 100_000
_RECENT = 1 << 20


@dataclass
class Reason:
    """Why samples were skipped.

    Attributes:
        count: How many.
        first: Ids of the first few.
    """

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, sample_id: str) -> None:
        """Counts one more."""
        self.count += 1
        if len(self.first) < _FIRST_IDS:
            self.first.append(sample_id)


@dataclass
class ImportReport:
    """What an import kept, and what not and why.

    Attributes:
        dataset: Name of the set.
        page: Where it comes from.
        split: The part that was wanted, or `all`.
        num_kept: Records written.
        num_skipped: Broken samples.
        num_duplicates: Samples whose id came before; the first one was kept.
        skipped: The broken samples by reason.
        duplicates: Ids of the first few.
        dropped: Objects and turns left out of samples, by reason.
        passed_over: Samples of other parts, by part.
    """

    dataset: str
    page: str
    split: str
    num_kept: int = 0
    num_skipped: int = 0
    num_duplicates: int = 0
    skipped: dict[str, Reason] = field(default_factory=dict)
    duplicates: Reason = field(default_factory=Reason)
    dropped: dict[str, int] = field(default_factory=dict)
    passed_over: dict[str, int] = field(default_factory=dict)

    @property
    def skipped_share(self) -> float:
        """Share of the broken among the samples of the wanted part, in [0, 1]."""
        return self.num_skipped / max(1, self.num_kept + self.num_skipped)

    def skip(self, sample_id: str, reason: str) -> None:
        """Counts a broken sample."""
        self.num_skipped += 1
        self.skipped.setdefault(reason, Reason()).add(sample_id)

    def reasons(self) -> str:
        """Returns why samples were skipped, in words, the most frequent reason first."""
        ordered = sorted(self.skipped.items(), key=lambda item: -item[1].count)
        return "; ".join(f"{name}: {reason.count} (first {', '.join(reason.first[:2])})" for name, reason in ordered)

    def as_dict(self) -> dict[str, Any]:
        """Returns everything as JSON values."""
        skipped = {name: vars(reason) for name, reason in self.skipped.items()}
        return {
            **vars(self),
            "skipped": dict(sorted(skipped.items())),
            "duplicates": self.duplicates.first,
            "dropped": dict(sorted(self.dropped.items())),
            "passed_over": dict(sorted(self.passed_over.items())),
        }


def import_set(
    name: str,
    annotations: Sequence[Path],
    images: str | Path,
    output: Path,
    *,
    split: str = TRAIN,
    max_skipped: float = 0.05,
    check_images: bool = True,
    codec: BoxCodec | None = None,
) -> ImportReport:
    """Reads a set and writes `data.parquet` and `report.json`; what was there before is replaced when all is well.

    Args:
        name: Of the set, as `elysium data sets` lists it.
        annotations: Its files or folders.
        images: Folder that the paths of frames and videos are relative to; a URI if they are not to be looked for.
        output: Folder to write to.
        split: The part that is taken; what states none counts as `train`, and `all` takes everything.
        max_skipped: Share of broken samples, in [0, 1], above which nothing is written.
        check_images: Breaks samples whose image or video is not there.
        codec: How boxes are written in the text of turns; the paper's by default.

    Raises:
        UsageError: If the set is unknown, files are missing or not of the set, or the part is not in them.
        ElysiumError: If too many samples are broken, or none is left; the message gives the reasons.
    """
    known = find_set(name)
    if not 0 <= max_skipped <= 1:
        raise UsageError(f"--max-skipped is a share in [0, 1], got {max_skipped}")
    if not annotations:
        raise UsageError(f"{known.title} needs its annotations: {known.annotations}, from {known.page}")
    for path in annotations:
        if not path.exists():
            raise UsageError(f"{path} does not exist; {known.title} needs {known.annotations}, from {known.page}")
    if check_images and not Path(images).is_dir():
        raise UsageError(f"{images} is no folder; name the one with {known.images}, or --no-check-images")
    root = str(images) if scheme_of(str(images)) else str(Path(images).absolute())
    source = Source(
        name=known.name,
        title=known.title,
        paths=annotations,
        images=Images(Path(images), check_images),
        split=None if split == ALL_SPLITS else split,
        codec=codec or BoxCodec(),
    )
    samples = known.read(source)
    report = ImportReport(known.name, known.page, split)
    with open_writer(output / DATA, root, source.codec) as writer:
        _fill(writer, samples, source, report)
        _judge(report, known, max_skipped)
        writer.note("report", json.dumps(report.as_dict(), ensure_ascii=False))
    write_atomic(output / REPORT, json.dumps(report.as_dict(), ensure_ascii=False, indent=1) + "\n")
    return report


def _fill(writer: SetWriter, samples: Iterator[Sample], source: Source, report: ImportReport) -> None:
    """Writes all good samples of the wanted part, and counts the others."""
    seen = SeenIds()
    for number, sample in enumerate(samples, start=1):
        if number % _LOG_EVERY == 0:
            logger.info("%d read, %d kept, %d skipped", number, report.num_kept, report.num_skipped)
        # What belongs to no part is for training: nobody holds it out.
        if source.split is not None and (sample.split or TRAIN) != source.split:
            source.passed_over[sample.split or _UNSTATED] += 1
            continue
        if sample.id in seen:
            report.num_duplicates += 1
            report.duplicates.add(sample.id)
            continue
        try:
            writer.add(sample.make())
            seen.add(sample.id)
            report.num_kept += 1
        except BrokenSample as error:
            report.skip(sample.id, str(error))
        except ValidationError as error:
            first = error.errors()[0]
            report.skip(sample.id, f"{'.'.join(str(part) for part in first['loc']) or 'record'}: {first['type']}")
        if report.num_kept == 0 and report.num_skipped >= _HOPELESS:
            raise ElysiumError(f"the first {_HOPELESS} samples are all broken, nothing was written: {report.reasons()}")
    report.dropped, report.passed_over = dict(source.dropped), dict(source.passed_over)


def _judge(report: ImportReport, known: PublicSet, max_skipped: float) -> None:
    """Raises ElysiumError if what was read is not worth keeping."""
    if report.num_kept + report.num_skipped == 0 and report.passed_over:
        others = ", ".join(sorted(report.passed_over))
        raise UsageError(f"these files of {known.title} hold no sample of {report.split!r}, only of {others} (--split)")
    if report.skipped_share > max_skipped:
        raise ElysiumError(
            f"{report.num_skipped} of {report.num_kept + report.num_skipped} samples are broken, more than the share "
            f"of {max_skipped:g} that --max-skipped allows; nothing was written. {report.reasons()}"
        )
    if report.num_kept == 0:
        raise ElysiumError(
            f"no sample of {known.title} is left, nothing was written. {report.reasons() or 'none found'}"
        )


class SeenIds:
    """Remembers ids by 64 bits each.

    Twenty million take 160 MB; that two of them are taken for one happens once in 90,000 such sets.
    """

    def __init__(self) -> None:
        self._sorted: npt.NDArray[np.uint64] = np.empty(0, dtype=np.uint64)
        self._recent: set[int] = set()

    def __contains__(self, text: str) -> bool:
        number = _short(text)
        if number in self._recent:
            return True
        place = int(np.searchsorted(self._sorted, np.uint64(number)))
        return place < len(self._sorted) and int(self._sorted[place]) == number

    def add(self, text: str) -> None:
        """Remembers an id."""
        self._recent.add(_short(text))
        if len(self._recent) >= _RECENT:
            recent = np.fromiter(self._recent, dtype=np.uint64, count=len(self._recent))
            self._sorted = np.union1d(self._sorted, recent)
            self._recent = set()


def _short(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
