"""What somebody may have meant who misspelt an id."""

from __future__ import annotations

import string

_LETTERS = string.ascii_letters + string.digits + "_-"


def one_edit_away(text: str) -> list[str]:
    """Returns the ids that differ from a text in one place: a letter more, less, another, or two exchanged.

    Looking them up is what finds the nearest of ten million ids; comparing it with each would take minutes.

    Example:
        >>> found = one_edit_away("clip-1")
        >>> all(near in found for near in ("clip-12", "clip1", "slip-1", "clpi-1", "CLIP-1"))
        True
    """
    text = text[:200]
    splits = [(text[:place], text[place:]) for place in range(len(text) + 1)]
    found = [text.lower(), text.upper(), text.strip()]
    found += [before + after[1:] for before, after in splits if after]
    found += [before + after[1] + after[0] + after[2:] for before, after in splits if len(after) > 1]
    found += [before + letter + after[1:] for before, after in splits if after for letter in _LETTERS]
    found += [before + letter + after for before, after in splits for letter in _LETTERS]
    return list(dict.fromkeys(found))
