"""The filters of words (PROTOCOL §6): can a caption be read, and does a noun chunk name one thing to find.

A description keeps its whole chunk, as the paper's do: also "his dog" and "the man's dog" stand as they are, because
the head noun says what to look for and the rest tells it from others. The filters look at the head noun and at the
words that count it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from itertools import pairwise

from elysium.config import CurateSettings
from elysium.curation.filters.base import ChunkSubject, Verdict
from elysium.curation.language.english import english_share, num_words
from elysium.curation.language.lexicon import UNKNOWN, VERB, determiners, is_plural, lexicon, words
from elysium.curation.protocols import Chunk

_NOTIONS = ("ness", "ity", "ism", "hood", "tion", "sion")
_OWNERS_ENDINGS = frozenset({"'s", "’s", "'", "’"})
_ARTICLES = frozenset({"a", "an", "the", "this", "that"})


def _empty(caption: str, settings: CurateSettings) -> Verdict:
    """The caption has a word of letters."""
    count = num_words(caption)
    return Verdict("empty", count > 0, "" if count else "empty", count, 1)


def _not_english(caption: str, settings: CurateSettings) -> Verdict:
    """Enough of the caption's words are English."""
    share = round(english_share(caption), 4)
    passed = share >= settings.min_english
    return Verdict("not_english", passed, "" if passed else "not_english", share, settings.min_english)


def _negated(subject: ChunkSubject, settings: CurateSettings) -> Verdict:
    """No word says that there is none, or none in particular ("no dog", "any car", "whose hat")."""
    kinds = determiners()
    return _allows_none("negated", [word for word in subject.chunk.words if word in kinds["negative"] | kinds["open"]])


def _plural_word(subject: ChunkSubject, settings: CurateSettings) -> Verdict:
    """Neither the head noun nor a word that counts it stands for several things."""
    return _allows_none("plural_word", _plural_words(subject.chunk))


def _virtual_word(subject: ChunkSubject, settings: CurateSettings) -> Verdict:
    """The head noun is none of what cannot be seen as a thing: times, events, feelings, words about the video."""
    head = subject.chunk.head
    may_be = lexicon().look_up(head)
    # "a celebration", "the training": no list can be complete, but endings tell; the lexicon has the exceptions.
    notion = head.endswith(_NOTIONS) or (head.endswith("ing") and bool(may_be & VERB))
    is_virtual = head in words("virtual") or (notion and head not in _concrete())
    return _allows_none("virtual_word", [head] if is_virtual and not _is_thing(subject.chunk) else [])


def _place_word(subject: ChunkSubject, settings: CurateSettings) -> Verdict:
    """The head noun is no place, ground or landscape."""
    return _listed("place_word", "places", subject.chunk)


def _mass_word(subject: ChunkSubject, settings: CurateSettings) -> Verdict:
    """The head noun is no substance, unless a serving or a piece of it is counted ("a coffee")."""
    counted = _own_words(subject.chunk)[0] in determiners()["singular"]
    return _allows_none("mass_word", []) if counted else _listed("mass_word", "mass", subject.chunk)


def _bare_word(subject: ChunkSubject, settings: CurateSettings) -> Verdict:
    """The head noun has an article or the like where its number cannot be seen otherwise ("the deer")."""
    kinds, chunk = determiners(), subject.chunk
    owned = len(_own_words(chunk)) < len(chunk.words)
    determined = owned or chunk.words[0] in kinds["singular"] | kinds["definite"]
    return _allows_none("bare_word", []) if determined else _listed("bare_word", "bare", chunk)


def _proper_name(subject: ChunkSubject, settings: CurateSettings) -> Verdict:
    """The head noun is no proper name ("Anna", "Times Square"); one behind an article is some thing's ("a Ferrari")."""
    chunk = subject.chunk
    kinds = determiners()
    if chunk.words[0] in kinds["singular"] | kinds["definite"]:
        # "the Eiffel Tower" says what it is, "the Thames" does not.
        return _allows_none("proper_name", [chunk.head] if chunk.head in words("names") else [])
    last = chunk.text.split()[-1]
    named = chunk.head in words("names") or (last[:1].isupper() and not last.isupper()) or _unknown_capitals(last)
    return _allows_none("proper_name", [chunk.head] if named else [])


def _repeated(subject: ChunkSubject, settings: CurateSettings) -> Verdict:
    """No earlier chunk of the caption has the same words: "a dog … the dog" is one dog, asked for once."""
    same = _core(subject.chunk)
    return _allows_none("repeated", [subject.chunk.head for chunk in subject.before if _core(chunk) == same])


# By name, in the order in which they are asked.
CAPTION_FILTERS: dict[str, Callable[[str, CurateSettings], Verdict]] = {"empty": _empty, "not_english": _not_english}
CHUNK_FILTERS: dict[str, Callable[[ChunkSubject, CurateSettings], Verdict]] = {
    "negated": _negated,
    "plural_word": _plural_word,
    "virtual_word": _virtual_word,
    "place_word": _place_word,
    "mass_word": _mass_word,
    "bare_word": _bare_word,
    "proper_name": _proper_name,
    "repeated": _repeated,
}


def _allows_none(name: str, found: Sequence[str]) -> Verdict:
    """Returns the verdict of a filter that allows no such word: 1, held against 0, if there is one."""
    return Verdict(name, not found, name if found else "", int(bool(found)), 0, " ".join(found))


@functools.cache
def _concrete() -> frozenset[str]:
    """Returns the nouns that are no notions, whatever their ending (a television, a city)."""
    return lexicon().classes["noun"] | words("places") | words("mass") | words("bare") | words("plural")


def _listed(name: str, list_name: str, chunk: Chunk) -> Verdict:
    found = chunk.head in words(list_name) and not _is_thing(chunk)
    return _allows_none(name, [chunk.head] if found else [])


def _is_thing(chunk: Chunk) -> bool:
    """Returns whether the last two words name a thing that the last one alone does not ("traffic light")."""
    return "_".join(chunk.words[-2:]) in words("things")


def _plural_words(chunk: Chunk) -> list[str]:
    kinds = determiners()
    own, head = _own_words(chunk), chunk.head
    if own[0] in kinds["singular"]:
        # "a few dogs", "a dozen eggs"; but "a three legged dog", "a walrus", "a fish".
        counted = [word for word in own[1:-1] if word in kinds["plural"]]
        several = head in words("plural") or (is_plural(head) and not lexicon().look_up(head) & UNKNOWN)
        return counted or ([head] if several and not _is_thing(chunk) else [])
    counted = [word for word, after in pairwise(own) if _counts(word, after)]
    return counted + ([head] if is_plural(head) and not _is_thing(chunk) else [])


def _counts(word: str, after: str) -> bool:
    """Returns whether a word in front of a noun says that there are several."""
    kinds = determiners()
    if word in kinds["plural"]:
        return True
    numeral = word in lexicon().classes["numeral"] or (word.isdigit() and word != "1")
    return numeral and after not in kinds["measure"]


def _unknown_capitals(word: str) -> bool:
    """Returns whether a word all in capitals is in no list (NASA; but TV)."""
    return len(word) > 1 and word.isupper() and bool(lexicon().look_up(word.lower()) & UNKNOWN)


def _own_words(chunk: Chunk) -> tuple[str, ...]:
    """Returns the words that belong to the head noun and not to an owner: of "two boys' dog", "dog"."""
    for i in range(len(chunk.words) - 2, 0, -1):
        if chunk.words[i] in _OWNERS_ENDINGS:
            return chunk.words[i + 1 :]
    return chunk.words


def _core(chunk: Chunk) -> tuple[str, ...]:
    return chunk.words[1:] if chunk.words[0] in _ARTICLES and len(chunk.words) > 1 else chunk.words
