"""The nano tokenizer: a few hundred whole words, one token a coordinate, bytes for all else.

The vocabulary is computed from the project's own prompts and the simulator's words; nothing is trained or downloaded.
Any text survives encoding and decoding.
"""

from __future__ import annotations

import re

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from elysium.data.vocabulary import words
from elysium.prompts import IMAGE_TOKEN, PHRASINGS, SYSTEM_TEXT

PAD, BOS, EOS = "<pad>", "<s>", "</s>"
_LARGEST_NUMBER = 100
# Words and numbers with the space before them, the punctuation of box text as it stands there, single characters.
_PIECES = r": \[| ?[A-Za-z]+| ?\d{1,3}|\],|\]\.|, |\s|."
_MORE_WORDS = (
    "a an the and in on of to is are man woman person people boy girl face suit bow tie car van street bicycle cyclist "
    "helmet rabbit meadow talks rides wakes walks stands moving grey brown pink"
)


def build_tokenizer(max_length: int) -> PreTrainedTokenizerFast:
    """Returns the nano tokenizer, always the same one.

    Args:
        max_length: Longest sequence that the model takes, in tokens.

    Example:
        >>> tokenizer = build_tokenizer(64)
        >>> tokenizer.tokenize("Frame 1: [23,45,46,72],")
        ['Frame', 'Ġ1', ':Ġ[', '23', ',', '45', ',', '46', ',', '72', '],']
    """
    special = [PAD, BOS, EOS, IMAGE_TOKEN]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [piece for piece in _known_pieces() if piece not in alphabet]
    vocabulary = {token: number for number, token in enumerate([*special, *alphabet, *pieces])}
    # Without merges, a piece is one token where the vocabulary has it whole, and its bytes where it has not.
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        additional_special_tokens=[IMAGE_TOKEN],
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )


def _known_pieces() -> list[str]:
    """Returns every piece of more than one character that gets a token of its own, in the ByteLevel alphabet."""
    texts = [SYSTEM_TEXT, "USER: Frame 1: ASSISTANT:", *(text for texts in PHRASINGS.values() for text in texts)]
    found = {word for text in texts for word in re.findall(r"[A-Za-z]+", text)}
    found |= {part for word in words() for part in re.findall(r"[A-Za-z]+", word)} | set(_MORE_WORDS.split())
    numbers = {str(number) for number in range(_LARGEST_NUMBER + 1)}
    plain = {*found, *numbers}
    pieces = plain | {" " + piece for piece in plain} | {": [", "],", "].", ", "}
    return sorted(piece.replace(" ", "Ġ") for piece in pieces)
