"""Parts of speech by rules: what each word of a caption is, from what it may be, the word before and those after it.

Tags are few, as only noun chunks are wanted: `D` determiner or possessive, `M` numeral, `A` what describes the noun to
come, `N` noun, `'` the possessive ending, `,` and `&` what may join adjectives, `P` preposition, `V` verb, `X`
auxiliary, `O` pronoun or what else a verb may follow, `.` everything else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from elysium.curation.language.lexicon import (
    ADJECTIVE,
    ADVERB,
    AUXILIARY,
    CLOSED,
    CONJUNCTION,
    DESCRIBING,
    DETERMINER,
    NOUN,
    NUMERAL,
    PREPOSITION,
    PRONOUN,
    RARELY_NOUN,
    UNKNOWN,
    VERB,
    Lexicon,
    determiners,
    is_plural,
)
from elysium.curation.language.lexicon import words as word_list

_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*%?")
_OPENING = frozenset("DMA'")  # after one of these a noun is due
_JOINS = frozenset({",", "and", "or", "&"})
_DESCRIBES_AFTER_DETERMINER = frozenset({"round", "opposite", "past", "near", "nearby", "inside", "outside", "next"})
_ADVERBIAL_PAIRS = frozenset({("next", "door"), ("close", "up"), ("each", "other"), ("one", "another")})
_IN_PREPOSITIONS = frozenset({"front", "top", "back", "spite", "case", "addition", "order"})
_EXTENT = frozenset({"old", "tall", "long", "wide", "high", "deep", "large"})  # "a 50 year old man"
_PARTICIPLE = ("ing", "ed", "en", "wn")
# Base forms that end like a participle, and nouns that are one with a verb.
_NO_PARTICIPLES = re.compile(
    r"([a-z]?[a-z]?[rwk]|st|sl|cl|fl)ing|\w*eed|(b|sl|sh|w|shr|r)ed|chicken|cr?own|clown|yawn|fr?own|drown|[lpdf]awn|[dgt]own"
)
_PLACED_BEFORE_TO = frozenset({"next", "close", "up", "down", "back", "on", "near", "due"})


def tag(words: Sequence[str], known: Lexicon) -> list[str]:
    """Returns the tag of each word.

    Args:
        words: The caption's words and punctuation marks, lower case.
        known: What words may be.

    Example:
        >>> from elysium.curation.language.lexicon import lexicon
        >>> "".join(tag("the orange cat eats an orange".split(), lexicon()))
        'DANVDN'
    """
    return _Sentence(words, known).tags()


class _Sentence:
    """One caption while it is tagged."""

    def __init__(self, words: Sequence[str], known: Lexicon) -> None:
        # Three marks at the end, so that the word after the next one can always be asked for.
        self.words = [*words, ".", ".", "."]
        self.may_be = [known.look_up(word) if word[0].isalnum() else 0 for word in self.words]
        self.compounds = known.classes["compound"]
        self.finite_verb = False  # one in -s was seen
        self.subjects_joined = False  # an "and" was seen, and no verb since the sentence began

    def tags(self) -> list[str]:
        found: list[str] = []
        before = "."
        for i, word in enumerate(self.words[:-3]):
            before = self._tag(i, word, before)
            if before == "V" and word.endswith("s"):
                self.finite_verb = True
            if before == "&":
                self.subjects_joined = not any(kind in "VX" for kind in found)
            elif before in "VX" or word == ".":
                self.subjects_joined = False
            found.append(before)
        return found

    def _tag(self, i: int, word: str, before: str) -> str:
        if not word[0].isalnum():
            return self._mark(i, word, before)
        if (word, self.words[i + 1]) in _ADVERBIAL_PAIRS or ((self.words[i - 1], word) in _ADVERBIAL_PAIRS and i):
            return "."
        if _NUMBER.fullmatch(word):
            return "M"
        if self.may_be[i] & CLOSED:
            closed = self._closed(i, word, before)
            if closed:
                return closed
        if before in _OPENING:
            return self._where_a_noun_is_due(i, word)
        if before == "N":
            return self._after_a_noun(i, word)
        return self._anywhere(i, word, before)

    def _mark(self, i: int, word: str, before: str) -> str:
        if word in ("'s", "’s"):
            after = self.words[i + 1]
            verb = after.endswith("ing") and not self.may_be[i + 1] & (NOUN | ADJECTIVE | DESCRIBING)
            return "'" if before == "N" and self._goes_on(i + 1) and not verb and not self._running(i + 1) else "."
        if word in ("'", "’") and before == "N" and self.words[i - 1].endswith("s") and self._goes_on(i + 1):
            return "'"
        if word == "n't":
            return "X"
        return {",": ",", "&": "&"}.get(word, ".")

    def _running(self, i: int) -> bool:
        """Returns whether word `i` is a participle with its own complement ("the dog's running over a toy")."""
        return self.words[i].endswith("ing") and bool(self.may_be[i] & VERB) and not self._goes_on(i + 1)

    def _closed(self, i: int, word: str, before: str) -> str:
        """Returns the tag of a word of a closed class, or nothing where it is used as another one."""
        may_be = self.may_be[i]
        if before in _OPENING:
            if word == "can":
                return "N"
            if word in _DESCRIBES_AFTER_DETERMINER and self._goes_on(i + 1):
                return "A"
        if may_be & DETERMINER:
            return self._determiner(i, word, before)
        if may_be & NUMERAL:
            return "M"
        if may_be & PRONOUN:
            return "O"
        if may_be & PREPOSITION:
            return "P"
        if may_be & CONJUNCTION:
            return "&" if word in _JOINS else "C"
        return "X" if may_be & AUXILIARY else ""

    def _determiner(self, i: int, word: str, before: str) -> str:
        if word == "that" and before == "N":
            return "O"
        if word in ("that", "this", "these", "those", "her", "one"):
            numeral = self.may_be[i + 1] & NUMERAL or _NUMBER.fullmatch(self.words[i + 1])
            very_old = self.may_be[i + 1] & ADVERB and self._goes_on(i + 2)
            return "D" if self._goes_on(i + 1) or numeral or very_old else "O"
        return "D"

    def _goes_on(self, i: int) -> bool:
        """Returns whether a noun phrase may go on with word `i`."""
        may_be = self.may_be[i]
        if not may_be or (may_be & CLOSED and not may_be & NOUN):
            return False
        if may_be & (NOUN | ADJECTIVE):
            return True
        if may_be & RARELY_NOUN:
            return not (may_be & VERB and is_plural(self.words[i]))  # "in orange waits"
        after = self.may_be[i + 1]
        if may_be & DESCRIBING:
            return bool(after & (NOUN | ADJECTIVE)) and not after & ADVERB
        return bool(may_be & VERB) and _is_participle(self.words[i]) and bool(after & NOUN)

    def _joined(self, i: int) -> bool:
        """Returns whether an adjective at `i` is joined to another in front of the same noun ("orange and white")."""
        return self.words[i + 1] in _JOINS and bool(self.may_be[i + 2] & ADJECTIVE) and self._goes_on(i + 3)

    def _where_a_noun_is_due(self, i: int, word: str) -> str:
        may_be, after = self.may_be[i], self.words[i + 1]
        if word in determiners()["measure"] and after in _EXTENT:
            return "A"
        ahead = not self._goes_on(i + 2) and not self.may_be[i + 2] & VERB
        if may_be & NOUN and self.subjects_joined and self.may_be[i + 1] & VERB and ahead:
            return "N"  # "a ring and a square move across a wall"
        participle = may_be & VERB and _is_participle(word)
        if may_be & ADJECTIVE or participle:
            if self._goes_on(i + 1) or self._joined(i):
                return "A"
            if may_be & (NOUN | RARELY_NOUN):
                return "N"
            return "A" if may_be & ADJECTIVE or not word.endswith("ing") else "N"
        if may_be & ADVERB and not may_be & NOUN:
            return "A"  # "a very old man": inside a noun phrase an adverb only describes
        return "N"

    def _after_a_noun(self, i: int, word: str) -> str:
        may_be, after = self.may_be[i], self.may_be[i + 1]
        if f"{self.words[i - 1]}_{word}" in word_list("things"):
            return "N"
        if may_be & UNKNOWN:
            return self._unknown_after_a_noun(i, word)
        if may_be & ADVERB and not may_be & NOUN:
            return "."
        several = is_plural(self.words[i - 1])
        if not may_be & VERB:
            if may_be & (NOUN | RARELY_NOUN):
                return "N"
            return "A" if may_be & ADJECTIVE else "."
        if not may_be & NOUN:
            return "V"
        if word.endswith("ing") and _is_participle(word):
            return "V" if after & DETERMINER or word in ("painting", "drawing", "fishing") else "N"
        if word.endswith("ed") and _is_participle(word):
            return "V"
        if is_plural(word):
            # "a man sails", but "rain drops falling" and "car lights are".
            followed = (self.words[i + 1].endswith("ing") and after & VERB) or after & AUXILIARY
            return "N" if followed and not several else "V"
        # "a tennis ball", but "kids fish", "the men box", "a boy and a girl slide over the ice".
        joined = self.subjects_joined and not self._goes_on(i + 1)
        return "V" if several or joined or after & DETERMINER else "N"

    def _unknown_after_a_noun(self, i: int, word: str) -> str:
        may_be = self.may_be[i]
        if may_be & ADVERB:
            return "."
        # An unknown word in -s after a singular noun is its verb.
        if may_be & VERB or (is_plural(word) and not is_plural(self.words[i - 1])):
            return "V"
        return "A" if may_be & ADJECTIVE and not may_be & NOUN else "N"

    def _anywhere(self, i: int, word: str, before: str) -> str:
        may_be = self.may_be[i]
        if may_be & UNKNOWN and (len(word) == 1 or not _is_latin(word)):
            return "."
        if word in _IN_PREPOSITIONS and before == "P" and self.words[i + 1] == "of":
            return "."  # "in front of"
        describes = may_be & (NOUN | ADJECTIVE) and self._goes_on(i + 1) and before != "V"
        if may_be & ADVERB and not describes and (not may_be & NOUN or before in "VXO"):
            return "."
        if word[0].isdigit():
            return "A" if self._goes_on(i + 1) else "N"  # 4k footage, 2nd floor
        if may_be & VERB:
            return self._maybe_verb(i, word, before)
        if may_be & ADJECTIVE:
            if self._goes_on(i + 1) or (self._joined(i) and before != "X"):
                return "A"
            if self.words[i - 1] == "in" and (_may_be_worn(word) or not may_be & (NOUN | RARELY_NOUN)):
                return "O"  # "a man in orange waits"
            # "the car is red"; but "at night"
            is_noun = may_be & NOUN or (may_be & RARELY_NOUN and before == "P")
            return "N" if is_noun and before != "X" else "."
        return "N" if may_be & (NOUN | RARELY_NOUN) else "."

    def _maybe_verb(self, i: int, word: str, before: str) -> str:
        may_be, after = self.may_be[i], self.may_be[i + 1]
        if _is_participle(word):
            return self._participle(i, word, before)
        if may_be & ADJECTIVE and before not in "XO" and self._goes_on(i + 1) and not after & DETERMINER:
            return "A"
        if before in "XO":
            return "V"
        if not may_be & NOUN:
            if before == "V" and may_be & RARELY_NOUN and is_plural(word):
                return "N"  # "doing tricks"
            if self._to(i) or after & (DETERMINER | PRONOUN):
                return "V"
            if before == "P" and after & NOUN:
                return "A"  # "at rush hour"
            return "N" if may_be & RARELY_NOUN and before in "P." else "V"
        if after & DETERMINER and before in ".,&CV":
            return "V"
        if self._to(i):
            return "V"
        if before in "&C,":
            return "V" if is_plural(word) and self.finite_verb else "N"
        return "N"

    def _to(self, i: int) -> bool:
        """Returns whether word `i` is an infinitive ("how to fish", but "next to water")."""
        return i > 0 and self.words[i - 1] == "to" and (i < 2 or self.words[i - 2] not in _PLACED_BEFORE_TO)

    def _participle(self, i: int, word: str, before: str) -> str:
        may_be, goes_on = self.may_be[i], self._goes_on(i + 1)
        if f"{word}_{self.words[i + 1]}" in self.compounds:
            return "A"
        if before in "XO":
            return "V"
        if may_be & NOUN and word.endswith("ing"):
            return "V" if self.may_be[i + 1] & DETERMINER or (word == "painting" and goes_on) else "N"
        if may_be & (DESCRIBING | ADJECTIVE) and goes_on:
            return "A"
        if not word.endswith("ing") and goes_on and before in "P.,V":
            return "A"  # "grilled chicken", "with crossed arms"
        return "V"


def _may_be_worn(word: str) -> bool:
    """Returns whether "in" with this word says what someone wears ("a man in orange")."""
    return word in ("orange", "gold", "silver", "violet", "rose", "olive", "turquoise", "beige", "ivory", "pink")


def _is_participle(word: str) -> bool:
    return word.endswith(_PARTICIPLE) and not _NO_PARTICIPLES.fullmatch(word)


def _is_latin(word: str) -> bool:
    return all(ord(character) < 0x250 for character in word)
