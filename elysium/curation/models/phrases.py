"""The text that all phrases of a caption are grounded in, and where in its tokens each phrase stands.

Grounding DINO reads phrases as one text, `a dog. a red car.`, and answers with a score for each of its tokens. Which
tokens are whose is known here from how the text was made, never read back from words: `a man` and `a man in a suit`
have tokens of their own, and the model lets no token attend across a full stop. A full stop or a question mark inside
a phrase (`mr. smith`) would cut it in two, so these are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Tokens = tuple[int, ...]

_DELIMITERS = (".", "?")  # what Grounding DINO separates phrases by, beside [CLS] and [SEP]


@dataclass(frozen=True)
class GroundingText:
    """One text as the model reads it.

    Attributes:
        ids: Tokens, the special ones at both ends included.
        spans: Where each phrase stands, by its tokens: positions `start` to `stop` (exclusive) of `ids`.
    """

    ids: Tokens
    spans: dict[Tokens, tuple[int, int]]


class PhraseTokenizer:
    """Turns phrases into tokens, and tokens into texts that are not too long.

    Attributes:
        padding: Token that fills up the shorter texts of a batch.
    """

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        """Takes a checkpoint's tokenizer.

        Args:
            tokenizer: BERT's, from transformers.
            max_length: Tokens that a text may have, special ones included.
        """
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._stop: int = tokenizer.convert_tokens_to_ids(_DELIMITERS[0])
        self._left_out = {tokenizer.convert_tokens_to_ids(mark) for mark in _DELIMITERS}
        self.padding: int = tokenizer.pad_token_id

    def tokens(self, phrase: str) -> Tokens:
        """Returns a phrase's tokens; none if it has no word that the vocabulary can write.

        A phrase that would fill more than a whole text keeps its first tokens.
        """
        # Lower case is what the model was trained on, and keeps a caption's `[SEP]` from ending the text.
        ids = self._tokenizer(phrase.lower(), add_special_tokens=False, verbose=False)["input_ids"]
        kept = tuple(token for token in ids if token not in self._left_out)
        if all(token == self._tokenizer.unk_token_id for token in kept):
            return ()
        return kept[: self._max_length - 3]

    def texts(self, phrases: Sequence[Tokens]) -> list[GroundingText]:
        """Returns as few texts as hold all phrases in their order, each once; one without tokens is left out."""
        texts: list[GroundingText] = []
        taken: list[Tokens] = []
        length = 2
        for phrase in dict.fromkeys(phrase for phrase in phrases if phrase):
            if length + len(phrase) + 1 > self._max_length:
                texts.append(self._text(taken))
                taken, length = [], 2
            taken.append(phrase)
            length += len(phrase) + 1
        return [*texts, self._text(taken)] if taken else texts

    def _text(self, phrases: Sequence[Tokens]) -> GroundingText:
        ids: list[int] = [self._tokenizer.cls_token_id]
        spans = {}
        for phrase in phrases:
            spans[phrase] = (len(ids), len(ids) + len(phrase))
            ids += [*phrase, self._stop]
        return GroundingText((*ids, self._tokenizer.sep_token_id), spans)
