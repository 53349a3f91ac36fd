"""When an evaluation clip is in training: by name, by the file it was cut from, by its frames' files, by its looks.

The tracks gate (`elysium.quality.leaks`) asks by all but the looks, the evaluation's guard by all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from elysium.evaluation.leaks.clips import Clip
from elysium.evaluation.leaks.index import Columns, TrainingIndex
from elysium.evaluation.leaks.looking import Looks, digest
from elysium.evaluation.leaks.search import find_near

How = Literal["id", "video", "clip", "time", "file", "look"]

# Two clips look alike if one frame of each differs in at most CLOSE bits of 128, or two of each in at most NEAR. Copies
# that were cut by 5 % at one side are some 20 bits apart at most, and different clips of one simulator, of 1.8 billion
# pairs of frames, more than that (`benchmarks/leaks.py`). One frame that is near may be chance among more pairs.
CLOSE, NEAR = 12, 20

# Two frames that are near: of which clips, their numbers there, and whether one is mirrored.
_PAIR = np.dtype([(name, "<i8") for name in ("evaluation", "training", "mirrored", "distance", "asked", "found")])


@dataclass(frozen=True)
class Match:
    """An evaluation clip that is in training, by one rule.

    Attributes:
        evaluation: Number of the evaluation clip.
        training: Row of the training clip; of several the first, the one with the longest overlap, or the likest.
        how: The rule. `id`: the same record; `video`: the same sequence of frames, by name; `clip`: the same simulated
            clip; `time`: the same seconds of the same video file; `file`: the same file of a frame or video; `look`:
            frames that look alike.
        clips: How many training clips it is in.
        seconds: Longest overlap, for `time`; a shared instant counts as a microsecond.
        frames: Evaluation frames that are in training, for `file` and `look`.
        distance: Bits in which the likest frames differ, for `look`.
        pair: Numbers of these two frames, of evaluation and of training.
        mirrored: Whether left and right are exchanged.
    """

    evaluation: int
    training: int
    how: How
    clips: int = 1
    seconds: float | None = None
    frames: int | None = None
    distance: int | None = None
    pair: tuple[int, int] | None = None
    mirrored: bool = False


def match_names(clips: Sequence[Clip], index: TrainingIndex) -> Iterator[Match]:
    """Yields the clips that are in training by id, by name of the video or simulated clip, or by their seconds."""
    comparable = [number for number, clip in enumerate(clips) if _same_set(clip.dataset, index.dataset)]
    ids = {number: digest(clips[number].id) for number in comparable}
    for number, rows in _equal(index.records["id"], ids):
        yield Match(number, int(index.records["clip"][rows[0]]), "id", len(rows))
    videos = {number: digest(clips[number].video) for number in comparable}
    for number, rows in _equal(index.clips["video"], videos):
        yield Match(number, int(rows[0]), "video", len(rows))
    simulated = {number: digest(clip.simulated) for number, clip in enumerate(clips)}
    for number, rows in _equal(index.clips["simulated"], simulated):
        yield Match(number, int(rows[0]), "clip", len(rows))
    contents = {number: digest(clip.content) for number, clip in enumerate(clips)}
    for number, rows in _equal(index.clips["content"], contents):
        start, end = clips[number].span
        shared = np.minimum(index.clips["end"][rows], end) - np.maximum(index.clips["start"][rows], start)
        if (shared >= 0).any():
            longest = int(shared.argmax())
            seconds = max(float(shared[longest]), 1e-6)
            yield Match(number, int(rows[longest]), "time", int((shared >= 0).sum()), seconds=seconds)


def match_files(files: Sequence[Sequence[int]], index: TrainingIndex) -> Iterator[Match]:
    """Yields the clips of which a frame's or video's file is, byte for byte, in training.

    Args:
        files: What `digest` says of the files of each evaluation clip's frames; 0 for none.
        index: Of training.
    """
    owner = [number for number, digests in enumerate(files) for _ in digests]
    asked = dict(enumerate(content for digests in files for content in digests))
    found: dict[int, list[Columns]] = defaultdict(list)
    for place, rows in _equal(index.frames["file"], asked):
        found[owner[place]].append(index.frames["clip"][rows])
    for number, shared in sorted(found.items()):
        training = np.unique(np.concatenate(shared))
        yield Match(number, int(training[0]), "file", len(training), frames=len(shared))


def match_looks(looks: Sequence[Looks], index: TrainingIndex) -> Iterator[Match]:
    """Yields the clips of which frames look like those of a training clip, as they are or mirrored.

    Args:
        looks: Of each evaluation clip.
        index: Of training.
    """
    shown = np.flatnonzero(~index.frames["flat"])
    owner = np.repeat(np.arange(len(looks)), [int((~seen.flat).sum()) for seen in looks])
    numbers = [seen.numbers[~seen.flat] for seen in looks]
    asked = [seen.hashes[~seen.flat] for seen in looks] + [seen.mirrored[~seen.flat] for seen in looks]
    near = find_near(index.frames["hash"][shown], np.concatenate([np.zeros((0, 2), dtype=np.uint64), *asked]), NEAR)
    is_mirrored, query = np.divmod(near.query, max(1, len(owner)))
    pairs = np.zeros(len(query), dtype=_PAIR)
    pairs["evaluation"], pairs["mirrored"], pairs["distance"] = owner[query], is_mirrored, near.distance
    pairs["asked"] = np.concatenate([np.zeros(0, dtype=np.uint64), *numbers])[query]
    frames = index.frames[shown[near.row]]
    pairs["training"], pairs["found"] = frames["clip"], frames["number"]
    best: dict[int, list[Match]] = defaultdict(list)
    for match in _alike(pairs):
        best[match.evaluation].append(match)
    for matches in best.values():
        likest = min(matches, key=lambda match: (match.distance, -(match.frames or 0), match.training))
        yield replace(likest, clips=len({match.training for match in matches}))


def _alike(pairs: Columns) -> Iterator[Match]:
    """Yields the clips that look alike, from their pairs of frames (`_PAIR`)."""
    pairs = pairs[np.lexsort([pairs[name] for name in ("distance", "mirrored", "training", "evaluation")])]
    clips = pairs[["evaluation", "training", "mirrored"]]
    for group in np.split(pairs, np.flatnonzero(clips[1:] != clips[:-1]) + 1) if len(pairs) else []:
        likest, num_asked = group[0], len(np.unique(group["asked"]))
        if likest["distance"] <= CLOSE or min(num_asked, len(np.unique(group["found"]))) > 1:
            yield Match(
                evaluation=int(likest["evaluation"]),
                training=int(likest["training"]),
                how="look",
                frames=num_asked,
                distance=int(likest["distance"]),
                pair=(int(likest["asked"]), int(likest["found"])),
                mirrored=bool(likest["mirrored"]),
            )


def _equal(column: Columns, asked: Mapping[int, int]) -> Iterator[tuple[int, Columns]]:
    """Yields the numbers whose digest is in a column, with the rows it is in; a digest of 0 is in none."""
    wanted: dict[int, list[int]] = defaultdict(list)
    for number, value in asked.items():
        if value:
            wanted[value].append(number)
    if not wanted or not len(column):
        return
    values = np.array(sorted(wanted), dtype=np.uint64)
    places = np.minimum(np.searchsorted(values, column), len(values) - 1)
    rows = np.flatnonzero(values[places] == column)
    rows = rows[np.argsort(places[rows], kind="stable")]
    ends = np.flatnonzero(np.diff(places[rows])) + 1
    found = {int(values[places[group[0]]]): group for group in np.split(rows, ends) if len(group)}
    for value, numbers in wanted.items():
        if value in found:
            for number in numbers:
                yield number, found[value]


def _same_set(first: str | None, second: str | None) -> bool:
    return first is None or second is None or first == second
