"""Models from settings and from checkpoint folders."""

import pytest
import torch
from model_parts import tiny

from elysium.config import ModelSettings
from elysium.errors import UsageError
from elysium.model import build_model, load_checkpoint


def test_the_same_seed_builds_the_same_model_and_leaves_the_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, _ = tiny()
    assert torch.equal(torch.rand(1), expected)
    second, _ = tiny()
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"lacks config\.json"):
        load_checkpoint(tmp_path)


def test_training_goes_on_from_a_checkpoint(tmp_path):
    model, processor = tiny()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, _ = build_model(ModelSettings(init_from=str(tmp_path)), seed=1)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_settings_that_contradict_the_checkpoint_are_refused(tmp_path):
    model, processor = tiny()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    layers = model.config.text_config.num_hidden_layers
    same = ModelSettings(init_from=str(tmp_path), llm={"num_hidden_layers": layers})
    assert build_model(same, seed=1)
    other = ModelSettings(init_from=str(tmp_path), llm={"num_hidden_layers": layers + 1})
    with pytest.raises(UsageError, match=rf"num_hidden_layers is {layers + 1}, but .* has {layers}; .*init_from=null"):
        build_model(other, seed=1)


def test_a_finer_grid_of_coordinates_builds():
    model, processor = tiny(coordinate_scale=1000, coordinate_maximum=999)
    assert model.config.coordinate_scale == processor.codec.scale == 1000


def test_a_checkpoint_whose_tokenizer_was_swapped_is_refused(tmp_path):
    model, processor = tiny()
    model.save_pretrained(tmp_path)
    processor.tokenizer.add_tokens([f"word{number}" for number in range(9)])
    processor.save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=r"writes ids up to \d+, but the language model's embedding has \d+ rows"):
        load_checkpoint(tmp_path)
