"""A checkpoint of the official release, converted, computes what the release's own code computed.

What the release gave, and every size, is read from the recorded files (see the reference folder's README).
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from elysium.model.release.convert import convert_from_release, convert_to_release
from elysium.model.visual_encoder import encode_patches

REFERENCE = Path(os.environ.get("ELYSIUM_REFERENCE", Path(__file__).parents[2] / "../shared/reference"))
TOLERANCE = 1e-4
PLACEHOLDER = -200


def reference(*parts):
    path = REFERENCE.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the recorded reference {path} is not here")
    return path


@pytest.fixture(scope="module")
def golden():
    return json.loads(reference("release_tiny", "golden.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tensors():
    return load_file(reference("release_tiny", "tensors.safetensors"))


@pytest.fixture(scope="module")
def release(golden, tmp_path_factory):
    """The recorded state dict as a folder, with its backbones' configurations beside it."""
    folder = tmp_path_factory.mktemp("release")
    (folder / "model.safetensors").symlink_to(reference("release_tiny", "original_state.safetensors").resolve())
    for part, key in (("visual_encoder", "clip"), ("llm", "llm")):
        (folder / part).mkdir()
        (folder / part / "config.json").write_text(json.dumps(golden[key]))
    return folder


@pytest.fixture(scope="module")
def converted(release, tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted") / "model"
    convert_from_release(release, folder, tokenizer=reference("tokenizer", "tokenizer.model"))
    return folder


@pytest.fixture(scope="module")
def model(converted):
    return AutoModelForImageTextToText.from_pretrained(converted).eval()


@pytest.fixture(scope="module")
def processor(converted):
    return AutoProcessor.from_pretrained(converted)


@pytest.fixture(scope="module")
def prompt(golden, processor):
    return processor(text=golden["prompt"], videos=[np.load(reference("release_tiny", "frames.npy"))])


@pytest.fixture(scope="module")
def training(golden, processor):
    frames = list(np.load(reference("release_tiny", "frames.npy")))
    return processor(text=golden["prompt"], videos=[frames], answers=[golden["answer"]])


def expanded(ids, model, filler):
    """The release's ids with each placeholder written as the run of ours, which stand where its features go."""
    return [
        token for i in ids.tolist() for token in ([filler] * model.config.tokens_per_frame if i == PLACEHOLDER else [i])
    ]


def close(found, wanted):
    return torch.allclose(found.float(), wanted, rtol=0, atol=TOLERANCE)


def test_the_sizes_are_read_from_the_checkpoint(model, golden):
    assert model.config.selector_type == "mixed"
    assert model.config.num_patches == golden["n_in"]
    assert model.config.num_visual_tokens == golden["n_out"]
    assert model.config.image_token_id == golden["llm"]["vocab_size"]


def test_pixel_values_are_the_releases(prompt, tensors):
    assert close(prompt["pixel_values"], tensors["pixel_values"])


def test_vision_features_are_the_releases(model, tensors):
    with torch.no_grad():
        features = encode_patches(model.vision_tower, tensors["pixel_values"], model.config)
    assert close(features, tensors["features"])


def test_the_selector_keeps_the_releases_tokens(model, tensors):
    with torch.no_grad():
        kept, positions = model.selector(tensors["features"], tensors["selected"].shape[1])
    assert positions.tolist() == tensors["indices"].tolist()
    assert torch.equal(kept, tensors["selected"])


def test_projected_tokens_are_the_releases(model, tensors):
    with torch.no_grad():
        visual = model.encode_frames(tensors["pixel_values"])
    assert visual.positions.tolist() == tensors["indices"].tolist()
    assert close(visual.embeddings, tensors["projected"])


def test_prompt_ids_are_the_releases(prompt, model, tensors):
    assert prompt["input_ids"][0].tolist() == expanded(tensors["prompt_ids"], model, model.config.image_token_id)


def test_training_ids_and_labels_are_the_releases(training, model, tensors):
    ids, labels = tensors["train_ids"], tensors["train_labels"]
    assert training["input_ids"][0].tolist() == expanded(ids, model, model.config.image_token_id)
    # Where a placeholder stands, the release's features have no label whatever the recorded row says.
    masked = torch.where(ids == PLACEHOLDER, PLACEHOLDER, labels)
    assert training["labels"][0].tolist() == expanded(masked, model, -100)


def test_the_last_logits_are_the_releases(model, training, tensors):
    wanted = tensors["logits_last"]
    with torch.no_grad():
        logits = model(**training).logits[0, -len(wanted) :]
    assert close(logits, wanted)


def test_the_loss_is_the_releases(model, training, golden, tensors):
    with torch.no_grad():
        loss = model(**training).loss.item()
    assert loss == pytest.approx(golden["loss"], abs=TOLERANCE)
    assert loss == pytest.approx(tensors["loss"].item(), abs=TOLERANCE)


def test_the_greedy_text_is_the_releases(model, processor, prompt, golden):
    ids = model.generate(**prompt, max_new_tokens=48, do_sample=False, pad_token_id=processor.pad_token_id)
    new = ids[0, prompt["input_ids"].shape[1] :]
    assert processor.tokenizer.decode(new, skip_special_tokens=True) == golden["generated"]


def test_the_way_back_gives_the_releases_state_dict_bit_for_bit(converted, release, tmp_path):
    convert_to_release(converted, tmp_path / "back")
    wanted, found = load_file(release / "model.safetensors"), load_file(tmp_path / "back" / "model.safetensors")
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) and found[name].dtype == wanted[name].dtype for name in wanted)
