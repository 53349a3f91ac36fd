"""The list of filters, which of them are asked, and asking them."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from elysium.config import CurateSettings
from elysium.curation.filters import cuts, drift, duplicates, grounding, overlay, pieces, tracks
from elysium.curation.filters.base import Level, Verdict
from elysium.curation.language.filters import CAPTION_FILTERS, CHUNK_FILTERS
from elysium.errors import UsageError

Origin = Literal["the paper's", "ours"]
Judge = Callable[[Any, CurateSettings], Verdict]


@dataclass(frozen=True)
class Filter:
    """One filter.

    Attributes:
        name: As the settings and the verdicts name it.
        level: What it looks at.
        judge: Says of one subject of that level whether it goes on.
        settings: Fields of `CurateSettings` that it reads.
        asks: What must be so for the subject to go on, and what the number is: one sentence for people.
        origin: Who asks it first.
    """

    name: str
    level: Level
    judge: Judge
    settings: tuple[str, ...]
    asks: str
    origin: Origin


def run_filters(level: Level, subject: Any, settings: CurateSettings, *, all_of_them: bool = False) -> list[Verdict]:
    """Returns the verdicts of a level's filters on one subject, in the order of `FILTERS`.

    Args:
        level: Which filters.
        subject: What they look at: the caption, `ChunkSubject`, `PieceSubject`, `FoundSubject` or `TrackSubject`.
        settings: Thresholds, and which filters are asked.
        all_of_them: Goes on after the first filter that says no; else its verdict is the last.

    Raises:
        UsageError: If the settings name a filter that does not exist.
    """
    verdicts = []
    for entry in active_filters(settings.filters):
        if entry.level != level:
            continue
        verdict = entry.judge(subject, settings)
        verdicts.append(verdict)
        if not verdict.passed and not all_of_them:
            break
    return verdicts


def check_filters(settings: CurateSettings) -> None:
    """Raises `UsageError` if the settings name a filter that does not exist, or mix both ways of naming them."""
    active_filters(settings.filters)


@functools.cache
def active_filters(names: tuple[str, ...]) -> tuple[Filter, ...]:
    """Returns the filters that a setting means, in the order of `FILTERS`.

    Args:
        names: Those that are asked; or, all with a minus before them, those of the default that are not.

    Raises:
        UsageError: If there is no such filter, or only some have a minus.

    Example:
        >>> [entry.name for entry in active_filters(("drift", "confidence"))]
        ['confidence', 'drift']
    """
    without = [name for name in names if name.startswith("-")]
    if without and len(without) < len(names):
        raise UsageError(
            f"curate.filters: name the filters that are asked, or with a minus those that are not, got {list(names)}"
        )
    known = {entry.name for entry in FILTERS}
    for name in names:
        if name.removeprefix("-") not in known:
            near = difflib.get_close_matches(name.removeprefix("-"), known, n=1, cutoff=0.0)
            raise UsageError(f"curate.filters: there is no filter {name!r}; did you mean {near[0]!r}?")
    if without:
        default = CurateSettings().filters
        names = tuple(name for name in default if f"-{name}" not in without)
    return tuple(entry for entry in FILTERS if entry.name in names)


def _filter(level: Level, judge: Judge, *settings: str, origin: Origin = "ours", name: str = "") -> Filter:
    asks = " ".join((judge.__doc__ or "").strip().splitlines()[:1])
    return Filter(name or getattr(judge, "__name__", ""), level, judge, settings, asks, origin)


def _of_words(level: Level, table: Mapping[str, Judge]) -> list[Filter]:
    papers, settings = {"plural_word", "virtual_word"}, {"not_english": ("min_english",)}
    return [
        _filter(level, judge, *settings.get(name, ()), name=name, origin="the paper's" if name in papers else "ours")
        for name, judge in table.items()
    ]


_CONFIDENT = "grounding_confidence"

# In the order a candidate meets them. What a filter asks is the first line of its function's description.
FILTERS: tuple[Filter, ...] = (
    *_of_words("caption", CAPTION_FILTERS),
    *_of_words("chunk", CHUNK_FILTERS),
    _filter("piece", pieces.length, "min_frames"),
    _filter("piece", cuts.cut, "max_cut"),
    _filter("piece", cuts.dissolve, "max_mixture"),
    _filter("piece", pieces.motion, "min_motion"),
    _filter("piece", pieces.bars, "max_bars"),
    _filter("piece", overlay.overlay, "max_text", "text_contrast"),
    _filter("first", grounding.vocabulary),
    _filter("first", grounding.first_frame, _CONFIDENT, origin="the paper's"),
    _filter("first", grounding.unique, _CONFIDENT, "unique_in", origin="the paper's"),
    _filter("first", grounding.distinct, _CONFIDENT, "unique_in", "same_object_iou"),
    _filter("later", grounding.middle_frame, _CONFIDENT, origin="the paper's"),
    _filter("later", grounding.last_frame, _CONFIDENT, origin="the paper's"),
    _filter("track", tracks.confidence, "tracking_confidence", origin="the paper's"),
    _filter("track", drift.drift, "max_drift", origin="the paper's"),
    _filter("track", tracks.agreement_middle, _CONFIDENT, "min_iou", origin="the paper's"),
    _filter("track", tracks.agreement_last, _CONFIDENT, "min_iou", origin="the paper's"),
    _filter("track", tracks.agreement, _CONFIDENT, "min_mean_iou", "check_frames"),
    _filter("track", tracks.tiny_box, "min_box_side"),
    _filter("track", tracks.full_box, "max_box_area"),
    _filter("kept", duplicates.one_expression, "same_object_iou"),
)
