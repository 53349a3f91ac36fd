import pytest

from elysium.config import PHASES, Settings, load_settings, preset_names
from elysium.errors import UsageError


@pytest.mark.parametrize("preset", preset_names())
def test_every_shipped_preset_is_valid(preset):
    assert isinstance(load_settings(preset), Settings)


def test_overrides_reach_every_depth():
    settings = load_settings("nano", ["seed=3", "curate.min_iou=0.5", "training.finetune.clip_frames=[3, 4]"])
    assert (settings.seed, settings.curate.min_iou, settings.training.finetune.clip_frames) == (3, 0.5, (3, 4))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("curate.min_iuo=1", "did you mean 'curate.min_iou'"),
        ("curat.min_iou=1", "did you mean 'curate'"),
        ("curate.min_iou=3", "curate.min_iou.*less than or equal to 1, got 3"),
        ("curate=3", "curate"),
        ("training.warmup.mixture={foo: 1}", "'foo'; the tasks are"),
        ("training.warmup.mixture={reg: 0}", "no task with a weight above 0"),
        ("training.finetune.clip_frames=[8, 2]", "clip_frames needs"),
        ("model.num_visual_tokens=65", "65 exceeds the 64 patches"),
        ("model.vision.patch_size=7", "not a multiple of vision.patch_size 7"),
        ("seed", "takes key=value"),
        ("seed=[1", "not valid YAML"),
        ("seed.deeper=1", "seed: Input should be a valid integer"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_name_before_anything_runs(override, message):
    with pytest.raises(UsageError, match=message):
        load_settings("nano", [override])


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'nano'"):
        load_settings("nanu")


def test_numbers_may_be_written_with_an_exponent():
    assert load_settings("nano", ["training.finetune.learning_rate=1e-3"]).training.finetune.learning_rate == 1e-3


def test_a_preset_can_be_a_file(tmp_path):
    path = tmp_path / "own.yaml"
    nano = load_settings("nano")
    path.write_text("seed: 11\ntraining: " + nano.training.model_dump_json())
    assert load_settings(str(path)).seed == 11


@pytest.mark.parametrize("content", ["- a list", "a: [1"])
def test_a_broken_preset_file_is_told(tmp_path, content):
    path = tmp_path / "own.yaml"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"own.yaml"):
        load_settings(str(path))


def test_the_nano_preset_keeps_the_papers_share_of_visual_tokens():
    model = load_settings("nano").model
    assert model.num_visual_tokens / (model.vision.image_size // model.vision.patch_size) ** 2 == 108 / 576


def test_the_phases_of_the_settings_are_the_phases_of_the_recipe():
    assert set(PHASES) <= set(type(load_settings("nano").training).model_fields)
