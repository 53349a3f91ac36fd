"""The filters of captions and noun chunks, by name."""

from __future__ import annotations

from collections.abc import Callable

from elysium.config import CurateSettings
from elysium.curation.filters.base import ChunkSubject, Verdict
from elysium.curation.lexicon import is_plural, lexicon, words


def plural_word(subject: ChunkSubject, settings: CurateSettings) -> Verdict:
    """The noun stands for one thing, and no number stands before it."""
    chunk, numerals = subject.chunk, lexicon().classes["numeral"]
    several = is_plural(chunk.head) or any(word in numerals or word.isdigit() for word in chunk.words)
    return Verdict("plural_word", not several, "plural_word" if several else "", float(several), 0.0)


def virtual_word(subject: ChunkSubject, settings: CurateSettings) -> Verdict:
    """The noun names a thing that can be seen, and that is there."""
    virtual = subject.chunk.head in words("virtual") or "no" in subject.chunk.words
    return Verdict("virtual_word", not virtual, "virtual_word" if virtual else "", float(virtual), 0.0)


CAPTION_FILTERS: dict[str, Callable[[str, CurateSettings], Verdict]] = {}
CHUNK_FILTERS: dict[str, Callable[[ChunkSubject, CurateSettings], Verdict]] = {
    "plural_word": plural_word,
    "virtual_word": virtual_word,
}
