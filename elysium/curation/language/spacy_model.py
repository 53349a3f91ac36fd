"""The production chunker: noun chunks of a trained spaCy pipeline, as the paper's."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from elysium.config import CurateSettings
from elysium.curation.language.memory import Forgetting
from elysium.curation.language.spelling import chunk_of, plain_case
from elysium.curation.protocols import Chunk
from elysium.errors import UsageError

# What noun chunks do not need; without, captions are read about a third faster.
_NOT_NEEDED = ["ner", "lemmatizer", "textcat", "entity_linker", "entity_ruler"]
_PROBE = "A man walks his dog."


def spacy_chunker(settings: CurateSettings) -> SpacyChunker:
    """Returns the chunker with the pipeline that `curate.spacy_model` names.

    Raises:
        UsageError: If it is not installed, cannot be loaded or finds no noun chunks.
    """
    check_model(settings)
    import spacy

    name = settings.spacy_model
    try:
        language = spacy.load(name, exclude=_NOT_NEEDED)
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(f"curate.spacy_model: {name!r} cannot be loaded: {str(error).splitlines()[0]}") from error
    document = language(_PROBE)
    missing = [part for part, mark in (("a tagger", "POS"), ("a parser", "DEP")) if not document.has_annotation(mark)]
    if language.lang != "en" or missing:
        problem = f"has no {' and no '.join(part[2:] for part in missing)}" if missing else f"is for {language.lang!r}"
        raise UsageError(
            f"curate.spacy_model: {name!r} {problem}; noun chunks need an English pipeline with tagger and parser"
        )
    return SpacyChunker(language)


def check_model(settings: CurateSettings) -> None:
    """Raises `UsageError`, with the remedy, if the pipeline that the settings name is not there; imports nothing."""
    name = settings.spacy_model
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.cfg").is_file():
            raise UsageError(f"curate.spacy_model: the folder {name!r} holds no config.cfg, so it is no spaCy pipeline")
    elif not name.isidentifier() or find_spec(name) is None:
        model = name if name.isidentifier() else "en_core_web_sm"
        raise UsageError(
            f"curate.spacy_model: the spaCy pipeline {name!r} is not installed and no folder; install one with "
            f"`python -m spacy download {model}`, name the folder of one, or set curate.chunker=spacy-rules"
        )


class SpacyChunker:
    """Finds noun chunks by a dependency parse: each from its first word to its head noun.

    Args:
        language: A pipeline that sets parts of speech and dependencies.
    """

    def __init__(self, language: Any) -> None:
        self._read = Forgetting(language, language)

    def chunk(self, caption: str) -> list[Chunk]:
        """Returns the noun chunks of `caption` in its order; pronouns ("it", "who") are none."""
        text = plain_case(caption)
        found = []
        for span in self._read(text).noun_chunks:
            if span.root.pos_ == "PRON":
                continue
            tokens = [token for token in span if token.i <= span.root.i]
            while tokens[0].is_punct or tokens[0].is_space:
                tokens.pop(0)
            end = tokens[-1].idx + len(tokens[-1])
            found.append(chunk_of(text, tokens[0].idx, end, [token.lower_ for token in tokens]))
        return found
