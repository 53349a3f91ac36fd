"""Whether a description names an object of the right class: its head noun, found by a few rules and no tagger.

The head noun is the last word before the first one that cannot belong to the noun's own phrase. Those words are listed
or told by their ending and by what stands beside them, so unusual sentences can be read wrongly, in either direction;
the figure serves to compare models on the same records.
"""

from __future__ import annotations

import re
import unicodedata

from elysium.evaluation.captions.descriptions import plain_words
from elysium.evaluation.captions.phrase_words import (
    ADJECTIVES,
    AMOUNTS,
    BOUNDARIES,
    DETERMINERS,
    IRREGULAR,
    NO_ADVERBS,
    NO_PARTICIPLES,
    PAST,
    PLACES,
    TRANSITIVE,
)

_FRAME = re.compile(
    r"^\s*(?:(?:there|here|it|this|that|these|those|he|she)(?:\s+is|\s+are|'s)"
    r"|(?:(?:a|an|the|this)\s+)?(?:video|image|picture|photo|frame|clip|scene|view|close-up)\s+(?:shows|showing|of)"
    r"|(?:the\s+)?(?:object|target|answer)\s+is)\b[\s:]*",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)|[;\n(\[]")
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*['’]?|,")


def head_noun_match(predicted: str, object_class: str) -> bool:
    """Returns whether the head noun of a description is the object's class.

    Only the first sentence counts, without openings such as "there is" or "a photo of". A class of several words must
    be there whole, with blanks, hyphens or neither between ("traffic light", "surfboard"). One and many are the same
    ("dogs", "dog"), and a possessive is not its noun ("the car's wheel" is a wheel). Synonyms are not the class.

    Args:
        predicted: The description; an empty one never matches.
        object_class: A noun, or a noun of several words.

    Raises:
        ValueError: If the class holds no word.

    Example:
        >>> head_noun_match("a man riding a horse", "man"), head_noun_match("a man riding a horse", "horse")
        (True, False)
    """
    words = [word for word in plain_words(object_class) if word not in DETERMINERS]
    if not words:
        raise ValueError(f"an object class with a word in it is needed, got {object_class!r}")
    wanted = _singular("".join(words))
    text = predicted.strip().strip("\"'“”‘’`")
    return any(_names(start, wanted) for start in {text, _FRAME.sub("", text)})


def _names(text: str, wanted: str) -> bool:
    sentence = next((part for part in _SENTENCE_END.split(text) if part.strip()), "")
    words = [word.replace("’", "'").casefold() for word in _WORD.findall(unicodedata.normalize("NFKC", sentence))]
    phrase = _noun_phrase(words, wanted)
    while len(phrase) > 1 and not _ends_in(phrase, wanted) and (phrase[-1] in PLACES or phrase[-1].isdigit()):
        phrase.pop()
    return _ends_in(phrase, wanted)


def _noun_phrase(words: list[str], wanted: str) -> list[str]:
    """Returns the words of the first noun phrase; its last one is the head noun."""
    phrase: list[str] = []
    for place, word in enumerate(words):
        following = words[place + 1] if place + 1 < len(words) else None
        if word == "of" and phrase and phrase[-1] in AMOUNTS and not _ends_in(phrase, wanted):
            phrase = []
        elif word in (",", "and", "or"):
            if not phrase or phrase[-1] not in ADJECTIVES or following in DETERMINERS:
                break
        elif not _ends_in([*phrase, word], wanted) and (word in BOUNDARIES or _participle(phrase, word, following)):
            break
        elif not word.endswith("ly") or word in NO_ADVERBS or _ends_in([word], wanted):
            phrase.append(word)
    return phrase


def _participle(phrase: list[str], word: str, following: str | None) -> bool:
    """Returns whether a word says what the phrase before it does, or what is done to it."""
    ing, past = word.endswith("ing"), word in PAST or (word.endswith("ed") and len(word) > 4)
    if not (ing or past) or word in NO_PARTICIPLES:
        return False
    if all(before in DETERMINERS or before in ADJECTIVES for before in phrase):
        return ing and following in DETERMINERS
    return (
        word in TRANSITIVE
        or following is None
        or following in (",", "and", "or")
        or following in BOUNDARIES | DETERMINERS | PLACES
        or following.endswith("ly")
    )


def _ends_in(phrase: list[str], wanted: str) -> bool:
    """Returns whether the last words of a phrase are the class, however they are joined."""
    joined = ""
    for word in reversed(phrase):
        joined = word.replace("-", "") + joined
        if _singular(joined) == wanted:
            return True
    return False


def _singular(noun: str) -> str:
    """Returns one of what a noun says, by its ending.

    Example:
        >>> [_singular(noun) for noun in ("dogs", "glass", "buses", "firemen", "ladies", "bus")]
        ['dog', 'glass', 'bus', 'fireman', 'lady', 'bus']
    """
    for many, one in IRREGULAR.items():
        if noun.endswith(many):
            return noun[: -len(many)] + one
    if noun.endswith("ies") and len(noun) > 4:
        return noun[:-3] + "y"
    if noun.endswith(("ches", "shes", "sses", "xes", "zes")):
        return noun[:-2]
    if noun.endswith("s") and not noun.endswith(("ss", "us", "is")):
        return noun[:-1]
    return noun
