"""spaCy keeps every word that it ever met; over millions of captions that would not end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_CAPTIONS = 10_000  # between two times of forgetting; a zone of its own for each caption would double the time


class Forgetting:
    """Reads texts with a part of a spaCy pipeline, and has it forget the words it met every 10,000 texts.

    Args:
        language: The pipeline, in whose memory zone texts are read.
        read: Its tokenizer, or the pipeline itself.
    """

    def __init__(self, language: Any, read: Callable[[str], Any]) -> None:
        self._language = language
        self._read = read
        self._zone: Any = None
        self._num_texts = 0

    def __call__(self, text: str) -> Any:
        """Returns the document, which is good until the next text is read."""
        if self._num_texts % _CAPTIONS == 0:
            if self._zone is not None:
                self._zone.__exit__(None, None, None)
            self._zone = self._language.memory_zone()
            self._zone.__enter__()
        self._num_texts += 1
        return self._read(text)
