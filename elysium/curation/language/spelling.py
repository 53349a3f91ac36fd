"""How chunks are written: capital letters that say nothing are taken away, names keep theirs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from elysium.curation.language.lexicon import DETERMINER, lexicon
from elysium.curation.protocols import Chunk

_WORD = re.compile(r"[^\W\d_]+")
_TITLE_SHARE = 0.8  # of the words after the first, from which capitals are the caption's style
_TITLE_WORDS = 3
_NEAR = 4  # characters in which a mark before a word is looked for
_BEFORE_SENTENCE = frozenset({"", *'.!?:;…"“(–—-'})


def plain_case(caption: str) -> str:
    """Returns the caption in one line, with small letters where capitals are its style and not its words'.

    In captions all in capitals, or with one on nearly every word, the lexicon's words become small; others may be
    names and keep a first capital.

    Example:
        >>> plain_case("WOMAN  RUNNING WITH ANNA"), plain_case("Woman Walking Her Dog In Rome")
        ('woman running with Anna', 'woman walking her dog in Rome')
    """
    line = " ".join(caption.split())
    words = _WORD.findall(line)
    others = [word for word in words[1:] if len(word) > 1]
    capitals = sum(word[0].isupper() for word in others)
    if len(others) < _TITLE_WORDS or capitals < _TITLE_SHARE * len(others):
        return line
    known = lexicon()
    shouted = line.isupper()

    def small(match: re.Match[str]) -> str:
        word = match.group()
        if known.knows(word.lower()):
            return word.lower()
        return word.capitalize() if shouted else word

    return _WORD.sub(small, line)


def chunk_of(text: str, start: int, end: int, words: Sequence[str]) -> Chunk:
    """Returns the chunk that lies at `text[start:end]`.

    Args:
        text: The caption, as `plain_case` gives it.
        start: Of its first character.
        end: After its last character.
        words: Its words, lower case; the last one is the head.
    """
    found = text[start:end]
    first, known = words[0], lexicon()
    # A name (Anna's dog) is in no list and keeps its capital; so does a known word that is part of one (New York).
    begins = len(words) == 1 or text[max(0, start - _NEAR) : start].rstrip()[-1:] in _BEFORE_SENTENCE
    if known.look_up(first) & DETERMINER or (begins and known.knows(first)):
        found = found[0].lower() + found[1:]
    return Chunk(text=found, head=words[-1], words=tuple(words))
