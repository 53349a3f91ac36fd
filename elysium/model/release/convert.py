"""Checkpoints of the official release, read and written (PROTOCOL §3): other names, other files around, the same bytes.

Nothing is written before every tensor is accounted for. The new folder grows beside its place under a hidden name and
is moved there when it is whole; what a killed run leaves is removed by the next.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from elysium.errors import UsageError
from elysium.model.configuration import ElysiumConfig
from elysium.model.modeling import ElysiumForConditionalGeneration
from elysium.model.processor import ElysiumProcessor
from elysium.model.release.accounting import Account, account_for, common_dtype
from elysium.model.release.new_folder import check_destination, check_space, new_folder
from elysium.model.release.settings import (
    TEXT_FOLDER,
    VISION_FOLDER,
    contradictions,
    find_backbone,
    release_settings,
    release_to_elysium,
    write_release_config,
)
from elysium.model.release.weights_stream import TensorEntry, plan_shards, read_shards, write_shards
from elysium.model.release.words import find_tokenizer, has_tokenizer, load_tokenizer

Progress = Callable[[int, int], None]

# Ours to the release's. Some versions of transformers have a level `vision_model.` in the CLIP tower, some have not.
_PREFIXES = (
    ("vision_tower.vision_model.", "visual_encoder.vision_model."),
    ("vision_tower.", "visual_encoder.vision_model."),
    ("selector.", "adapter."),
    ("projector.", "llm_proj."),
    ("language_model.", "llm."),
)
# Room for configuration, tokenizer and what a file system needs for itself.
_SPARE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Attributes:
        direction: `from release` or `to release`.
        source: The folder that was read.
        destination: The folder that was written.
        files: The weight files written.
        num_tensors: Tensors in them.
        num_bytes: Bytes of these tensors.
        dtypes: Number of tensors of each type, in safetensors' spelling.
        dropped: Tensors left out because they are computed anew wherever they are needed.
        notes: What the person should know about the result.
        seconds: Wall time.
    """

    direction: str
    source: Path
    destination: Path
    files: tuple[str, ...]
    num_tensors: int
    num_bytes: int
    dtypes: dict[str, int]
    dropped: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data for JSON."""
        return {
            **{"direction": self.direction, "source": str(self.source), "destination": str(self.destination)},
            **{"files": list(self.files), "num_tensors": self.num_tensors, "num_bytes": self.num_bytes},
            **{"dtypes": self.dtypes, "dropped": list(self.dropped), "notes": list(self.notes)},
            "seconds": round(self.seconds, 2),
        }


def convert_from_release(
    source: str | Path,
    destination: str | Path,
    *,
    vision_config: str | Path | None = None,
    text_config: str | Path | None = None,
    tokenizer: str | Path | None = None,
    max_shard_bytes: int | None = None,
    progress: Progress | None = None,
) -> Conversion:
    """Makes an Elysium checkpoint, ready for `from_pretrained`, of a checkpoint of the official release.

    Args:
        source: Folder with the release's weights: safetensors or pickles, whole or in shards.
        destination: New folder.
        vision_config: `config.json` of the CLIP tower or a folder with one. By default what lies beside the weights,
            else CLIP-ViT-L/14-336.
        text_config: The same of the language model; by default Vicuna-7B-v1.5.
        tokenizer: Tokenizer file or folder; by default the files beside the weights.
        max_shard_bytes: Largest weight file; by default they are divided as in the source.
        progress: Called with the bytes written so far, and all of them.

    Raises:
        UsageError: If the folders, configurations, tokenizer or files cannot work; nothing is written then.
        CheckpointMismatch: If a tensor is missing, has no place, or is of another shape than the model's.
    """
    started = time.monotonic()
    source, destination = Path(source), Path(destination)
    check_destination(destination)
    shards = read_shards(source)
    settings = release_settings(source)
    _check_kind(shards, "adapter.", "selector.", "no checkpoint of the release but one of Elysium; use --to release")
    shapes = {entry.name: entry.shape for shard in shards for entry in shard}
    vision = find_backbone(VISION_FOLDER, source, settings, _path(vision_config))
    text = find_backbone(TEXT_FOLDER, source, settings, _path(text_config))
    config = release_to_elysium(vision.config, text.config, shapes, settings)
    model = _shape_of(config)
    names = {_release_name(name): name for name in model.state_dict()}
    expected = {_release_name(name): tuple(value.shape) for name, value in model.state_dict().items()}
    account = account_for(source, shards, expected, names, contradictions(vision, text, shapes, settings))
    config.dtype = getattr(torch, common_dtype(source, account))
    config.architectures = [type(model).__name__]
    words, notes = find_tokenizer(source, _path(tokenizer), config)

    def rest(folder: Path) -> None:
        config.save_pretrained(folder)
        model.generation_config.save_pretrained(folder)
        ElysiumProcessor(
            words,
            image_size=config.vision_config.image_size,
            tokens_per_frame=config.tokens_per_frame,
            image_token_id=config.image_token_id,
            bos_after_image=config.bos_after_image,
            coordinate_scale=config.coordinate_scale,
            coordinate_maximum=config.coordinate_maximum,
            max_length=config.max_positions,
        ).save_pretrained(folder)

    files = _write(account, destination, max_shard_bytes, progress, rest)
    return _report("from release", source, destination, account, files, notes, started)


def convert_to_release(
    source: str | Path,
    destination: str | Path,
    *,
    max_shard_bytes: int | None = None,
    progress: Progress | None = None,
) -> Conversion:
    """Makes a checkpoint with the official release's names of an Elysium checkpoint: the way back.

    Args:
        source: Folder of an Elysium checkpoint whose selector is `mixed`, the only one that the release has.
        destination: New folder.
        max_shard_bytes: Largest weight file; by default they are divided as in the source.
        progress: Called with the bytes written so far, and all of them.

    Raises:
        UsageError: If the folders or files cannot work, or the release cannot express the model; nothing is written.
        CheckpointMismatch: If a tensor is missing, has no place, or is of another shape than the model's.
    """
    started = time.monotonic()
    source, destination = Path(source), Path(destination)
    check_destination(destination)
    shards = read_shards(source)
    _check_kind(shards, "selector.", "adapter.", "no checkpoint of Elysium but one of the release; use --from release")
    config = _read_own_config(source)
    state = _shape_of(config).state_dict()
    names = {name: _release_name(name) for name in state}
    account = account_for(source, shards, {name: tuple(value.shape) for name, value in state.items()}, names, [])
    dtype = common_dtype(source, account)
    notes = []
    if not config.bos_after_image:
        notes.append("this model was trained without <s> after each image; the release's code always writes it")
    if config.coordinate_maximum != config.coordinate_scale:
        notes.append(f"this model writes coordinates up to {config.coordinate_maximum}; the release's code up to 100")
    words = load_tokenizer(source) if has_tokenizer(source) else None

    def rest(folder: Path) -> None:
        write_release_config(folder, config, dtype)
        if words is not None:
            words.save_pretrained(folder / TEXT_FOLDER)

    files = _write(account, destination, max_shard_bytes, progress, rest)
    return _report("to release", source, destination, account, files, notes, started)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _release_name(name: str) -> str:
    for ours, theirs in _PREFIXES:
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    # A parameter the release knows nothing of: no file will have it, and the report names it.
    return name


def _shape_of(config: ElysiumConfig) -> ElysiumForConditionalGeneration:
    """Returns the model without memory for its weights: names and shapes as this version of transformers has them."""
    with torch.device("meta"):
        return ElysiumForConditionalGeneration(config)


def _check_kind(shards: Sequence[Sequence[TensorEntry]], wanted: str, other: str, message: str) -> None:
    names = [entry.name for shard in shards for entry in shard]
    if any(name.startswith(other) for name in names) and not any(name.startswith(wanted) for name in names):
        raise UsageError(f"{shards[0][0].file.parent} is {message}")


def _read_own_config(source: Path) -> ElysiumConfig:
    path = source / "config.json"
    if not path.is_file():
        raise UsageError(f"{source} lacks config.json; give the folder of an Elysium checkpoint")
    try:
        config: ElysiumConfig = ElysiumConfig.from_pretrained(source)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no configuration of an Elysium checkpoint: {error}") from None
    if config.selector_type != "mixed":
        raise UsageError(
            f"{source} has the selector {config.selector_type!r}; the release knows only 'mixed', whose parameters "
            "another selector does not have: its code could not compute what this model computes"
        )
    for name, only in (("vision_feature_layer", -2), ("position_ids", "packed"), ("share_visual_tokens", False)):
        value = getattr(config, name)
        if value != only:
            raise UsageError(f"{source} has {name}={value!r}; the release's code only knows {only!r}")
    return config


def _write(
    account: Account,
    destination: Path,
    max_shard_bytes: int | None,
    progress: Progress | None,
    rest: Callable[[Path], None],
) -> tuple[str, ...]:
    """Writes weights and `rest` into the new folder, and returns the names of the weight files."""
    plan = plan_shards(account.shards, max_shard_bytes)
    total, done = sum(entry.size for entry in account.entries), 0

    def count(written: int) -> None:
        nonlocal done
        done += written
        if progress is not None:
            progress(done, total)

    check_space(destination, total + _SPARE_BYTES)
    with new_folder(destination) as folder:
        rest(folder)
        write_shards(folder, plan, count)
    return tuple(name for name, _ in plan)


def _report(
    direction: str,
    source: Path,
    destination: Path,
    account: Account,
    files: tuple[str, ...],
    notes: Sequence[str],
    started: float,
) -> Conversion:
    entries = account.entries
    return Conversion(
        direction=direction,
        source=source,
        destination=destination,
        files=files,
        num_tensors=len(entries),
        num_bytes=sum(entry.size for entry in entries),
        dtypes=dict(sorted(Counter(entry.dtype for entry in entries).items())),
        dropped=tuple(account.dropped),
        notes=tuple(notes),
        seconds=time.monotonic() - started,
    )
