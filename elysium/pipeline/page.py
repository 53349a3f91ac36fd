"""A published page made whole in one file, for places that show a file and not the folder around it."""

from __future__ import annotations

import base64
import mimetypes
import re
from collections.abc import Callable

Read = Callable[[str], bytes | None]

_LINK = re.compile(r"<a\b[^>]*?\bhref=\"(?P<target>[^\"]*)\"[^>]*>(?P<text>.*?)</a>", re.DOTALL | re.IGNORECASE)
_SOURCE = re.compile(r"(?P<before>\b(?:src|poster)=\")(?P<target>[^\"]*)\"", re.IGNORECASE)
_ELSEWHERE = ("#", "data:", "http://", "https://", "mailto:")


def self_contained(html: str, read: Read, place: str) -> str:
    """Returns a page's HTML with its pictures and clips inside, and its links to files beside it as plain text.

    Args:
        html: The page.
        read: Returns a file beside it by its relative name, None if it is not there.
        place: Where the files are, for people.

    Returns:
        HTML that refers to no file. A link to one becomes its text and the file's path, a picture that is not there
        stays as it is.
    """
    html = _SOURCE.sub(lambda found: _inline(found, read), html)
    return _LINK.sub(lambda found: _plain(found, place), html)


def _inline(found: re.Match[str], read: Read) -> str:
    content = None if found["target"].startswith(_ELSEWHERE) else read(found["target"])
    if content is None:
        return found[0]
    kind = mimetypes.guess_type(found["target"])[0] or "application/octet-stream"
    return f'{found["before"]}data:{kind};base64,{base64.b64encode(content).decode()}"'


def _plain(found: re.Match[str], place: str) -> str:
    if found["target"].startswith(_ELSEWHERE):
        return found[0]
    return f"{found['text']} (<code>{place}/{found['target']}</code>)"
