"""Which parts work on a clip: names from the settings to implementations, and the clip's own annotations first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from elysium.config import CurateSettings
from elysium.curation.protocols import Chunker, Grounder, Tracker
from elysium.data.records import RawClip
from elysium.errors import UsageError

# Name to `module:factory`, imported when used. A factory takes the clip and the folder that its paths are relative
# to, and may keep what it loaded for the next clip.
CHUNKERS: dict[str, str] = {"spacy-rules": "elysium.curation.chunking:rules_chunker"}
GROUNDERS: dict[str, str] = {
    "opencv": "elysium.curation.grounding:opencv_grounder",
    "annotations": "elysium.curation.oracle:annotations_grounder",
}
TRACKERS: dict[str, str] = {
    "csrt": "elysium.curation.tracking:csrt_tracker",
    "annotations": "elysium.curation.oracle:annotations_tracker",
}


@dataclass(frozen=True)
class Parts:
    """The implementations that work on one clip."""

    chunker: Chunker
    grounder: Grounder
    tracker: Tracker


def parts_for(clip: RawClip, folder: Path, settings: CurateSettings) -> Parts:
    """Returns the parts for a clip: those that the settings name, but the oracle where the clip is annotated.

    Args:
        clip: The clip.
        folder: What the clip's paths are relative to.
        settings: Names chunker, grounder and tracker.

    Raises:
        UsageError: If a name is not registered; the message lists the names.
        ElysiumError: If the clip's annotations cannot be read.
    """
    grounder, tracker = settings.grounder, settings.tracker
    if clip.annotations is not None:
        grounder = tracker = "annotations"
    return Parts(
        chunker=_factory("chunker", settings.chunker, CHUNKERS)(clip, folder),
        grounder=_factory("grounder", grounder, GROUNDERS)(clip, folder),
        tracker=_factory("tracker", tracker, TRACKERS)(clip, folder),
    )


def check_names(settings: CurateSettings) -> None:
    """Raises `UsageError` if the settings name a part that does not exist; imports nothing."""
    for kind, name, table in (
        ("chunker", settings.chunker, CHUNKERS),
        ("grounder", settings.grounder, GROUNDERS),
        ("tracker", settings.tracker, TRACKERS),
    ):
        _reference(kind, name, table)


def _reference(kind: str, name: str, table: Mapping[str, str]) -> str:
    if name not in table:
        raise UsageError(f"curate.{kind}: there is no {kind} {name!r}; the {kind}s are {', '.join(sorted(table))}")
    return table[name]


def _factory(kind: str, name: str, table: Mapping[str, str]) -> Callable[[RawClip, Path], Any]:
    module, _, function = _reference(kind, name, table).partition(":")
    factory: Callable[[RawClip, Path], Any] = getattr(import_module(module), function)
    return factory
