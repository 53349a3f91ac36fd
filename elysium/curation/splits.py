"""Which real videos are held out for evaluation: whole ones, told by their content.

The rule comes in two parts. While videos are processed, one by one and in any order, a video is a *candidate* for
evaluation if its content, seen as a number in [0, 1), is below `evaluation_share`; nothing else is looked at. When the
data set is published, of the candidates that gave tracks the `num_evaluation_videos` with the smallest numbers stay
held out, and the others go to train. Near-duplicates count as one video: they have the smallest number among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Literal

from elysium.config import CurateSettings
from elysium.data.records import RawClip, Split, TrackRecord

# In a record's metadata: the source said which side it is on, and nobody may move it.
BY_SOURCE = "split_by_source"
_DIGITS = 16  # of a checksum, in hex


def decide_splits(clips: Sequence[RawClip], settings: CurateSettings) -> list[RawClip]:
    """Returns the clips, with a split for each real one whose source names none.

    A video is held out whole, for another part of it looks like the rest, and if its content, seen as a number in
    [0, 1), is below `evaluation_share`: so it stays on its side however many others come or go, and a model that was
    trained before has not seen it. Only where that leaves a side without any video, the one nearest to it goes there.

    Args:
        clips: All clips of the manifest.
        settings: With `split_by: time` nothing is decided here.
    """
    open_clips = [clip for clip in clips if clip.split is None and clip.annotations is None]
    if settings.split_by == "time" or not open_clips:
        return list(clips)
    ranked = sorted({content_number(clip.sha256) for clip in open_clips})
    num_held_out = sum(number < settings.evaluation_share for number in ranked)
    if settings.evaluation_share > 0 and len(ranked) > 1:
        num_held_out = min(max(num_held_out, 1), len(ranked) - 1)
    held_out = set(ranked[:num_held_out])
    return [
        clip
        if clip.split is not None or clip.annotations is not None
        else clip.model_copy(update={"split": "evaluation" if content_number(clip.sha256) in held_out else "train"})
        for clip in clips
    ]


def split_of(sha256: str, settings: CurateSettings) -> Split | None:
    """Returns the side of one real video whose source names none, without knowing of any other.

    Args:
        sha256: Of its content.
        settings: With `split_by: time` it is None: the video's end is held out.
    """
    if settings.split_by == "time":
        return None
    return "evaluation" if content_number(sha256) < settings.evaluation_share else "train"


def content_number(sha256: str) -> float:
    """Returns a video's content as a number in [0, 1).

    Example:
        >>> content_number("8" + "0" * 63)
        0.5
    """
    return float(int(sha256[:_DIGITS], 16) / 16**_DIGITS)


@dataclass(frozen=True)
class HeldOut:
    """Which videos are on which side in the end.

    Attributes:
        evaluation: Content of the videos that are held out whole; of near-duplicates that of their group.
        groups: Content of a video to that of its group, for those that have near-duplicates.
        num_candidates: Videos that might have been held out, near-duplicates counted once.
        moves: Whether sides are decided by video at all.
    """

    evaluation: frozenset[str] = frozenset()
    groups: Mapping[str, str] = field(default_factory=dict)
    num_candidates: int = 0
    moves: bool = True

    def side(self, record: TrackRecord) -> Split | Literal["left out"]:
        """Returns where a record goes; one that its source wants to train on is left out if its video is held out."""
        if not self.moves:
            return record.metadata.split
        held_out = self.group(record) in self.evaluation
        if _is_fixed(record):
            return "left out" if held_out and record.metadata.split == "train" else record.metadata.split
        return "evaluation" if held_out else "train"

    def group(self, record: TrackRecord) -> str:
        """Returns what stands for a record's video and its near-duplicates."""
        return self.groups.get(record.metadata.content_sha256, record.metadata.content_sha256)


def hold_out(records: Iterable[TrackRecord], settings: CurateSettings, near: Iterable[Sequence[str]] = ()) -> HeldOut:
    """Returns which videos stay held out of all that gave tracks.

    Sides that a source or the simulator decided stay as they are: of real ones the record's metadata says so
    (`split_by_source: true`). What shows the same video as an evaluation record of theirs is held out, too.

    Args:
        records: All of them, in any order; they are looked at once, and only candidates' contents are remembered.
        settings: `num_evaluation_videos`; with `split_by: time` nothing is moved.
        near: Groups of near-duplicate videos, by their content; overlapping groups are one.
    """
    if settings.split_by == "time":
        return HeldOut(moves=False)
    groups = _groups(near)
    most = settings.num_evaluation_videos
    fixed, open_groups, seen = set(), set(), set()
    training: set[str] = set()
    for record in records:
        content = record.metadata.content_sha256
        group = groups.get(content, content)
        if _is_fixed(record):
            if record.metadata.split == "evaluation":
                fixed.add(group)
        elif record.metadata.split == "train":
            # Of those that are no candidates only the nearest two are of interest: see below.
            training = _smallest(training | {group}, 2)
        elif group not in seen:
            seen.add(group)
            open_groups.add(group)
            if len(open_groups) > 4 * most + 1000:
                open_groups = _smallest(open_groups, most)
    held_out = _smallest(open_groups, most)
    if settings.evaluation_share > 0 and most > 0:
        # Of few videos chance may leave a side without any: then the nearest one goes there, as in `decide_splits`.
        if not seen and len(training) > 1:
            held_out = _smallest(training, 1)
        elif not training and len(seen) > 1 and len(held_out) == len(seen):
            held_out = _smallest(held_out, len(held_out) - 1)
    return HeldOut(frozenset(fixed | held_out), groups, len(seen))


def _smallest(groups: Iterable[str], count: int) -> set[str]:
    return set(nsmallest(count, groups, key=lambda content: (content_number(content), content)))


def _is_fixed(record: TrackRecord) -> bool:
    extra = record.metadata.model_extra or {}
    return record.metadata.kind == "simulated" or bool(extra.get(BY_SOURCE))


def _groups(near: Iterable[Sequence[str]]) -> dict[str, str]:
    """Returns each member's group, named by its smallest member."""
    above: dict[str, str] = {}

    def root(content: str) -> str:
        while above.setdefault(content, content) != content:
            content = above[content]
        return content

    for members in near:
        roots = [root(content) for content in members]
        for other in roots:
            above[root(other)] = min(roots)
    return {content: root(content) for content in above}
