"""The tracking sets that can be measured: what each is, where to get it, and opening it from a folder."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from elysium.errors import UsageError
from elysium.evaluation.tracking.files import Contents, Request
from elysium.evaluation.tracking.sequences import TrackingSequence, TrackingSet

_SHOWN = 5


@dataclass(frozen=True)
class PublishedTrackingSet:
    """One published set.

    Attributes:
        name: What commands call it.
        title: What people call it.
        page: Where to get it.
        module: Of this package; its `find` knows the layout and its `contents` reads it.
        splits: Its parts that can be opened; the first is meant where none is named.
        one_based: Whether its files count pixels from 1.
        protocol: Name of the protocol that its figures are published by.
        scored: Which frames are scored, in words.
    """

    name: str
    title: str
    page: str
    module: str
    splits: tuple[str, ...]
    one_based: bool
    protocol: str
    scored: str

    @property
    def reader(self) -> Any:
        """The module that reads it."""
        return import_module(f"elysium.evaluation.tracking.{self.module}")


_ALL = "all frames, the first one too"
_SETS = (
    PublishedTrackingSet(
        "lasot", "LaSOT", "http://vision.cs.stonybrook.edu/~lasot/", "lasot", ("test",), True, "one-pass",
        "all frames; absent ones (full_occlusion.txt, out_of_view.txt) are failures",
    ),
    PublishedTrackingSet(
        "lasot_ext", "LaSOT extension", "http://vision.cs.stonybrook.edu/~lasot/", "lasot", ("test",), True, "one-pass",
        "all frames; absent ones (full_occlusion.txt, out_of_view.txt) are failures",
    ),
    PublishedTrackingSet(
        "uav123", "UAV123", "https://cemse.kaust.edu.sa/ivul/uav123", "uav", ("test",), True, "one-pass",
        "all frames; those without a true box (NaN rows) are failures",
    ),
    PublishedTrackingSet(
        "uav20l", "UAV20L", "https://cemse.kaust.edu.sa/ivul/uav123", "uav", ("test",), True, "one-pass",
        "all frames; those without a true box (NaN rows) are failures",
    ),
    PublishedTrackingSet(
        "otb", "OTB", "http://cvlab.hanyang.ac.kr/tracker_benchmark/datasets.html", "otb", ("100", "50", "2013"), True,
        "one-pass", "the frames of the benchmark's ranges, the first one too",
    ),
    PublishedTrackingSet(
        "got10k", "GOT-10k", "http://got-10k.aitestunion.com/downloads", "got10k", ("val", "test"), True, "got10k",
        "all but the first frame of each sequence, where cover.label says that the target is seen",
    ),
    PublishedTrackingSet(
        "trackingnet", "TrackingNet", "https://github.com/SilvioGiancola/TrackingNet-devkit", "trackingnet",
        ("TEST", *(f"TRAIN_{number}" for number in range(12))), False, "trackingnet",
        "all frames; the first one counts as right",
    ),
    PublishedTrackingSet(
        "nfs", "NfS", "http://ci2cv.net/nfs/index.html", "nfs", ("30", "240"), False, "one-pass", _ALL,
    ),
    PublishedTrackingSet(
        "tnl2k", "TNL2K", "https://sites.google.com/view/langtrackbenchmark/", "tnl2k", ("test",), False, "one-pass",
        "all frames; absent ones, where the toolkit's flags are there, are failures",
    ),
    PublishedTrackingSet(
        "elysiumtrack", "ElysiumTrack", "https://github.com/Hon-Wong/Elysium", "elysiumtrack", ("evaluation", "all"),
        False, "one-pass", _ALL,
    ),
)  # fmt: skip
TRACKING_SETS = {entry.name: entry for entry in _SETS}


def open_tracking_set(
    name: str | None,
    folder: Path | str,
    split: str | None = None,
    *,
    only: Collection[str] | None = None,
    images: bool = True,
    attributes: Path | None = None,
) -> TrackingSet:
    """Opens a published set from the folder it was unpacked to; truth is read, images are counted and not opened.

    Args:
        name: One of `TRACKING_SETS`; None looks which layout the folder has.
        folder: Of the set; a folder that holds it alone does as well. For `elysiumtrack` also the file of records.
        split: One of the set's; None takes its first one.
        only: Names of the sequences to measure, instead of all; the set's `label` then says how many they are.
        images: Whether images must be there; without, the truth alone does, for scoring result files.
        attributes: Folder of attribute files, where they lie apart from the set (LaSOT's and TNL2K's are in their
            toolkits' `annos/att`).

    Raises:
        UsageError: If the folder holds no such set, sequences of the set are missing, or frames and truth of some do
            not fit together; the message names the first five and how many there are.
    """
    root = Path(folder)
    if not root.exists():
        raise UsageError(f"{root} does not exist")
    entry, root = _located(name, root)
    split = _split(entry, split)
    request = Request(root, split, images, attributes)
    contents: Contents = entry.reader.contents(request, entry.name)
    title = f"{entry.title} ({split})" if len(entry.splits) > 1 or split != "test" else entry.title
    chosen = _chosen(contents, title, root, entry, only)
    sequences = _read(contents, chosen, title)
    published = set(contents.published) or set(contents.present)
    return TrackingSet(
        name=entry.name,
        title=title,
        split=split,
        one_based=entry.one_based,
        protocol=entry.protocol,
        scored=entry.scored,
        sequences=tuple(sequences),
        num_published=len(contents.published) or contents.num_published,
        left_out=tuple(sorted(published - set(chosen))),
    )


def _located(name: str | None, folder: Path) -> tuple[PublishedTrackingSet, Path]:
    """Returns the set and where its layout begins: the folder, or the only folder in it."""
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir()] if folder.is_dir() else []
    places = [folder, *(inner if len(inner) == 1 else [])]
    if name is not None:
        entry = TRACKING_SETS.get(name)
        if entry is None:
            near = difflib.get_close_matches(name, TRACKING_SETS, n=1, cutoff=0.0)
            raise UsageError(f"no tracking set {name!r}; the nearest is {near[0]}, all are {', '.join(TRACKING_SETS)}")
        place = next((place for place in places if entry.reader.find(place, name)), None)
        if place is None:
            first = (entry.reader.__doc__ or "").splitlines()[0]
            raise UsageError(f"{folder} holds no sequence of {entry.title}. Its layout: {first} Get it: {entry.page}")
        return entry, place
    found = [(entry, place) for place in places for entry in _SETS if entry.reader.find(place, entry.name)]
    if not found:
        raise UsageError(
            f"{folder} has the layout of no known tracking set: {', '.join(TRACKING_SETS)}; name the one that it "
            "should be to see its layout"
        )
    names = sorted({entry.name for entry, _ in found})
    if len(names) > 1:
        raise UsageError(f"{folder} has the layouts of {' and '.join(names)}: name the one that is meant")
    return found[0]


def _split(entry: PublishedTrackingSet, split: str | None) -> str:
    if split is None:
        return entry.splits[0]
    if split not in entry.splits:
        raise UsageError(f"{entry.title} has no split {split!r}; there are {', '.join(entry.splits)}")
    return split


def _chosen(
    contents: Contents, title: str, root: Path, entry: PublishedTrackingSet, only: Collection[str] | None
) -> list[str]:
    """Returns the names to measure, after it was seen that they are all there."""
    present, published = contents.present, contents.published
    if only is not None:
        unknown = sorted(set(only) - set(present))
        if unknown:
            raise UsageError(f"{root} holds no sequence {_listed(unknown)} of {title}")
        if not only:
            raise UsageError("the list of sequences to measure is empty")
        return [name for name in present if name in set(only)]
    if not present:
        raise UsageError(f"{root} holds no sequence of {title}. Get it: {entry.page}")
    missing = sorted(set(published) - set(present))
    remedy = f"Get them: {entry.page}; or name those that are to be measured with --only, and the result says so"
    if missing:
        raise UsageError(
            f"{root} lacks {len(missing)} of the {len(published)} sequences of {title}: {_listed(missing)}. {remedy}"
        )
    number = contents.num_published
    if number and not published and len(present) < number:
        raise UsageError(
            f"{root} holds {len(present)} of the {number} sequences of {title}; {contents.names_in} has their names. "
            f"{remedy}"
        )
    return list(present)


def _read(contents: Contents, chosen: Sequence[str], title: str) -> list[TrackingSequence]:
    sequences, problems = [], []
    for name in chosen:
        try:
            sequence = contents.present[name]()
            if not np.isfinite(sequence.boxes[0]).all():
                raise UsageError("the first row of its truth is no box")
            sequences.append(sequence)
        except UsageError as error:
            problems.append(f"{name}: {error}")
    if problems:
        more = f" … and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise UsageError(
            f"{len(problems)} of {len(chosen)} sequences of {title} cannot be measured: "
            + "; ".join(problems[:_SHOWN])
            + more
        )
    return sequences


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
