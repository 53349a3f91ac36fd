"""What the official release's folder says of its model, and what only the shapes of its tensors tell.

The published folder (huggingface.co/sty-yyj/elysium_7b; `models/config.json` of github Hon-Wong/Elysium, d591904) names
its backbones by their hub ids and holds neither their configurations nor a tokenizer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, CLIPConfig, PreTrainedConfig

from elysium.errors import UsageError
from elysium.model.configuration import ElysiumConfig
from elysium.model.release.weights_stream import read_json, write_json

VISION_FOLDER, TEXT_FOLDER = "visual_encoder", "llm"
# The values of openai/clip-vit-large-patch14-336 and lmsys/vicuna-7b-v1.5 that are not their classes' defaults.
_PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    VISION_FOLDER: (
        "openai/clip-vit-large-patch14-336",
        {
            **{"model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "patch_size": 14},
            **{"num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 336, "projection_dim": 768},
        },
    ),
    TEXT_FOLDER: (
        "lmsys/vicuna-7b-v1.5",
        {
            **{"model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008},
            **{"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "rms_norm_eps": 1e-5},
            **{"max_position_embeddings": 4096, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
            **{"tie_word_embeddings": False},
        },
    ),
}
_SECTIONS = {VISION_FOLDER: "visual_config", TEXT_FOLDER: "llm_config"}
_OPTIONS = {VISION_FOLDER: "--vision-config", TEXT_FOLDER: "--text-config"}
# Of the file they were saved in, not of the model; a dtype would overrule that of the weights.
_NOT_OF_THE_MODEL = (
    *("dtype", "torch_dtype", "_name_or_path", "name_or_path", "architectures", "transformers_version", "auto_map"),
    "quantization_config",
)
# What changes the result beside the sizes: a model with stretched positions is not the published one any more.
_COMPUTES = ("hidden_act", "layer_norm_eps", "rope_parameters")
_PUBLISHED_TOKENS_KEPT = 108
_VISION, _TEXT = "visual_encoder.vision_model", "llm.model"

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Backbone:
    """The configuration of the tower or the language model, and where it was found."""

    config: PreTrainedConfig
    origin: str


def release_settings(source: Path) -> dict[str, Any]:
    """Returns the folder's `config.json`, empty where there is none.

    Raises:
        UsageError: If it is not the release's but this project's own.
    """
    path = source / "config.json"
    settings = read_json(path) if path.is_file() else {}
    if "selector_type" in settings:
        raise UsageError(f"{source} is not the release's: its config.json is this project's own; use --to release")
    return settings


def find_backbone(part: str, source: Path, settings: Mapping[str, Any], given: Path | None) -> Backbone:
    """Returns the configuration of a backbone: given, beside the weights, in a folder that is named, or published.

    Args:
        part: `VISION_FOLDER` or `TEXT_FOLDER`.
        source: The release's folder.
        settings: Its `config.json`.
        given: A `config.json` or a folder with one, which goes before all else.

    Raises:
        UsageError: If none of these is there, or what is there cannot be read.
    """
    section = settings.get(_SECTIONS[part])
    name = section.get("pretrained_model_name_or_path") if isinstance(section, dict) else None
    if given is not None:
        return Backbone(_read_config(part, given), str(given))
    for folder in (source / part, *([Path(name)] if name and Path(name).is_absolute() else [])):
        if (folder / "config.json").is_file():
            return Backbone(_read_config(part, folder), str(folder))
    published, values = _PUBLISHED[part]
    if name and name.rstrip("/").rsplit("/", 1)[-1] != published.rsplit("/", 1)[-1]:
        raise UsageError(
            f"{source / 'config.json'} names {name} as its {_SECTIONS[part]}, which is not here; give its config.json "
            f"with {_OPTIONS[part]}"
        )
    return Backbone(_build_config(values, published), f"{published}, the published one")


def release_to_elysium(
    vision: PreTrainedConfig, text: PreTrainedConfig, shapes: Shapes, settings: Mapping[str, Any]
) -> ElysiumConfig:
    """Returns the configuration under which a release checkpoint computes what it computes in the release."""
    patches = (vision.image_size // vision.patch_size) ** 2
    adapter = settings.get("adapter_config")
    kept = adapter.get("out_token_num") if isinstance(adapter, dict) else None
    found = shapes.get("adapter.score_proj.weight", ())
    kept = found[0] if len(found) == 2 else kept or _PUBLISHED_TOKENS_KEPT
    return ElysiumConfig(
        vision_config=vision,
        text_config=text,
        selector_type="mixed",
        # Wrong sizes are reported tensor by tensor, not by the first that hinders a configuration.
        num_visual_tokens=max(1, min(kept, patches)),
        vision_feature_layer=-2,
        # Outside of the embedding, as the release's -200 is: no text can hold it.
        image_token_id=text.vocab_size,
        bos_after_image=True,
        coordinate_scale=100,
        coordinate_maximum=100,
    )


def contradictions(vision: Backbone, text: Backbone, shapes: Shapes, settings: Mapping[str, Any]) -> list[str]:
    """Returns one line for each value that the tensors show to be another than the configurations say."""
    lines = []
    for part, backbone, told in (
        (VISION_FOLDER, vision, _vision_facts(shapes)),
        (TEXT_FOLDER, text, _text_facts(shapes, text.config)),
    ):
        for key, value in told.items():
            said = getattr(backbone.config, key, None)
            if said != value:
                lines.append(
                    f"{_SECTIONS[part]} ({backbone.origin}) says {key}={said}, the tensors show {value}; "
                    f"give the right one with {_OPTIONS[part]}"
                )
    adapter = settings.get("adapter_config")
    for key, value in _adapter_facts(shapes).items():
        if isinstance(adapter, dict) and adapter.get(key, value) != value:
            lines.append(f"adapter_config (config.json) says {key}={adapter[key]}, the tensors show {value}")
    return lines


def write_release_config(folder: Path, config: ElysiumConfig, dtype: str) -> None:
    """Writes the `config.json` of the release for a model, and its backbones' own in `visual_encoder/` and `llm/`.

    Where a backbone is not the published one, the release's code finds it through the path that stands in config.json:
    the folder's own subfolder, to be read from within that folder.
    """
    names = {}
    for part, backbone in ((VISION_FOLDER, config.vision_config), (TEXT_FOLDER, config.text_config)):
        backbone.save_pretrained(folder / part)
        published, values = _PUBLISHED[part]
        known = _build_config(values, published)
        same = all(getattr(backbone, key, None) == getattr(known, key, None) for key in (*values, *_COMPUTES))
        names[part] = published if same else part
    adapter = {
        "fix_random": False,
        "freeze_adapter": False,
        "in_token_num": config.num_patches,
        "max_video_tokens": 2048,
        "min_out_token_num": 1,
        "num_features": config.vision_config.hidden_size,
        "out_token_num": config.num_visual_tokens,
    }
    settings = {
        "adapter_config": adapter,
        "architectures": ["ElysiumForCausalLM"],
        "auto_map": {
            "AutoConfig": "modeling_elysium.ElysiumConfig",
            "AutoModelForCausalLM": "modeling_elysium.ElysiumForCausalLM",
        },
        "gradient_checkpointing_enable": False,
        "llm_config": {"freeze_llm": True, "pretrained_model_name_or_path": names[TEXT_FOLDER]},
        "model_type": "elysium",
        "projector_config": {"type": "mlp2x_gelu"},
        "torch_dtype": dtype,
        "transformers_version": "4.37.0",
        "use_flash_attention": False,
        "visual_config": {"freeze_vit": True, "pretrained_model_name_or_path": names[VISION_FOLDER]},
    }
    write_json(folder / "config.json", settings)


def _read_config(part: str, given: Path) -> PreTrainedConfig:
    path = given / "config.json" if given.is_dir() else given
    values = read_json(path)
    nested = values.get("vision_config" if part == VISION_FOLDER else "text_config")
    if part == VISION_FOLDER and values.get("model_type") == "clip":
        # The class knows the older spellings of the nested configuration as well.
        values = CLIPConfig(**_of_the_model(values)).vision_config.to_dict()
    elif isinstance(nested, dict):
        values = nested
    config = _build_config(values, str(path))
    if part == VISION_FOLDER and config.model_type != "clip_vision_model":
        raise UsageError(f"{path} describes a {config.model_type}; the release's vision tower is a CLIP")
    if part == TEXT_FOLDER and not isinstance(getattr(config, "vocab_size", None), int):
        raise UsageError(f"{path} describes a {config.model_type}, which is no language model")
    return config


def _build_config(values: Mapping[str, Any], origin: str) -> PreTrainedConfig:
    values = _of_the_model(values)
    kind = values.pop("model_type", None)
    if kind not in CONFIG_MAPPING:
        raise UsageError(f"{origin} has model_type {kind!r}, which transformers does not know")
    try:
        return CONFIG_MAPPING[kind](**values)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{origin} is no configuration of a {kind}: {error}") from None


def _of_the_model(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in _NOT_OF_THE_MODEL}


def _vision_facts(shapes: Shapes) -> dict[str, int]:
    facts: dict[str, int] = {}
    patch = shapes.get(f"{_VISION}.embeddings.patch_embedding.weight", ())
    positions = shapes.get(f"{_VISION}.embeddings.position_embedding.weight", ())
    if len(patch) == 4:
        facts |= {"hidden_size": patch[0], "num_channels": patch[1], "patch_size": patch[3]}
        if len(positions) == 2:
            facts["image_size"] = math.isqrt(max(positions[0] - 1, 0)) * patch[3]
    return facts | _layer_facts(shapes, f"{_VISION}.encoder.layers", "mlp.fc1.weight")


def _text_facts(shapes: Shapes, config: PreTrainedConfig) -> dict[str, int]:
    facts: dict[str, int] = {}
    embedding = shapes.get(f"{_TEXT}.embed_tokens.weight", ())
    if len(embedding) == 2:
        facts |= {"vocab_size": embedding[0], "hidden_size": embedding[1]}
    heads = getattr(config, "num_attention_heads", None)
    query = shapes.get(f"{_TEXT}.layers.0.self_attn.q_proj.weight", ())
    key = shapes.get(f"{_TEXT}.layers.0.self_attn.k_proj.weight", ())
    # The number of heads is nowhere in the shapes; how many of them share keys and values is.
    if heads and len(query) == 2 and len(key) == 2 and query[0] and (heads * key[0]) % query[0] == 0:
        facts["num_key_value_heads"] = heads * key[0] // query[0]
    return facts | _layer_facts(shapes, f"{_TEXT}.layers", "mlp.gate_proj.weight")


def _layer_facts(shapes: Shapes, prefix: str, widening: str) -> dict[str, int]:
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
    numbers = {int(match[1]) for name in shapes if (match := pattern.match(name))}
    wide = shapes.get(f"{prefix}.0.{widening}", ())
    facts = {"num_hidden_layers": max(numbers) + 1} if numbers else {}
    return facts | ({"intermediate_size": wide[0]} if len(wide) == 2 else {})


def _adapter_facts(shapes: Shapes) -> dict[str, int]:
    score, gate = shapes.get("adapter.score_proj.weight", ()), shapes.get("adapter.pre_proj.weight", ())
    facts = {"out_token_num": score[0], "in_token_num": score[1]} if len(score) == 2 else {}
    return facts | ({"num_features": gate[1]} if len(gate) == 2 else {})
