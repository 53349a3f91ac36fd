"""The filter of kept tracks: one object has one expression.

Two candidates of a piece are one object if the mean IoU of their tracks is at least `same_object_iou`. Of expressions
with the same head noun, one of which says all that the other does and more ("a man", "a man in a suit"), the longer is
kept. Where the head nouns differ, or each says something that the other does not ("a young man", "an old man"), one of
them must be wrong and nothing says which: both are dropped.
"""

from __future__ import annotations

from elysium.boxes import iou
from elysium.config import CurateSettings
from elysium.curation.filters.base import TrackSubject, Verdict
from elysium.curation.language.lexicon import lexicon
from elysium.curation.protocols import Chunk


def one_expression(subject: TrackSubject, settings: CurateSettings) -> Verdict:
    """No other expression that is kept means the same object; the number is the largest mean IoU with its track."""
    limit = settings.same_object_iou
    overlaps = {
        text: float(iou(subject.track.boxes, track.boxes).mean()) for text, (_, track) in subject.others.items()
    }
    rivals = {text: overlap for text, overlap in overlaps.items() if overlap >= limit}
    if not rivals:
        return Verdict("one_expression", True, "", max(overlaps.values(), default=0.0), limit)
    own = subject.found.chunk
    for text in sorted(rivals, key=lambda text: (-rivals[text], text)):
        if not _nested(own, subject.others[text][0]):
            return Verdict("one_expression", False, "same_object", rivals[text], limit, f"also {text!r}")
    fullest = max((subject.others[text][0] for text in rivals), key=_fullness)
    overlap = rivals[fullest.text]
    if _fullness(own) > _fullness(fullest):
        return Verdict("one_expression", True, "", overlap, limit, f"says more than {fullest.text!r}")
    return Verdict("one_expression", False, "duplicate", overlap, limit, f"{fullest.text!r} says more")


def _nested(first: Chunk, second: Chunk) -> bool:
    """Returns whether both have one head noun, and one of them says all that the other does."""
    one, other = _content(first), _content(second)
    return first.head == second.head and (one <= other or other <= one)


def _content(chunk: Chunk) -> frozenset[str]:
    """Returns the words that describe: all but articles and the like."""
    classes = lexicon().classes
    return frozenset(chunk.words) - classes["determiner"] - classes["possessive"]


def _fullness(chunk: Chunk) -> tuple[int, int, str]:
    """Returns what orders expressions by how much they say; no two different texts are equal."""
    return len(_content(chunk)), len(chunk.words), chunk.text
