"""The words of a description, as caption metrics count them, without the Java program that they were published with.

METEOR and CIDEr are published on the words that Stanford's PTBTokenizer 3.4.1 makes (`-preserveLines -lowerCase`),
less a list of punctuation marks (pycocoevalcap 1.2). This is that behaviour, found by asking the program, so that a
figure is the same with Java and without. Of markup, program text and rare signs it is an approximation. One thing is
left out on purpose: the program looks past a line's end, so that whether `letter a.` ends in `a` or `a.` depends on how
the next description of the set begins; here it is `a.`, as for a description alone.
"""

from __future__ import annotations

import re
import unicodedata

TOKENISER = "elysium-ptb-1"

# Of pycocoevalcap 1.2. Brackets come in small letters, `-lrb-`, so its list does not catch them: they stay words.
_REMOVED = frozenset(
    ["''", "'", "``", "`", '"', "?", "!", ",", ":", ";", "&quot;", "&apos;", "&nbsp;", "&mdash;", "&ndash;"]
)
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_FRACTIONS = {"½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"}
_MONEY = {"¢": "cents", "£": "#", "¤": "$", "€": "$"}
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">"}
_WRITTEN = _BRACKETS | _FRACTIONS | _MONEY | _ENTITIES

# Abbreviations that keep their full stop, besides single letters and letters with full stops between.
_ABBREVIATIONS = (
    "adj adm adv al ala alex apr ariz assn asst atty aug ave bhd bldg blvd brig bros calif capt cf cie cmdr co col "
    "colo conn corp cos cpl ct dak dec dept det dr drs elec ens esq est etc ext feb fla fri ft ga gen gov govs hon "
    "inc ind insp intl invt jan jos jr jul jun kan kans ky lt ltd maj mar mass md messrs mfg mich minn mlle mme mo "
    "mon mont mr mrs ms msgr mt mtg natl neb nev nov oct okla penn pfc ph plc ppte ppty pres prof pte ptes pty ptys "
    "pvt rd rep reps rev rt sen sens sep sept seq sfc sgt spc sq sr st ste supt sys tel tenn thu thurs tue tues univ "
    "va vs vt wed wis wisc wm wyo"
)
# After one letter and a full stop they begin a new sentence, in capitals.
_STARTERS = (
    "a about according after an as at but he her here however if in it last many more now one other our she since so "
    "some such that the their then there these they this we what when while yet you"
)
_BEFORE_NUMBERS = "ca no op pp art fig nos figs prop"

# Patterns read a shadow of the text, in which é is every letter outside ASCII and § every sign outside it.
_LETTER = "[A-Za-zé]"
_PART = "[A-Za-z0-9é]"
_WORD = rf"{_LETTER}{_PART}*(?:[.!?]{_LETTER}{_PART}*)*"
_NUMBER = r"[-+]?(?:\d*(?:[.:,]\d+)+|\d+)"
_SLASHED = r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2}"
_ACRONYM = r"(?:[A-Za-z](?:\.[A-Za-z])+|(?:ed|ph)\.d)\."
_CLITIC = rf"'(?:[smd]|re|ve|ll)(?!{_LETTER})"
_URL_PATH = r"""[^\s"<>|()]+[^\s"<>|.!?(){},\-]"""
_ATTRIBUTE = r"""[A-Za-z][\w:.\-]*(?:\s*=\s*(?:'[^']*'|"[^"]*"|[\w:.\-]+))?"""
# The longest match wins, of equally long ones the first; what a pattern looks ahead to outside its group counts as
# part of its length, and is read again.
_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?i:(can)not|(gon)na|(got)ta|(wan)na|(gim)me|(lem)me)(?!{_PART}|{_CLITIC})",
        r"(?i:([a-z]+?)n['`]t)",  # do|n't
        r"(?i:n['`]t)",
        rf"(?i:{_CLITIC})",
        rf"({_WORD})(?i:{_CLITIC})",
        _WORD,
        rf"{_PART}+(?:_{_PART}+)*",
        _NUMBER,
        rf"[A-Za-z0-9é][A-Za-z0-9é.,]*(?:-(?:{_ACRONYM}|[A-Za-z0-9é]+))+",
        _SLASHED,
        r"\d{1,4}-\d{1,4}/\d{1,4}",
        rf"(?i:{_ACRONYM})",
        rf"[A-Za-z]\.(?!\s+(?=[A-Z])(?i:{_STARTERS.replace(' ', '|')})(?!{_PART}))",
        rf"(?i:{_ABBREVIATIONS.replace(' ', '|')})\.",
        rf"((?i:{_BEFORE_NUMBERS.replace(' ', '|')})\.)\s*\d",
        r"[A-Z]+(?:(?:[+&]|&amp;)[A-Z]+)+",  # R&B
        r"[A-Z]*\$",
        rf"[A-HJ-XZdlno]'{_LETTER}{{2,}}|[A-Za-z]+[aeiouyAEIOUY]'[aeiouyA-Z][A-Za-z]*",
        r"(?i:o'clock|c'mon|c'est|s'mores|li'l|nat'l|cap'n|e'er|nor'easter|ev'ry|somethin'|ol'|[dlj]')",
        rf"(?i:(y')){_LETTER}",
        rf"(?i:'n'|'n(?!{_LETTER})|'em|'till?|'cause|'[2-9]0s|(?<!{_PART})'\d\d(?!\S)|('t)(?:is|was))",
        rf"(?i:https?://{_URL_PATH})",
        rf"(?i:www\.(?:[^\s\"<>|.!?(){{}},]+\.)+[a-z]{{2,4}}(?:/{_URL_PATH})?)",
        rf"(?i:(?:[^\s\"`'<>|.!?(){{}},\-_$]+\.)+(?:com|net|org|edu)(?:/{_URL_PATH})?)",
        r"""<?[A-Za-z0-9][^\s"<>|()]*@(?:[^\s"<>|().]+\.)*[^\s"<>|().]+>?""",
        rf"@[A-Za-z_]\w*|#{_LETTER}+",
        rf"</?[A-Za-z][\w:.\-]*(?:\s+{_ATTRIBUTE})*\s*/?>|<[!?][A-Za-z-][^>]*>",
        rf"[<>]?[:;=][-o*']?[()DPdp\]\[{{@|\\](?!{_PART})",
        r"[\^x=~<>]\.[\^x=~<>]|[-^x=~<>']_[-^x=~<>']",
        r"&(?:amp|lt|gt|quot|apos|nbsp|mdash|ndash|#\d+);",
        r"(?i:-[lr][crs]b-)",
        r"[!?]+|\.{3,}|-+|\*+|#+|_+|<<|>>|''|``",
        r"\S",
    )
)
# Most words: no pattern makes anything else of them.
_SIMPLE = re.compile(r"(?!(?i:cannot|gonna|gotta|wanna|gimme|lemme)(?![A-Za-z]))[A-Za-z]+(?=,?\s|$)")


def tokenise(text: str) -> list[str]:
    """Returns the words of a description in small letters, without punctuation; brackets are words (`-lrb-`).

    Example:
        >>> tokenise("A man's red T-shirt, isn't it?")
        ['a', 'man', "'s", 'red', 't-shirt', 'is', "n't", 'it']
    """
    text = text.replace("\u00ad", "").replace("’", "'")
    shadow = text if text.isascii() else "".join(map(_shadow, text))
    found: list[str] = []
    place = 0
    while place < len(shadow):
        simple = _SIMPLE.match(shadow, place)
        end = simple.end() if simple else place + 1
        if simple:
            found.append(text[place:end].lower())
        elif shadow[place] > " ":
            end = _longest(shadow, place)
            found += _written(text[place:end].lower(), shadow[place:end].lower())
        place = end
    return found


def _longest(shadow: str, place: int) -> int:
    """Returns where the token that begins at a place ends."""
    best, end = -1, place + 1
    for pattern in _PATTERNS:
        match = pattern.match(shadow, place)
        if match and match.end() > best:
            best, end = match.end(), match.end(match.lastindex or 0)
    return end


def _written(token: str, shadow: str) -> list[str]:
    """Returns what a token is written as: in ASCII signs, in several words, or not at all."""
    if shadow in _REMOVED or not shadow.strip(".") or (not shadow.strip("-") and len(shadow) < 5):
        return []
    if token in _WRITTEN:
        return [_WRITTEN[token]]
    return token.replace("(", "-lrb-").replace(")", "-rrb-").replace("&amp;", "&").split()


def _shadow(letter: str) -> str:
    """Returns the character that stands for a character in the patterns."""
    if letter.isascii():
        return letter
    if letter in "‘‛‹›“”«»":
        return "`"
    kind = unicodedata.category(letter)
    if ord(letter) > 0xFFFF or letter in "–—―…" or kind[0] in "ZC" or "\ufe00" <= letter <= "\ufe0f":
        return " "  # emoji are left out; dashes and ellipses would be removed
    return "é" if kind[0] in "LM" or kind == "Nd" or letter in "\u2010\u2011" else "§"
