"""A new model from settings, from pre-trained backbones, or from a checkpoint to go on from."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_MAPPING,
    AutoConfig,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from elysium.checkpoints import checkpoint_folder
from elysium.config import LlmSettings, ModelSettings, VisionSettings
from elysium.errors import UsageError
from elysium.model.configuration import ElysiumConfig
from elysium.model.modeling import ElysiumForConditionalGeneration
from elysium.model.processor import ElysiumProcessor, check_tokenizer
from elysium.model.tokenizer import build_tokenizer
from elysium.prompts import IMAGE_TOKEN

# Mean and standard deviation of the three channels on the scale [0, 1], as the backbones' authors publish them.
NORMALISATION = {
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "siglip": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
# As large as the patch embeddings at their start.
_POSITION_SCALE = 0.4
# Pairs of sine and cosine in a coordinate's code, from a quarter of a wave over the frame to four waves.
_NUMBER_WAVES = 16


def build_model(settings: ModelSettings, seed: int) -> tuple[ElysiumForConditionalGeneration, ElysiumProcessor]:
    """Returns a model and its processor: new weights, pre-trained backbones, or the checkpoint that the settings name.

    Args:
        settings: Backbones and what joins them, or `init_from`.
        seed: Of the random weights; the caller's random state is left as it was.

    Raises:
        UsageError: If `init_from` is no checkpoint folder, weights cannot be loaded, or sizes contradict them.
    """
    if settings.init_from is not None:
        model, processor = load_checkpoint(checkpoint_folder(settings.init_from))
        _check_checkpoint(settings, model.config)
        return model, processor
    tokenizer, image_token = _tokenizer(settings.llm)
    config = model_config(settings, len(tokenizer), image_token)
    config.text_config.update(
        {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    )
    _check_vocabulary(tokenizer, config.text_config.vocab_size, image_token)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower = _pretrained(settings.vision.weights, config.vision_config, MODEL_MAPPING)
        llm = _pretrained(settings.llm.weights, config.text_config, MODEL_FOR_CAUSAL_LM_MAPPING)
        model = ElysiumForConditionalGeneration(config, tower, llm)
        if tower is None:
            _show_positions(model)
        if llm is None and settings.llm.tokenizer is None:
            _show_numbers(model, tokenizer, settings.coordinate_maximum)
    return model, _processor(settings, config, tokenizer, image_token)


def model_config(settings: ModelSettings, vocab_size: int | None = None, image_token_id: int = 0) -> ElysiumConfig:
    """Returns the configuration that settings describe; with weights named, theirs.

    Args:
        settings: Of the model.
        vocab_size: Rows of the embedding where the settings do not say.
        image_token_id: Of the placeholder.

    Raises:
        UsageError: If a key is unknown to the architecture, or sizes contradict the weights.
    """
    try:
        return ElysiumConfig(
            vision_config=_backbone_config(settings.vision, "vision"),
            text_config=_backbone_config(settings.llm, "llm", vocab_size),
            selector_type=settings.selector,
            num_visual_tokens=settings.num_visual_tokens,
            share_visual_tokens=settings.share_visual_tokens,
            position_ids=settings.position_ids,
            vision_feature_layer=settings.vision.feature_layer,
            image_token_id=image_token_id,
            coordinate_scale=settings.coordinate_scale,
            coordinate_maximum=settings.coordinate_maximum,
        )
    except ValueError as error:
        raise UsageError(f"model: {error}") from error


def load_checkpoint(
    folder: str | Path, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> tuple[ElysiumForConditionalGeneration, ElysiumProcessor]:
    """Returns the model and processor of a checkpoint folder, ready for inference.

    Args:
        folder: The checkpoint.
        dtype: Of the weights and of all that is computed with them; None keeps the stored one.
        device: Where the model is put.

    Raises:
        UsageError: If the folder does not hold one.
    """
    path = Path(folder)
    missing = [name for name in ("config.json", "model.safetensors") if not (path / name).is_file()]
    if missing and not (path / "model.safetensors.index.json").is_file():
        raise UsageError(f"{path} is no checkpoint: it lacks {', '.join(missing)}")
    try:
        model = ElysiumForConditionalGeneration.from_pretrained(path, dtype=dtype or "auto")
        processor = ElysiumProcessor.from_pretrained(path)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
    _check_vocabulary(processor.tokenizer, model.config.text_config.vocab_size, model.config.image_token_id)
    return model.to(device).eval(), processor


def described_config(settings: ModelSettings) -> ElysiumConfig:
    """Returns the configuration that the settings' sizes describe, without looking at the weights they name.

    Raises:
        UsageError: As `model_config`, or if there is a tokenizer to be asked but no `vocab_size`.
    """
    bare = {"weights": None}
    offline = settings.model_copy(
        update={"vision": settings.vision.model_copy(update=bare), "llm": settings.llm.model_copy(update=bare)}
    )
    if settings.llm.vocab_size is not None:
        return model_config(offline)
    tokenizer, image_token = _tokenizer(settings.llm)
    return model_config(offline, len(tokenizer), image_token)


def described_processor(settings: ModelSettings) -> ElysiumProcessor:
    """Returns the processor of the model that the settings describe, if its tokenizer is on this machine.

    Raises:
        UsageError: As `described_config`, or if the tokenizer would have to be downloaded.
    """
    tokenizer, image_token = _tokenizer(settings.llm, local=True)
    return _processor(settings, described_config(settings), tokenizer, image_token)


def _processor(
    settings: ModelSettings, config: ElysiumConfig, tokenizer: PreTrainedTokenizerBase, image_token: int
) -> ElysiumProcessor:
    mean, std = NORMALISATION[settings.vision.normalisation]
    return ElysiumProcessor(
        tokenizer,
        image_size=config.image_size,
        tokens_per_frame=config.tokens_per_frame,
        image_token_id=image_token,
        coordinate_scale=settings.coordinate_scale,
        coordinate_maximum=settings.coordinate_maximum,
        image_mean=mean,
        image_std=std,
        max_length=config.max_positions,
    )


def _backbone_config(
    settings: VisionSettings | LlmSettings, section: str, vocab_size: int | None = None
) -> PreTrainedConfig:
    sizes = settings.model_dump(
        exclude={"weights", "tokenizer", "model_type", "feature_layer", "normalisation", "config"}, exclude_none=True
    )
    if settings.weights is not None:
        return _check_sizes(_weights_config(settings.weights, section), settings, sizes, section)
    if settings.model_type not in CONFIG_MAPPING:
        raise UsageError(
            f"model.{section}.model_type: transformers knows no architecture {settings.model_type!r}"
            + _nearest(settings.model_type, list(CONFIG_MAPPING))
        )
    values = {"intermediate_size": 4 * settings.hidden_size, **sizes}
    if isinstance(settings, LlmSettings):
        values.setdefault("num_key_value_heads", settings.num_attention_heads)
        values.setdefault("vocab_size", vocab_size)
    kind = CONFIG_MAPPING[settings.model_type]
    known = set(kind().to_dict())
    for name in settings.config:
        if name not in known:
            raise UsageError(
                f"model.{section}.config: {settings.model_type} has no setting {name!r}{_nearest(name, sorted(known))}"
            )
    if "image_size" not in known and "num_patches" in known:
        values["num_patches"] = (values["image_size"] // values["patch_size"]) ** 2
    # DINOv2 has a ratio for the width between; its default is the same four times.
    config: PreTrainedConfig = kind(
        **{name: value for name, value in values.items() if name in known}, **settings.config
    )
    return config


def _weights_config(weights: str, section: str) -> PreTrainedConfig:
    try:
        found: PreTrainedConfig = AutoConfig.from_pretrained(weights)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"model.{section}.weights: {weights} cannot be loaded: {str(error).splitlines()[0]}; give a folder with "
            "config.json and safetensors, or the id of a model on a hub that can be reached"
        ) from error
    return getattr(found, "vision_config", found) if section == "vision" else found


def _check_sizes(
    config: PreTrainedConfig, settings: VisionSettings | LlmSettings, sizes: dict[str, Any], section: str
) -> PreTrainedConfig:
    stated = {name: value for name, value in sizes.items() if name in settings.model_fields_set}
    if "model_type" in settings.model_fields_set:
        stated["model_type"] = settings.model_type
    for name, value in stated.items():
        found = getattr(config, name, value)
        if found != value:
            raise UsageError(
                f"model.{section}.{name} is {value!r}, but {settings.weights} has {found!r}; correct the setting or "
                "leave it out"
            )
    return config


def _check_checkpoint(settings: ModelSettings, config: ElysiumConfig) -> None:
    """Checks that what the settings say of the backbones is what the checkpoint has."""
    for section, stated, found in (
        ("vision", settings.vision, config.vision_config),
        ("llm", settings.llm, config.text_config),
    ):
        for name in sorted(
            stated.model_fields_set & stated.model_dump(exclude={"weights", "tokenizer", "config"}).keys()
        ):
            value, has = getattr(stated, name), getattr(found, name, None)
            if has is not None and value not in (None, has):
                raise UsageError(
                    f"model.{section}.{name} is {value!r}, but the checkpoint {settings.init_from} has {has!r}; leave "
                    "the setting out, or set model.init_from=null to begin with a new model"
                )


def _pretrained(weights: str | None, config: PreTrainedConfig, mapping: Any) -> nn.Module | None:
    if weights is None:
        return None
    try:
        loaded: nn.Module = mapping[type(config)].from_pretrained(weights, config=config, use_safetensors=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"{weights} cannot be loaded: {str(error).splitlines()[0]}") from error
    if Path(weights).exists():
        # A folder of this machine means nothing where the checkpoint goes; a hub's name does.
        config._name_or_path = ""
    return loaded


def _tokenizer(settings: LlmSettings, *, local: bool = False) -> tuple[PreTrainedTokenizerBase, int]:
    """Returns the tokenizer, with the placeholder added where it has none, and the placeholder's id."""
    source = settings.tokenizer or settings.weights
    if source is None:
        tokenizer: PreTrainedTokenizerBase = build_tokenizer(settings.max_position_embeddings)
        return tokenizer, int(tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=local)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the tokenizer {source} cannot be loaded: {str(error).splitlines()[0]}; give model.llm.tokenizer a folder"
        ) from error
    if IMAGE_TOKEN not in tokenizer.get_vocab():
        tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    return tokenizer, int(tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))


def _check_vocabulary(tokenizer: PreTrainedTokenizerBase, vocab_size: int, image_token: int) -> None:
    try:
        check_tokenizer(tokenizer, vocab_size, image_token)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _nearest(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _show_positions(model: ElysiumForConditionalGeneration) -> None:
    """Starts the tower's position embeddings as sines and cosines of row and column.

    CLIP starts them at a hundredth of the patches' size and learns them on 400 M images; a small tower that learns
    from scratch on a few hundred clips would first have to find out that places exist. Towers without a table of
    positions are left as they are.
    """
    embedding = getattr(getattr(model.vision_tower, "embeddings", None), "position_embedding", None)
    if not isinstance(embedding, nn.Embedding):
        return
    table, side = embedding.weight, model.config.grid_side
    width = table.shape[1]
    places = torch.linspace(-1, 1, side)
    rows, columns = torch.meshgrid(places, places, indexing="ij")
    waves = torch.pow(2.0, torch.linspace(-1, 3, width // 4)) * torch.pi / 2
    angles = [axis.reshape(-1, 1) * waves for axis in (columns, rows)]
    with torch.no_grad():
        encoded = torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1)
        table[-side * side :, : encoded.shape[1]] = _POSITION_SCALE * encoded


def _show_numbers(model: ElysiumForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, maximum: int) -> None:
    """Starts the coordinates' rows of embedding and head as codes of their values: near numbers, near rows.

    With unrelated rows a new model has to learn a hundred words before it can point. Measured after 120 steps of single
    frames: a held-out loss of 3.5 nats on the second corner's x instead of 4.5, where 4.6 knows nothing. Numbers that
    the tokenizer writes in several tokens keep their random rows.
    """
    known = tokenizer.get_vocab()
    numbers = [number for number in range(maximum + 1) if str(number) in known]
    ids = torch.tensor([known[str(number)] for number in numbers])
    values = torch.tensor(numbers, dtype=torch.float32)[:, None] * (2 / maximum) - 1
    angles: Tensor = values * torch.pow(2.0, torch.linspace(-1, 3, _NUMBER_WAVES)) * torch.pi / 2
    codes = torch.cat([angles.sin(), angles.cos()], dim=1)
    with torch.no_grad():
        for module in (model.get_input_embeddings(), model.get_output_embeddings()):
            table: Tensor = module.get_parameter("weight")
            mixed = codes @ torch.randn(codes.shape[1], table.shape[1])
            table[ids] = mixed * (table.std() / mixed.std())
