"""Whether a caption is English, told by its words alone: no model, and short captions count, too.

The lexicon knows most words of everyday English captions and few of any other language. Words that are spelled alike in
several languages say nothing and are left out, as are names.
"""

from __future__ import annotations

import re

from elysium.curation.language.lexicon import UNKNOWN, lexicon, words

_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
# Of words that no list has; French and German share most others.
_ENGLISH_ENDINGS = ("ing", "ness", "ful", "less", "ly", "ship", "ght", "ough", "shed", "ched", "wn", "cked", "ies")
_FOREIGN_WEIGHT = 2  # words that an unknown word counts for that is a common one of another language
_AFTER_LATIN = 0x250  # the first letter of other scripts
_TITLE_SHARE = 0.8  # of the words, from which capitals are the caption's style and not those of names
_SHORT = 2  # letters; IMG, MP4 and the like have more, but single letters are no words


def english_share(caption: str) -> float:
    """Returns the share of the caption's words that are English, in (0, 1].

    One more English word is counted than there is, so that a caption of one unknown word (a rare animal, say) is given
    the benefit of the doubt, and one of several unknown words is not.

    Example:
        >>> english_share("red car"), english_share("Perro corriendo en la playa")
        (1.0, 0.2)
    """
    known = num_told = 0
    found = _WORD.findall(caption)
    titled = sum(word[0].isupper() for word in found) > _TITLE_SHARE * len(found)
    for number, word in enumerate(found):
        lower = word.lower()
        name = number and word[0].isupper() and not titled
        if name or lower in words("shared"):
            continue
        english = is_english(lower)
        known += english
        num_told += 1 if english or not _is_foreign(lower) else _FOREIGN_WEIGHT
    return (known + 1) / (num_told + 1)


def is_english(word: str) -> bool:
    """Returns whether a lower-case word is taken for an English one."""
    if (not word.isascii() and "’" not in word) or word in words("foreign"):
        return False
    known = lexicon()
    if not known.look_up(word) & UNKNOWN or word.endswith(_ENGLISH_ENDINGS):
        return True
    parts = re.split(r"['’-]", word)
    return len(parts) > 1 and not known.look_up(parts[0]) & UNKNOWN


def _is_foreign(word: str) -> bool:
    """Returns whether a word speaks for another language, not only for none that is known."""
    return word in words("foreign") or any(ord(character) >= _AFTER_LATIN for character in word)


def num_words(caption: str) -> int:
    """Returns how many words of at least two letters the caption has, "a" and "I" left out.

    Example:
        >>> num_words("A dog."), num_words("00:12 / 4"), num_words("犬")
        (1, 0, 1)
    """
    return sum(len(word) >= _SHORT or not word.isascii() for word in _WORD.findall(caption))
