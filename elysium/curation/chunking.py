"""The embedded chunker: spaCy's tokenizer and matcher, with parts of speech given by a lexicon and its own few rules.

No statistical model is needed. Captions of everyday video use a small vocabulary: words that the lexicon does not
know are taken for nouns where a noun is due (after a determiner or an adjective), and for nothing elsewhere.
"""

from __future__ import annotations

import re
from typing import Any

import spacy
from spacy.matcher import Matcher

from elysium.config import CurateSettings
from elysium.curation.lexicon import Lexicon, is_plural, lexicon
from elysium.curation.protocols import Chunk

# Classes whose words mean the same wherever they stand, to their part of speech.
_CLOSED = {
    "determiner": "DET",
    "possessive": "DET",
    "numeral": "NUM",
    "pronoun": "PRON",
    "preposition": "ADP",
    "conjunction": "CCONJ",
    "auxiliary": "AUX",
}
_NOUN_PHRASE: list[dict[str, Any]] = [
    {"POS": "DET", "OP": "*"},
    {"POS": {"IN": ["NUM", "ADJ", "NOUN", "PART"]}, "OP": "*"},
    {"POS": "NOUN"},
]
_OPENING = {"DET", "NUM", "ADJ", "PART"}  # after one of these a noun is due


def rules_chunker(settings: CurateSettings) -> RulesChunker:
    """Returns the chunker; it has no settings."""
    return RulesChunker()


class RulesChunker:
    """Finds noun chunks by rules: determiner, adjectives and nouns up to the head noun; what follows is left out."""

    def __init__(self) -> None:
        self._language = spacy.blank("en")
        # Words with a hyphen (t-shirt, close-up) are one word here; spaCy would cut them in three.
        tokenizer: Any = self._language.tokenizer
        tokenizer.infix_finditer = re.compile(r"[/…]|\.\.+|--+|(?<=[a-z])\.(?=[A-Z])").finditer
        self._matcher = Matcher(self._language.vocab)
        self._matcher.add("chunk", [_NOUN_PHRASE], greedy="LONGEST")
        self._lexicon = lexicon()

    def chunk(self, caption: str) -> list[Chunk]:
        """Returns the noun chunks of `caption` in its order.

        Example:
            >>> [chunk.text for chunk in RulesChunker().chunk("A man in a suit talks, his face close to the camera.")]
            ['a man', 'a suit', 'his face', 'the camera']
        """
        document = self._language(" ".join(caption.split()))
        _tag(document, self._lexicon)
        spans = sorted(self._matcher(document, as_spans=True), key=lambda span: span.start)
        return [self._chunk(span) for span in spans]

    def _chunk(self, span: Any) -> Chunk:
        words = tuple(token.lower_ for token in span)
        text: str = span.text
        # A sentence's first word; a name (Anna's dog) is in no list and keeps its capital.
        if self._lexicon.knows(words[0]):
            text = text[0].lower() + text[1:]
        return Chunk(text=text, head=words[-1], words=words)


def _tag(document: Any, known: Lexicon) -> None:
    """Sets every token's part of speech, from left to right."""
    before = ""
    for token in document:
        after = document[token.i + 1].lower_ if token.i + 1 < len(document) else ""
        token.pos_ = before = _part_of_speech(token, before, after, known)


def _part_of_speech(token: Any, before: str, after: str, known: Lexicon) -> str:
    word = token.lower_
    if word in ("'s", "’s"):
        is_possessive = before == "NOUN" and not after.endswith("ing") and not known.has("determiner", after)
        return "PART" if is_possessive else "X"
    if token.is_punct or token.is_space or not any(character.isalnum() for character in word):
        return "PUNCT"
    if token.like_num and word != "one":
        return "NUM"
    for name, part in _CLOSED.items():
        if known.has(name, word):
            return part
    if before in _OPENING:
        return _where_a_noun_is_due(word, after, known)
    if before == "NOUN":
        return _after_a_noun(token, known)
    return _anywhere(word, before, known)


def _where_a_noun_is_due(word: str, after: str, known: Lexicon) -> str:
    describes = known.has("adjective", word) or (known.has("verb", word) and word.endswith(("ing", "ed")))
    if describes and (_may_be_a_noun(after, known) or not known.has("noun", word)):
        return "ADJ"
    if known.has("adverb", word) and not known.has("noun", word):
        return "ADJ"  # "a very old man": inside a noun phrase an adverb only describes
    return "NOUN"


def _may_be_a_noun(word: str, known: Lexicon) -> bool:
    """Returns whether a noun phrase may go on with `word`."""
    if not word[:1].isalpha() or any(known.has(name, word) for name in _CLOSED):
        return False
    if known.has("noun", word) or known.has("adjective", word):
        return True
    return not known.has("verb", word) and not known.has("adverb", word)


def _after_a_noun(token: Any, known: Lexicon) -> str:
    word = token.lower_
    if known.has("adverb", word):
        return "ADV"
    if known.has("verb", word):
        # "a toy train" goes on; "a man walks", "a dog running", "a man sails" do not.
        goes_on = known.has("noun", word) and not is_plural(word) and not word.endswith(("ing", "ed"))
        return "NOUN" if goes_on else "VERB"
    if known.has("noun", word):
        return "NOUN"
    if known.has("adjective", word):
        return "ADJ"
    # An unknown word in -s after a singular noun is its verb.
    previous = token.doc[token.i - 1].lower_
    if word.endswith(("ly", "ing")) or (is_plural(word) and not is_plural(previous)):
        return "VERB"
    return "NOUN"


def _anywhere(word: str, before: str, known: Lexicon) -> str:
    if known.has("adverb", word):
        return "ADV"
    if known.has("verb", word) and (before in ("PRON", "AUX", "CCONJ") or not known.has("noun", word)):
        return "VERB"
    if known.has("noun", word):
        # "orange cars": what may be an adjective is one if the noun is still to come, which the matcher finds out.
        return "NOUN"
    return "ADJ" if known.has("adjective", word) else "X"
