"""The embedded chunker: noun chunks by closed word classes, on spaCy's tokenizer, without a trained model.

A chunk begins at a determiner, and ends before a word of a class that no noun chunk holds, or at punctuation. It needs
no part-of-speech model, and it misses what has no determiner ("dogs play"); a spaCy model does better.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import spacy
import yaml
from spacy.matcher import Matcher
from spacy.util import filter_spans

from elysium.curation.protocols import Chunk
from elysium.data.records import RawClip

_LONGEST = 6


@dataclass(frozen=True)
class Words:
    """The word lists of `words.yaml`, lower case."""

    determiners: frozenset[str]
    stops: frozenset[str]
    verbs: frozenset[str]
    virtual: frozenset[str]
    plural: frozenset[str]
    singular: frozenset[str]
    numerals: frozenset[str]


@functools.cache
def words() -> Words:
    """Returns the word lists."""
    text = (resources.files("elysium.curation") / "words.yaml").read_text(encoding="utf-8")
    return Words(**{name: frozenset(map(str, entries)) for name, entries in yaml.safe_load(text).items()})


def rules_chunker(clip: RawClip, folder: Path) -> RulesChunker:
    """Returns the chunker; it is the same for every clip."""
    return _shared()


class RulesChunker:
    """Finds determiner + words up to the next word that cannot belong to the chunk."""

    def __init__(self) -> None:
        self._nlp: Any = spacy.blank("en")
        lists = words()
        inside = {
            "IS_ALPHA": True,
            "LOWER": {"NOT_IN": sorted(lists.stops | lists.verbs | lists.determiners)},
        }
        self._matcher = Matcher(self._nlp.vocab)
        patterns = [
            [{"LOWER": {"IN": sorted(lists.determiners)}}, *([inside] * length)] for length in range(1, _LONGEST + 1)
        ]
        self._matcher.add("chunk", patterns)

    def chunk(self, caption: str) -> list[Chunk]:
        """Returns the chunks in the caption's order.

        Example:
            >>> [chunk.text for chunk in RulesChunker().chunk("A man in a dark suit talks in the car.")]
            ['a man', 'a dark suit', 'the car']
        """
        document = self._nlp(caption)
        spans = filter_spans(self._matcher(document, as_spans=True))
        found = []
        for span in spans:
            lower = tuple(token.lower_ for token in span)
            text = span.text[0].lower() + span.text[1:]
            found.append(Chunk(text=text, head=lower[-1], words=lower))
        return found


def is_virtual(chunk: Chunk) -> bool:
    """Returns whether the chunk names nothing that has a place in the picture."""
    return chunk.head in words().virtual


def is_plural(chunk: Chunk) -> bool:
    """Returns whether the chunk names several things at once."""
    lists = words()
    if chunk.head in lists.plural or lists.numerals & set(chunk.words):
        return True
    return chunk.head.endswith("s") and not chunk.head.endswith("ss") and chunk.head not in lists.singular


@functools.cache
def _shared() -> RulesChunker:
    return RulesChunker()
