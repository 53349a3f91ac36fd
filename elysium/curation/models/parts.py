"""The production parts by name: whether what they need is there, and how each is made from its checkpoint."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elysium.config import CurateSettings
from elysium.errors import ElysiumError, UsageError

if TYPE_CHECKING:
    from elysium.curation.models.command import CommandTracker
    from elysium.curation.models.grounding_dino import GroundingDinoGrounder
    from elysium.curation.models.sam2 import Sam2Tracker

# Setting to the kind of model that it names, as `config.json` calls it, and the class that reads it.
_KINDS = {
    "grounder_model": ("grounding-dino", "GroundingDinoForObjectDetection"),
    "tracker_model": ("sam2_video", "Sam2VideoModel"),
}
_MISSING_SHARE = 0.001  # of the weights; more than that are not an odd buffer but a part of the model


def grounding_dino_grounder(settings: CurateSettings) -> GroundingDinoGrounder:
    """Returns Grounding DINO with the weights that `curate.grounder_model` names.

    Raises:
        UsageError: If packages, weights or the device are missing.
    """
    model, folder = _load("grounder_model", settings.grounder_model)
    from transformers import AutoTokenizer

    from elysium.curation.models.grounding_dino import GroundingDinoGrounder

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"curate.grounder_model: the tokenizer in {folder} cannot be read: {_reason(error)}"
        ) from error
    if tokenizer.convert_tokens_to_ids(".") == tokenizer.unk_token_id:  # transformers made an empty one up
        raise UsageError(
            f"curate.grounder_model: {folder} holds no tokenizer (tokenizer.json, vocab.txt); "
            "fetch the whole checkpoint (hf download)"
        )
    return GroundingDinoGrounder(model, tokenizer, settings)


def sam2_tracker(settings: CurateSettings) -> Sam2Tracker:
    """Returns SAM 2 with the weights that `curate.tracker_model` names.

    Raises:
        UsageError: If packages, weights or the device are missing.
    """
    model, _ = _load("tracker_model", settings.tracker_model)
    from elysium.curation.models.sam2 import Sam2Tracker

    return Sam2Tracker(model, settings)


def command_tracker(settings: CurateSettings) -> CommandTracker:
    """Returns the tracker behind `curate.tracker_command`.

    Raises:
        UsageError: If there is no command, it lacks a placeholder, or its program is not installed.
    """
    from elysium.curation.models.command import CommandTracker

    return CommandTracker(settings.tracker_command, settings.tracker_timeout)


def check_models(settings: CurateSettings) -> None:
    """Checks, without loading any weights, that the parts of this package that the settings name can be made.

    A model of the hub that is not here yet is not asked for; offline (`HF_HUB_OFFLINE=1`) it is an error.

    Raises:
        UsageError: If a package, a checkpoint or a program is missing, or a checkpoint is of another kind.
    """
    if settings.grounder == "grounding-dino":
        _check_checkpoint("grounder_model", settings.grounder_model)
    if settings.tracker == "sam2":
        _check_checkpoint("tracker_model", settings.tracker_model)
    if settings.tracker == "command":
        command_tracker(settings)


def _check_checkpoint(setting: str, name: str) -> None:
    _check_packages(setting, name)
    from huggingface_hub import constants, try_to_load_from_cache

    folder = Path(name).expanduser()
    if folder.is_dir():
        _check_kind(setting, folder)
        return
    repository, _, revision = name.partition("@")
    try:
        cached = try_to_load_from_cache(repository, "config.json", revision=revision or None)
    except ValueError as error:
        raise _not_found(setting, name, error) from error
    if isinstance(cached, str):
        _check_kind(setting, Path(cached).parent)
    elif constants.HF_HUB_OFFLINE:
        raise _not_found(setting, name, "it is not in the cache, and HF_HUB_OFFLINE forbids to fetch it")


def _load(setting: str, name: str) -> tuple[Any, Path]:
    """Returns the model that a setting names, and the folder of its checkpoint."""
    _check_packages(setting, name)
    import transformers

    from elysium.inference.checkpoints import find_checkpoint

    try:
        folder = find_checkpoint(name, Path())
    except ElysiumError as error:
        raise _not_found(setting, name, error) from error
    _check_kind(setting, folder)
    transformers.utils.logging.disable_progress_bar()  # of loading weights, which would stay in a log for ever
    kind = getattr(transformers, _KINDS[setting][1])
    try:
        model, found = kind.from_pretrained(folder, output_loading_info=True, use_safetensors=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"curate.{setting}: the checkpoint in {folder} cannot be read: {_reason(error)}") from error
    weights = model.state_dict()
    absent = sorted(found["missing_keys"])
    if sum(weights[key].numel() for key in absent if key in weights) > _MISSING_SHARE * model.num_parameters():
        raise UsageError(
            f"curate.{setting}: the checkpoint in {folder} lacks {len(absent)} weights of a {_KINDS[setting][0]} "
            f"model, {absent[0]} first; fetch it again (hf download), or name a complete one"
        )
    return model, folder


def _check_packages(setting: str, name: str) -> None:
    absent = [package for package in ("torch", "transformers", "safetensors") if find_spec(package) is None]
    if absent:
        raise UsageError(
            f"curate.{setting}: {name} needs {', '.join(absent)}, which is not installed; "
            "install the extra `train` (pip install 'elysium[train]')"
        )


def _check_kind(setting: str, folder: Path) -> None:
    """Raises `UsageError` if a checkpoint's configuration is not that of the model that the setting stands for."""
    wanted = _KINDS[setting][0]
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(
            f"curate.{setting}: {folder} is no checkpoint, its config.json cannot be read: {_reason(error)}"
        ) from error
    if kind != wanted:
        raise UsageError(
            f"curate.{setting}: {folder} holds a model of type {kind!r}, not {wanted!r}; "
            f"name one like {CurateSettings.model_fields[setting].default}"
        )


def _not_found(setting: str, name: str, reason: Exception | str) -> UsageError:
    return UsageError(
        f"curate.{setting}: there are no weights {name!r}: {_reason(reason)}. Give the folder of a checkpoint, or the "
        f"name of one on the Hugging Face hub, fetched beforehand with `hf download {name.partition('@')[0]}` where "
        "there is no network (and HF_HUB_OFFLINE=1)"
    )


def _reason(error: Exception | str) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
