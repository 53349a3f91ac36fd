"""Stops an evaluation whose clips the model was trained on, with their list; or lets it go on and says so."""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from elysium.errors import ElysiumError, GateRefused
from elysium.evaluation.leaks.building import open_index
from elysium.evaluation.leaks.clips import Clip
from elysium.evaluation.leaks.fingerprint import NUM_BITS
from elysium.evaluation.leaks.index import TrainingIndex, frames_key
from elysium.evaluation.leaks.looking import Looks, look_at_all, of_evaluation
from elysium.evaluation.leaks.rules import How, Match, match_files, match_looks, match_names
from elysium.pipeline.workspace import write_atomic

logger = logging.getLogger(__name__)

_SHOWN = 10
_TOGETHER = 1024  # evaluation clips looked for at once: their fingerprints take a few MB


@dataclass(frozen=True)
class Leak:
    """One line of `leaks.jsonl`: an evaluation clip, and by which rule it is in training.

    Attributes:
        evaluation: Id of the evaluation clip.
        training: Id of a record of the training clip; of several the first, or the one that is closest.
        how: As of `rules.Match`, likewise the rest.
        clips: How many training clips it is in.
        seconds: Longest overlap.
        frames: Evaluation frames that are in training.
        distance: Bits of 128 in which the likest frames differ.
        pair: Numbers of these two frames.
        mirrored: Whether left and right are exchanged.
    """

    evaluation: str
    training: str
    how: How
    clips: int
    seconds: float | None
    frames: int | None
    distance: int | None
    pair: tuple[int, int] | None
    mirrored: bool

    @property
    def words(self) -> str:
        """The leak as a phrase."""
        if self.how == "look":
            where = ", mirrored" if self.mirrored else ""
            number = "1 frame" if self.frames == 1 else f"{self.frames} frames"
            return (
                f"{self.evaluation} looks like {self.training} "
                f"({number}{where}, the likest {self.distance} of {NUM_BITS} bits apart)"
            )
        said = {
            "id": "has the id of",
            "video": "is named after the same video as",
            "clip": "is of the same simulated clip as",
            "time": f"shares {self.seconds or 0:.3g} s of the video file with",
            "file": "shares a file, byte for byte, with",
        }
        return f"{self.evaluation} {said[self.how]} {self.training}"


@dataclass(frozen=True)
class Leaks:
    """What was found, and how thoroughly it was looked for.

    Attributes:
        found: At most one a clip and rule, in the order of the clips.
        num_clips: Evaluation clips.
        num_training_clips: They were compared with; 0 where the training data is not known.
        num_flat: Evaluation clips whose frames show too little to be compared by their looks.
        num_unread: Training clips that could be compared by name only.
        allowed: Whether the evaluation goes on all the same.
    """

    found: tuple[Leak, ...]
    num_clips: int
    num_training_clips: int
    num_flat: int = 0
    num_unread: int = 0
    allowed: bool = False

    @property
    def clips(self) -> list[str]:
        """Ids of the evaluation clips that are in training."""
        return list(dict.fromkeys(leak.evaluation for leak in self.found))

    def summary(self) -> dict[str, Any]:
        """Returns what a result has to carry, ready for JSON."""
        return {
            "checked": self.num_training_clips > 0,
            "allowed": self.allowed,
            "num_leaked": len(self.clips),
            "num_clips": self.num_clips,
            "num_training_clips": self.num_training_clips,
            "num_flat": self.num_flat,
            "num_unread": self.num_unread,
            "by_rule": dict(Counter(leak.how for leak in self.found)),
            "leaked": self.clips,
        }

    def write(self, path: Path) -> None:
        """Writes one JSON object a leak and line."""
        lines = (json.dumps(vars(leak), ensure_ascii=False) for leak in self.found)
        write_atomic(path, "".join(f"{line}\n" for line in lines))


def guard(
    clips: Iterable[Clip],
    training: Sequence[Path | TrainingIndex],
    report: Path,
    *,
    cache: Path | None = None,
    allow: bool = False,
) -> Leaks:
    """Looks for evaluation clips in the training data, writes what it finds, and stops unless that is allowed.

    A refusal, not a usage error: the data was read and judged, the step keeps its report, and exit code 3 tells a
    runner that trying again does not help.

    Args:
        clips: What the model is about to be measured on.
        training: Data that it was trained on: snapshots' data folders, imports' folders, or their indexes. With none,
            nothing is compared, and the summary says so.
        report: Where to write the list, `leaks.jsonl`; empty where nothing was found.
        cache: Folder that indexes of training data are kept in; None makes them anew.
        allow: Goes on with a warning; `evaluate.allow_leaks`.

    Returns:
        What was found; `summary()` goes into the result.

    Raises:
        GateRefused: If clips are in training, with the first ten, where the list is, and what can be done.
        UsageError: If a folder holds no training data.
        ElysiumError: If it is damaged, or an evaluation frame cannot be read.
    """
    indexes = [entry if isinstance(entry, TrainingIndex) else open_index(entry, cache) for entry in training]
    leaks = find_leaks(clips, indexes, allowed=allow)
    leaks.write(report)
    if not leaks.found:
        return leaks
    first = {leak.evaluation: leak.words for leak in reversed(leaks.found)}
    shown = "; ".join(first[name] for name in leaks.clips[:_SHOWN])
    more = f"; {len(leaks.clips) - _SHOWN} more" if len(leaks.clips) > _SHOWN else ""
    said = f"{len(leaks.clips)} of {leaks.num_clips} evaluation clips are in the training data: {shown}{more}"
    if not allow:
        raise GateRefused(
            f"{said}; {report.name} lists them all; take their videos out of training or out of the evaluation, or "
            "measure them all the same with --set evaluate.allow_leaks=true, which the result will say"
        )
    logger.warning("measured all the same, as evaluate.allow_leaks says: %s", said)
    return leaks


def find_leaks(clips: Iterable[Clip], indexes: Sequence[TrainingIndex], *, allowed: bool = False) -> Leaks:
    """Returns the evaluation clips that are in training.

    Args:
        clips: Evaluation clips; those of the same frames are looked at once.
        indexes: Of the training data.
        allowed: Noted in the result.

    Raises:
        ElysiumError: If an evaluation frame cannot be read.
    """
    asked = list(clips)
    same: dict[int, list[int]] = defaultdict(list)
    for number, clip in enumerate(asked):
        same[frames_key(clip)].append(number)
    groups = list(same.values()) if indexes else []
    matches = [(match, place) for place, index in enumerate(indexes) for match in match_names(asked, index)]
    num_flat = 0
    for start in range(0, len(groups), _TOGETHER):
        part = groups[start : start + _TOGETHER]
        looks = _look([asked[numbers[0]] for numbers in part])
        files = [seen.files.tolist() for seen in looks]
        num_flat += sum(len(numbers) for numbers, seen in zip(part, looks, strict=True) if seen.flat.all())
        for place, index in enumerate(indexes):
            for match in [*match_files(files, index), *match_looks(looks, index)]:
                matches += [(replace(match, evaluation=number), place) for number in part[match.evaluation]]
    matches.sort(key=lambda entry: (entry[0].evaluation, entry[1]))
    return Leaks(
        found=tuple(_leak(asked[match.evaluation], indexes[place], match) for match, place in matches),
        num_clips=len(asked),
        num_training_clips=sum(len(index.clips) for index in indexes),
        num_flat=num_flat,
        num_unread=sum(index.num_unread for index in indexes),
        allowed=allowed,
    )


def _look(clips: Sequence[Clip]) -> list[Looks]:
    looks = []
    for seen in look_at_all(clips, of_evaluation):
        if isinstance(seen, ElysiumError):
            raise seen
        looks.append(seen)
    return looks


def _leak(clip: Clip, index: TrainingIndex, match: Match) -> Leak:
    facts = {name: value for name, value in vars(match).items() if name not in ("evaluation", "training")}
    return Leak(evaluation=clip.id, training=index.name(match.training), **facts)
