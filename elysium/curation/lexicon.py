"""The versioned word lists: which words are of which class, which nouns name no object, which name several."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources

import yaml

_VOWELS = "aeiou"


@dataclass(frozen=True)
class Lexicon:
    """Words by class, lower case.

    Attributes:
        classes: Class name to its words; `verb` holds every regular form of each verb.
    """

    classes: dict[str, frozenset[str]]

    def knows(self, word: str) -> bool:
        """Returns whether any class has the word."""
        return any(self.has(name, word) for name in self.classes)

    def has(self, name: str, word: str) -> bool:
        """Returns whether the class holds the word; a plural counts as its noun."""
        if word in self.classes[name]:
            return True
        return name == "noun" and is_plural(word) and any(form in self.classes["noun"] for form in _singulars(word))


@functools.cache
def lexicon() -> Lexicon:
    """Returns the chunker's lexicon."""
    tree: dict[str, str] = yaml.safe_load(_read("lexicon.yaml"))
    # `no`, `on`, `off` and `yes` are words here, which is why the file holds text and not YAML lists.
    classes = {name: frozenset(text.split()) for name, text in tree.items()}
    forms = frozenset(form for verb in classes["verb"] for form in _verb_forms(verb))
    return Lexicon({**classes, "verb": forms})


@functools.cache
def words(name: str) -> frozenset[str]:
    """Returns the words of a list: `virtual`, `plural` or `singular_s`."""
    lines = (line.strip() for line in _read(f"{name}.txt").splitlines())
    return frozenset(line for line in lines if line and not line.startswith("#"))


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
        and not noun.endswith(("ss", "us", "is"))
        and noun not in words("singular_s")
    )


def _read(name: str) -> str:
    return (resources.files("elysium.curation") / "words" / name).read_text(encoding="utf-8")


def _singulars(plural: str) -> list[str]:
    forms = [plural.removesuffix("s"), plural.removesuffix("es")]
    if plural.endswith("ies"):
        forms.append(plural.removesuffix("ies") + "y")
    if plural.endswith("ves"):
        forms += [plural.removesuffix("ves") + "f", plural.removesuffix("ves") + "fe"]
    return forms


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
