"""The embedded chunker: spaCy's tokenizer, with parts of speech given by a lexicon and a few rules of its own.

No statistical model is needed. Captions of everyday video use a small vocabulary: words that the lexicon does not
know are taken for nouns unless their ending says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import spacy

from elysium.config import CurateSettings
from elysium.curation.language.lexicon import lexicon
from elysium.curation.language.memory import Forgetting
from elysium.curation.language.spelling import chunk_of, plain_case
from elysium.curation.language.tagging import tag
from elysium.curation.protocols import Chunk

_PREDETERMINERS = frozenset({"all", "both", "half", "such", "quite", "many"})


def rules_chunker(settings: CurateSettings) -> RulesChunker:
    """Returns the chunker; it has no settings."""
    return RulesChunker()


class RulesChunker:
    """Finds noun chunks by rules: determiner, adjectives and nouns up to the head noun; what follows is left out."""

    def __init__(self) -> None:
        language = spacy.blank("en")
        # Words with a hyphen (t-shirt, close-up) are one word here; spaCy would cut them in three.
        tokenizer: Any = language.tokenizer
        tokenizer.infix_finditer = re.compile(r"[/…|_]|\.\.+|--+|(?<=[a-z])[.,;:](?=[A-Za-z])").finditer
        self._read = Forgetting(language, tokenizer)
        self._lexicon = lexicon()

    def chunk(self, caption: str) -> list[Chunk]:
        """Returns the noun chunks of `caption` in its order.

        Example:
            >>> [chunk.text for chunk in RulesChunker().chunk("A man in a suit talks, his face close to the camera.")]
            ['a man', 'a suit', 'his face', 'the camera']
        """
        text = plain_case(caption)
        tokens = [(token.text, token.idx) for token in self._read(text)]
        words = [token.lower() for token, _ in tokens]
        found = []
        for start, end in _spans(tag(words, self._lexicon), words):
            last, place = tokens[end]
            found.append(chunk_of(text, tokens[start][1], place + len(last), words[start : end + 1]))
        return found


def _spans(tags: Sequence[str], words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yields first and last word of each noun chunk."""
    start = end = -1
    for i, kind in enumerate(tags):
        is_open = start >= 0
        if kind == "N":
            start, end = (start if is_open else i), i
            continue
        if kind == "'" and end >= 0:
            continue
        if kind == "A" and is_open and (end < 0 or tags[i - 1] == "'"):
            continue
        if kind == "A" and is_open and tags[i - 1] == "A":
            continue  # after a possessive: "the man's old hat"
        if kind == "M" and is_open and end < 0:
            continue
        if kind == "D" and is_open and end < 0 and words[i - 1] in _PREDETERMINERS:
            continue
        if kind in ",&" and is_open and end < 0 and tags[i - 1] == "A" and _adjective_follows(tags, i):
            continue
        if end >= 0:
            yield start, end
        start, end = (i if kind in "DMA" else -1), -1
    if end >= 0:
        yield start, end


def _adjective_follows(tags: Sequence[str], i: int) -> bool:
    after = tags[i + 1 : i + 3]
    return after[:1] == ["A"] or after == ["&", "A"]
