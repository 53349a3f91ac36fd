"""The tick-box page: tracks one after the other, judged by mouse or keyboard; served here, or as one file elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from elysium.curation.dataset.pages import as_json, asset, facts, render
from elysium.curation.dataset.reviews import Judged, Review, content_of
from elysium.curation.dataset.strips import draw_strip, strip_times
from elysium.data.records import TrackRecord

_FRAMES, _WIDTH, _COLUMNS = 8, 300, 4

# Verdict, its words on the page and the key that gives it beside its number.
CHOICES = (
    ("right", "Right", "r"),
    ("wrong_box", "Wrong box", "b"),
    ("wrong_expression", "Wrong expression", "e"),
    ("not_unique", "Not unique", "n"),
    ("unsure", "Unsure", "u"),
)


def picture(record: TrackRecord, root: Path) -> bytes:
    """Returns what the page shows of a track: eight frames in two rows, as WebP."""
    return draw_strip(record, root, frames=_FRAMES, width=_WIDTH, columns=_COLUMNS)


def review_page(
    records: Sequence[TrackRecord],
    title: str,
    address: Callable[[int], str],
    *,
    judged: Judged | None = None,
    reviewer: str = "",
    token: str = "",
) -> str:
    """Returns the page.

    Args:
        records: What is to be checked, in this order.
        title: Of the data set.
        address: Of the picture of each record.
        judged: What was said so far; None shows nothing of it.
        reviewer: Name that the page starts with.
        token: That the requests of a served page carry; empty for a page that is a file, and keeps its answers.
    """
    verdicts = judged.verdicts if judged is not None else {}
    entries = [_entry(record, address(number), verdicts.get(record.id)) for number, record in enumerate(records)]
    # In the browser's own store, answers about one set of tracks do not meet those about another.
    shown = "".join(f"{entry['id']} {entry['content']}\n" for entry in entries)
    key = hashlib.blake2b(shown.encode(), digest_size=8).hexdigest()
    data = {"served": bool(token), "title": title, "token": token, "key": key}
    return render(
        "review.html.j2",
        title=title,
        style=asset("sheet.css") + asset("review.css"),
        script=asset("review.js"),
        reviewer=reviewer,
        choices=CHOICES,
        count=len(records),
        served=bool(token),
        nonce=token,
        data=as_json({**data, "records": entries}),
    )


def _entry(record: TrackRecord, source: str, review: Review | None) -> dict[str, Any]:
    content = content_of(record)
    current = review is not None and review.content == content
    return {
        **facts(record),
        "picture": source,
        "content": content,
        "times": [f"{time:.2f}" for time in strip_times(record, _FRAMES)],
        "verdict": review.verdict if review is not None and current else None,
        "by": review.reviewer if review is not None and current else None,
    }
