"""The tokenizer of a release checkpoint: found, checked against the embedding, given its `<image>`."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from transformers import AutoTokenizer, LlamaTokenizer, PreTrainedTokenizerBase

from elysium.errors import UsageError
from elysium.model.configuration import ElysiumConfig
from elysium.model.release.settings import TEXT_FOLDER
from elysium.prompts import IMAGE_TOKEN

_FILES = (
    *("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "chat_template.jinja"),
)


def has_tokenizer(folder: Path) -> bool:
    """Says whether a folder holds a vocabulary that a tokenizer can be made of."""
    return any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model"))


def find_tokenizer(
    source: Path, given: Path | None, config: ElysiumConfig
) -> tuple[PreTrainedTokenizerBase, tuple[str, ...]]:
    """Returns the tokenizer with `<image>` in it, and sets the placeholder's id in `config`.

    Args:
        source: The release's folder; its `llm/` is looked into as well.
        given: A file or folder that goes before it.
        config: With the language model's vocabulary size, the rows of its embedding.

    Returns:
        The tokenizer, and what the person should know about it.

    Raises:
        UsageError: If there is none, it cannot be read, or it does not fit the embedding.
    """
    places = [given] if given is not None else [source, source / TEXT_FOLDER]
    place = next((place for place in places if place.is_file() or has_tokenizer(place)), None)
    if place is None:
        raise UsageError(
            f"no tokenizer.model or tokenizer.json in {' or '.join(map(str, places))}; the published release has none "
            "of its own: give that of its language model (Vicuna) with --tokenizer"
        )
    tokenizer, rows = load_tokenizer(place), config.text_config.vocab_size
    image = tokenizer.get_vocab().get(IMAGE_TOKEN)
    words = len(tokenizer) - (image is not None and image >= rows)
    if words != rows or (image is not None and image > rows):
        raise UsageError(
            f"the tokenizer in {place} has {words} tokens, the language model's embedding {rows}; give the tokenizer "
            "that the model was trained with (--tokenizer)"
        )
    if image is None:
        tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    config.image_token_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    missing = [name for name in ("bos_token_id", "eos_token_id") if getattr(tokenizer, name) is None]
    if missing:
        raise UsageError(f"the tokenizer in {place} has no {' and no '.join(missing)}, which every conversation needs")
    if tokenizer.pad_token_id is None and tokenizer.unk_token_id is not None:
        # Vicuna's choice; a bare SentencePiece file does not say it.
        tokenizer.pad_token = tokenizer.unk_token
    notes = [
        f"the configuration says {name}={said}, the tokenizer {has}"
        for name in ("bos_token_id", "eos_token_id")
        if (said := getattr(config.text_config, name, None)) != (has := getattr(tokenizer, name))
    ]
    return tokenizer, tuple(notes)


def load_tokenizer(place: Path) -> PreTrainedTokenizerBase:
    """Returns the tokenizer in a file or folder.

    Raises:
        UsageError: If it cannot be read.
    """
    # In a folder of its own: a config.json beside it would be asked which tokenizer to take; the release's misleads.
    with tempfile.TemporaryDirectory(prefix="elysium-tokenizer-") as scratch:
        if place.is_file():
            name = "tokenizer.json" if place.suffix == ".json" else "tokenizer.model"
            shutil.copyfile(place, Path(scratch) / name)
        for name in _FILES if place.is_dir() else ():
            if (place / name).is_file():
                shutil.copyfile(place / name, Path(scratch) / name)
        # A SentencePiece file alone does not say that its words begin with a space; LLaMA's class does.
        described = any((Path(scratch) / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
        kind = AutoTokenizer if described else LlamaTokenizer
        try:
            tokenizer: PreTrainedTokenizerBase = kind.from_pretrained(scratch)
        except Exception as error:  # the libraries raise whatever their parsers raise
            raise UsageError(f"the tokenizer in {place} cannot be read: {error}") from None
    return tokenizer
