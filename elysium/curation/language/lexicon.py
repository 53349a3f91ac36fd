"""The versioned word lists: which words are of which class, which nouns name no object, which name several."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources

import yaml

# What a word may be, one bit each; many words may be several things.
NOUN, VERB, ADJECTIVE, ADVERB = 1, 2, 4, 8
DETERMINER, NUMERAL, PRONOUN, PREPOSITION, CONJUNCTION, AUXILIARY = 16, 32, 64, 128, 256, 512
DESCRIBING = 1024  # a participle that stands before a noun without a determiner, too
UNKNOWN = 2048  # in no class: the other bits are guessed from its ending
RARELY_NOUN = 4096  # a verb or an adjective first (rain, walk, cold): its noun is one that filters drop
CLOSED = DETERMINER | NUMERAL | PRONOUN | PREPOSITION | CONJUNCTION | AUXILIARY

_BITS = {
    "determiner": DETERMINER,
    "possessive": DETERMINER,
    "numeral": NUMERAL,
    "pronoun": PRONOUN,
    "preposition": PREPOSITION,
    "conjunction": CONJUNCTION,
    "auxiliary": AUXILIARY,
    "adverb": ADVERB,
    "adjective": ADJECTIVE,
    "describing": DESCRIBING | VERB,
    "noun": NOUN,
    "verb": VERB,
}
_NOUN_LISTS = ("plural", "virtual", "places", "mass", "bare")
_ADJECTIVE_ENDINGS = ("ful", "less", "ous", "ish", "ive", "able", "ible", "ic", "ese")
_VOWELS = "aeiou"
_LONGEST_COMPARED = 7  # letters of an adjective with "-er"; longer ones take "more"
_LONGEST_DOUBLED = 4  # letters of an adjective that doubles its last ("bigger")


@dataclass(frozen=True)
class Lexicon:
    """Words by class, lower case.

    Attributes:
        classes: Class name to its words; `verb` holds every regular form of each verb.
        bits: Word to what it may be; what the word lists of the filters hold counts as nouns.
    """

    classes: dict[str, frozenset[str]]
    bits: dict[str, int]

    def knows(self, word: str) -> bool:
        """Returns whether any class has the word; a plural counts as its noun."""
        return not self.look_up(word) & UNKNOWN

    def has(self, name: str, word: str) -> bool:
        """Returns whether the class holds the word; a plural counts as its noun."""
        if word in self.classes[name]:
            return True
        return name == "noun" and is_plural(word) and any(form in self.classes["noun"] for form in _singulars(word))

    def look_up(self, word: str) -> int:
        """Returns what a lower-case word may be, as bits.

        Example:
            >>> known = lexicon()
            >>> known.look_up("dogs") == NOUN, known.look_up("eats") == VERB, known.look_up("blorp") == NOUN | UNKNOWN
            (True, True, True)
        """
        found = self.bits.get(word, 0)
        if is_plural(word):
            for form in _singulars(word):
                found |= self.bits.get(form, 0) & (NOUN | RARELY_NOUN)
        return found or _guess(word, self.bits) | UNKNOWN


@functools.cache
def lexicon() -> Lexicon:
    """Returns the chunker's lexicon."""
    tree = _classes("lexicon.yaml")
    forms = frozenset(form for verb in tree["verb"] for form in _verb_forms(verb))
    degrees = frozenset(form for adjective in tree["adjective"] for form in _degrees(adjective))
    classes = {**tree, "verb": forms, "adjective": tree["adjective"] | degrees}
    bits: dict[str, int] = {}
    for name, bit in _BITS.items():
        for word in classes[name]:
            bits[word] = bits.get(word, 0) | bit
    for name in _NOUN_LISTS:
        for word in words(name):
            bits[word] = bits.get(word, 0) | (RARELY_NOUN if bits.get(word, 0) & ~NOUN else NOUN)
    return Lexicon(classes, bits)


@functools.cache
def determiners() -> dict[str, frozenset[str]]:
    """Returns words that stand before a noun by what they say of its number: the classes of `determiners.yaml`."""
    return _classes("determiners.yaml")


@functools.cache
def words(name: str) -> frozenset[str]:
    """Returns the words of a list: `virtual`, `places`, `mass`, `bare`, `plural`, `singular_s`, `names`, `things`."""
    lines = (line.strip() for line in _read(f"{name}.txt").splitlines())
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


def is_plural(noun: str) -> bool:
    """Returns whether a lower-case noun stands for several things.

    Example:
        >>> [is_plural(noun) for noun in ("dogs", "bus", "grass", "children", "dog")]
        [True, False, False, True, False]
    """
    if noun in words("plural"):
        return True
    return (
        len(noun) > 2
        and noun.endswith("s")
        and not noun.endswith(("ss", "us", "is", "'s", "’s"))
        and noun not in words("singular_s")
    )


def _read(name: str) -> str:
    return (resources.files("elysium.curation.language") / "words" / name).read_text(encoding="utf-8")


def _classes(name: str) -> dict[str, frozenset[str]]:
    # `no`, `on`, `off` and `yes` are words here, which is why the files hold text and not YAML lists.
    tree: dict[str, str] = yaml.safe_load(_read(name))
    return {key: frozenset(text.split()) for key, text in tree.items()}


def _guess(word: str, bits: dict[str, int]) -> int:
    """Returns what a word that no list has may be, by its ending."""
    if "-" in word:
        first, _, rest = word.partition("-")
        last = rest.rpartition("-")[2]
        known = bits.get(last, 0)
        counted = first.isdigit() or bits.get(first, 0) & NUMERAL
        return ADJECTIVE if counted or known & (ADJECTIVE | VERB) or last.endswith(("ed", "ing")) else NOUN
    if word[0].isdigit():
        return ADJECTIVE | NOUN  # 4k, 2nd, 1950s
    if word.endswith("ly"):
        return ADVERB
    if word.endswith(("ing", "ed")) and len(word) > 4:
        return VERB
    return ADJECTIVE if word.endswith(_ADJECTIVE_ENDINGS) and len(word) > 5 else NOUN


def _singulars(plural: str) -> list[str]:
    forms = [plural.removesuffix("s"), plural.removesuffix("es")]
    if plural.endswith("ies"):
        forms.append(plural.removesuffix("ies") + "y")
    if plural.endswith("ves"):
        forms += [plural.removesuffix("ves") + "f", plural.removesuffix("ves") + "fe"]
    return forms


def _degrees(adjective: str) -> set[str]:
    """Returns the comparative and superlative of a short adjective."""
    if len(adjective) > _LONGEST_COMPARED or "-" in adjective or adjective.endswith(("ed", "ing", "er", "est")):
        return set()
    stems = {adjective.removesuffix("e")}
    if adjective.endswith("y"):
        stems = {adjective[:-1] + "i"}
    elif adjective[-1] not in _VOWELS + "wxy" and len(adjective) <= _LONGEST_DOUBLED and adjective[-2:-1] in _VOWELS:
        stems.add(adjective + adjective[-1])
    return {stem + ending for stem in stems for ending in ("er", "est")}


def _verb_forms(verb: str) -> set[str]:
    """Returns the regular forms; where spelling rules differ, both spellings, as a wrong one meets no caption."""
    stems = {verb}
    if verb.endswith("e"):
        stems = {verb.removesuffix("e")}
    elif len(verb) > 2 and verb[-1] not in _VOWELS + "wxy" and verb[-2] in _VOWELS:
        stems.add(verb + verb[-1])
    forms = {verb, verb + "s", *(stem + "ing" for stem in stems), *(stem + "ed" for stem in stems)}
    if verb.endswith(("s", "x", "z", "ch", "sh", "o")):
        forms.add(verb + "es")
    if verb.endswith("y") and verb[-2] not in _VOWELS:
        forms |= {verb[:-1] + "ies", verb[:-1] + "ied"}
    if verb.endswith("ie"):
        forms.add(verb.removesuffix("ie") + "ying")
    return forms
