"""Which parts work on a clip: names from the settings to implementations, and the clip's own annotations first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from elysium.config import CurateSettings
from elysium.curation.protocols import Chunker, Grounder, Tracker
from elysium.data.records import RawClip
from elysium.errors import UsageError

# Name to `module:factory`, imported when used. A factory takes the settings; what it returns serves every clip.
CHUNKERS: dict[str, str] = {
    "spacy": "elysium.curation.language.spacy_model:spacy_chunker",
    "spacy-rules": "elysium.curation.language.chunking:rules_chunker",
}
GROUNDERS: dict[str, str] = {"opencv": "elysium.curation.grounding:opencv_grounder"}
TRACKERS: dict[str, str] = {"csrt": "elysium.curation.tracking:csrt_tracker"}
# Parts that need more than their code: name to what raises `UsageError` if it is not there, before work starts.
CHECKS: dict[str, str] = {"spacy": "elysium.curation.language.spacy_model:check_model"}
_OUTSIDE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")  # a factory of the user's own


@dataclass(frozen=True)
class Parts:
    """The implementations that work on one clip."""

    chunker: Chunker
    grounder: Grounder
    tracker: Tracker


class PartsShelf:
    """The parts that the settings name, each made when it is first needed and kept.

    Attributes:
        settings: Names chunker, grounder and tracker.
    """

    def __init__(self, settings: CurateSettings) -> None:
        self.settings = settings
        self._made: dict[str, Any] = {}

    @property
    def chunker(self) -> Chunker:
        """The chunker."""
        chunker: Chunker = self._part("chunker", self.settings.chunker, CHUNKERS)
        return chunker

    @property
    def grounder(self) -> Grounder:
        """The grounder of clips without annotations."""
        grounder: Grounder = self._part("grounder", self.settings.grounder, GROUNDERS)
        return grounder

    @property
    def tracker(self) -> Tracker:
        """The tracker of clips without annotations."""
        tracker: Tracker = self._part("tracker", self.settings.tracker, TRACKERS)
        return tracker

    def parts_for(self, clip: RawClip, folder: Path) -> Parts:
        """Returns the parts for a clip: those that the settings name, but the oracle where the clip is annotated.

        Args:
            clip: The clip.
            folder: What the clip's paths are relative to.

        Raises:
            UsageError: If a name is not registered; the message lists the names.
            ElysiumError: If the clip's annotations cannot be read.
        """
        if clip.annotations is None:
            return Parts(self.chunker, self.grounder, self.tracker)
        from elysium.curation.oracle import AnnotationsGrounder, AnnotationsTracker, read_annotations

        annotations = read_annotations(clip, folder)
        return Parts(self.chunker, AnnotationsGrounder(annotations), AnnotationsTracker(annotations))

    def _part(self, kind: str, name: str, table: Mapping[str, str]) -> Any:
        if kind not in self._made:
            module, _, function = _reference(kind, name, table).partition(":")
            self._made[kind] = getattr(_imported(module, kind, name), function)(self.settings)
        return self._made[kind]


def check_names(settings: CurateSettings) -> None:
    """Raises `UsageError` if the settings name a part that does not exist or lacks what it needs; imports no part."""
    for kind, name, table in (
        ("chunker", settings.chunker, CHUNKERS),
        ("grounder", settings.grounder, GROUNDERS),
        ("tracker", settings.tracker, TRACKERS),
    ):
        _reference(kind, name, table)
        if name in table and name in CHECKS:
            module, _, function = CHECKS[name].partition(":")
            getattr(import_module(module), function)(settings)


def _reference(kind: str, name: str, table: Mapping[str, str]) -> str:
    if name in table:
        return table[name]
    if _OUTSIDE.fullmatch(name):
        return name
    raise UsageError(
        f"curate.{kind}: there is no {kind} {name!r}; the {kind}s are {', '.join(sorted(table))}, "
        "or `module:factory` for one of your own"
    )


def _imported(module: str, kind: str, name: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise UsageError(f"curate.{kind}: {name!r} needs the module {error.name}, which is not installed") from error
