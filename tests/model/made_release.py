"""Checkpoints as the official release stores them, made on the spot."""

import json
import re

import torch
from safetensors.torch import load_file, save_file

TINY = {
    "num_visual_tokens": 4,
    "vision": {"image_size": 32, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    "llm": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    "selector": "mixed",
}
HEAD, SCORES = "llm.lm_head.weight", "adapter.score_proj.weight"


def release_name(name):
    """The published names, written down here once more: the code under test has its own list."""
    for ours, theirs in {
        "vision_tower.vision_model.": "visual_encoder.vision_model.",
        "vision_tower.": "visual_encoder.vision_model.",
        "selector.": "adapter.",
        "projector.": "llm_proj.",
        "language_model.": "llm.",
    }.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    raise AssertionError(name)


def describe(folder, model):
    model[0].config.vision_config.save_pretrained(folder / "visual_encoder")
    model[0].config.text_config.save_pretrained(folder / "llm")
    model[1].tokenizer.save_pretrained(folder / "llm")


def in_shards(folder, state, count, save, name):
    """Writes a state dict as several files and their index."""
    keys = sorted(state)
    files = {}
    for number in range(count):
        file = name.format(number + 1, count)
        part = {key: state[key] for key in keys[number::count]}
        save(part, folder / file)
        files |= dict.fromkeys(part, file)
    index = re.sub(r"-\{.*\}", "", name) + ".index.json"
    (folder / index).write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": files}))


def store(form, folder, state):
    (folder / "model.safetensors").unlink(missing_ok=True)
    if form == "safetensors":
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    elif form == "safetensors in shards":
        in_shards(folder, state, 3, save_file, "model-{:05d}-of-{:05d}.safetensors")
    elif form == "bin":
        torch.save(state, folder / "pytorch_model.bin")
    elif form == "bin in shards":
        in_shards(folder, state, 2, torch.save, "pytorch_model-{:05d}-of-{:05d}.bin")
    elif form == "bin of before torch 1.6":
        torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    else:
        raise AssertionError(form)


FORMS = ("safetensors", "safetensors in shards", "bin", "bin in shards", "bin of before torch 1.6")


def weights(folder):
    return {name: value for file in sorted(folder.glob("*.safetensors")) for name, value in load_file(file).items()}


def same(found, wanted):
    return found.keys() == wanted.keys() and all(
        found[name].dtype == value.dtype and torch.equal(found[name], value) for name, value in wanted.items()
    )


def left(folder):
    return sorted(path.name for path in folder.parent.iterdir() if path != folder)
