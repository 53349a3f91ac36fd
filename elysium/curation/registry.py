"""Which parts work on a clip: names from the settings to implementations, and the clip's own annotations first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from elysium.config import CurateSettings
from elysium.curation.protocols import Chunker, Grounder, Tracker
from elysium.errors import UsageError

# Name to `module:factory`, imported when used. A factory takes the settings; what it returns serves every clip.
CHUNKERS: dict[str, str] = {
    "spacy": "elysium.curation.language.spacy_model:spacy_chunker",
    "spacy-rules": "elysium.curation.language.chunking:rules_chunker",
}
GROUNDERS: dict[str, str] = {
    "grounding-dino": "elysium.curation.models.parts:grounding_dino_grounder",
    "opencv": "elysium.curation.grounding:opencv_grounder",
}
TRACKERS: dict[str, str] = {
    "command": "elysium.curation.models.parts:command_tracker",
    "csrt": "elysium.curation.tracking:csrt_tracker",
    "sam2": "elysium.curation.models.parts:sam2_tracker",
}
# Parts that need more than their code: name to what raises `UsageError` if it is not there, before work starts.
CHECKS: dict[str, str] = {
    "spacy": "elysium.curation.language.spacy_model:check_model",
    **dict.fromkeys(("command", "grounding-dino", "sam2"), "elysium.curation.models.parts:check_models"),
}
_OUTSIDE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")  # a factory of the user's own


class PartsShelf:
    """The parts that the settings name, each made when it is first needed and kept.

    Attributes:
        settings: Names chunker, grounder and tracker.
    """

    def __init__(self, settings: CurateSettings) -> None:
        """Makes nothing yet, but holds OpenCV to one thread: with more, the last bits of what it finds differ."""
        import cv2

        cv2.setNumThreads(1)
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

    def make_all(self) -> None:
        """Makes every part, so that what is missing is told before work starts.

        Raises:
            UsageError: If a part does not exist, or cannot be made.
        """
        _ = self.chunker, self.grounder, self.tracker

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
