import numpy as np
import pytest
from training_data import settings, write_snapshot

from elysium.boxes import BoxCodec
from elysium.data.records import TrackRecord, read_jsonl, write_jsonl
from elysium.data.stored_frames import read_stored
from elysium.data.video import write_video
from elysium.errors import ElysiumError, UsageError
from elysium.model import build_model
from elysium.prompts import Task
from elysium.training.phases import check_lengths, freeze, set_token_budget
from elysium.training.questions import drift
from elysium.training.samples import TrainingSamples, sample_clip
from elysium.training.sources import TrackSource


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    return write_snapshot(tmp_path_factory.mktemp("snapshot"))


def samples(snapshot, *overrides, seed=1, name="finetune"):
    phase = getattr(settings(*overrides).training, name)
    return TrainingSamples([TrackSource(snapshot / "data", 32)], name, phase, 32, seed)


def test_frames_and_intervals_are_uniform_as_in_the_paper():
    rng = np.random.default_rng(0)
    clips = [sample_clip(rng, 10_000, (2, 8), (1, 60)) for _ in range(20_000)]
    counts = np.bincount([len(clip) for clip in clips], minlength=9)[2:]
    steps = np.bincount([clip[1] - clip[0] for clip in clips], minlength=61)[1:]
    for observed in (counts, steps):
        expected = observed.sum() / len(observed)
        statistic = ((observed - expected) ** 2 / expected).sum()
        degrees = len(observed) - 1
        assert statistic < degrees + 5 * np.sqrt(2 * degrees), "five standard deviations above a uniform draw"


def test_a_clip_that_does_not_fit_falls_back_to_the_first_frames():
    rng = np.random.default_rng(0)
    for _ in range(200):
        assert sample_clip(rng, 8, (4, 4), (2, 60)) == [0, 1, 2, 3]


def test_a_short_video_is_taken_whole():
    assert sample_clip(np.random.default_rng(0), 3, (8, 8), (1, 1)) == [0, 1, 2]


def test_every_drawn_frame_exists_and_the_whole_video_is_reached():
    rng = np.random.default_rng(0)
    reached = set()
    for _ in range(2000):
        clip = sample_clip(rng, 40, (2, 4), (1, 5))
        assert clip[0] >= 0
        assert clip[-1] < 40
        reached |= set(clip)
    assert reached >= set(range(35))


def test_a_sample_depends_on_seed_phase_and_number_alone(snapshot):
    first, second = samples(snapshot), samples(snapshot)
    second[50]
    for index in (0, 7, 123):
        a, b = first[index], second[index]
        assert a.questions == b.questions
        assert np.array_equal(a.frames, b.frames)
    drawn = {
        samples(snapshot, seed=seed, name=name)[0].questions[0].prompt
        for seed in range(3)
        for name in ("pretrain", "finetune")
    }
    assert len(drawn) > 3


def test_the_mixture_is_drawn_by_its_weights(snapshot):
    supply = samples(snapshot, "training.finetune.mixture={sot: 3.0, rec: 1.0, reg: 0.0}")
    tasks = [supply[index].questions[0].task for index in range(600)]
    assert set(tasks) == {Task.SOT, Task.REC}
    assert tasks.count(Task.SOT) / len(tasks) == pytest.approx(0.75, abs=0.06)


def test_all_questions_of_a_sample_follow_the_mixture_and_go_round_the_objects(snapshot):
    mixture = "training.finetune.mixture={sot: 2.0, rsot: 1.0, rec: 1.0}"
    supply = samples(snapshot, mixture, "training.finetune.questions=3")
    drawn = [supply[index].questions for index in range(400)]
    tasks = [question.task for questions in drawn for question in questions]
    assert {len(questions) for questions in drawn} == {3}
    assert tasks.count(Task.SOT) / len(tasks) == pytest.approx(0.5, abs=0.06)
    assert tasks.count(Task.REC) / len(tasks) == pytest.approx(0.25, abs=0.06)
    shown = {len({question.prompt.rpartition("<image>")[0] for question in questions}) for questions in drawn}
    assert shown == {1}, "questions about the same frames have the same beginning"
    asked = [{question.answer for question in questions} for questions in drawn if questions[0].task is Task.REC]
    assert max(map(len, asked)) == 3


def test_answers_are_the_boxes_of_the_frames_that_are_shown(snapshot):
    supply = samples(snapshot, "training.finetune.mixture={sot: 1.0}")
    for index in range(20):
        sample = supply[index]
        question = sample.questions[0]
        boxes = BoxCodec().decode(question.answer)
        assert len(boxes) == len(sample.frames) == supply.size(index)[0] == question.prompt.count("<image>")
        assert BoxCodec().encode(boxes[0]) in question.prompt


def test_the_history_drifts_from_the_truth_and_the_answer_does_not(snapshot):
    mixture = "training.finetune.mixture={sot: 1.0, video-reg: 0.2}"
    quiet, noisy = (samples(snapshot, mixture, f"training.finetune.history_noise={noise}") for noise in (0, 4.0))
    drifting = 0
    for index in range(200):
        said, question = quiet[index].questions[0], noisy[index].questions[0]
        assert said.history is None
        assert (said.prompt, said.answer) == (question.prompt, question.answer)
        if question.task is Task.VIDEO_REG:
            assert question.history is None
        elif question.history is not None:
            drifting += 1
            heard, truth = BoxCodec().decode(question.history), BoxCodec().decode(question.answer)
            assert len(heard) == len(truth)
            assert np.isfinite(heard).all()
            assert (heard[:, :2] <= heard[:, 2:]).all()
    assert 40 < drifting < 140, "about half of the tracks"


def test_a_drifting_history_is_the_further_off_the_longer_it_goes_on():
    rng = np.random.default_rng(0)
    still = np.tile([0.45, 0.45, 0.55, 0.55], (8, 1))
    walks = np.stack([drift(rng, still, 0.01) for _ in range(4000)]) - still
    centres = (walks[..., :2] + walks[..., 2:]) / 2
    # Of a frame's step: the centre's own variance, and the mean of two corners' quarter of it.
    expected = 0.01 * np.sqrt(1.125 * np.arange(1, 9))
    np.testing.assert_allclose(centres.std(axis=(0, 2)), expected, rtol=0.05)
    assert abs(np.corrcoef(centres[:, 6, 0], centres[:, 7, 0])[0, 1]) > 0.9


def test_questions_are_put_in_several_ways(snapshot):
    supply = samples(snapshot, "training.finetune.mixture={rec: 1.0}")
    assert len({supply[index].questions[0].prompt.split("\n")[1].split()[0] for index in range(40)}) >= 3


def test_questions_that_records_cannot_answer_are_refused(snapshot):
    with pytest.raises(ElysiumError, match=r"tracks can be asked sot, .* and the mixture has vqa alone"):
        samples(snapshot, "training.finetune.mixture={vqa: 1.0}")


def test_a_lost_frame_is_named(snapshot, tmp_path):
    broken = write_snapshot(tmp_path, num_clips=1)
    for path in broken.rglob("*.jpg"):
        path.write_bytes(b"not a picture")
    with pytest.raises(ElysiumError, match=r"frames/sim-0/.*cannot be read"):
        samples(broken)[0]


@pytest.mark.parametrize("parts", [["selector", "projector"], ["llm"], ["vision", "selector", "projector", "llm"]])
def test_only_the_parts_of_the_phase_may_train(parts):
    chosen = settings(f"training.warmup.trains=[{', '.join(parts)}]")
    model, _ = build_model(chosen.model, 0)
    count = freeze(model, chosen.training.warmup)
    trained = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}
    names = {"vision": "vision_tower", "selector": "selector", "projector": "projector", "llm": "language_model"}
    assert trained == {names[part] for part in parts}
    assert count == sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def test_a_clip_longer_than_the_context_is_refused_before_training():
    chosen = settings("model.llm.max_position_embeddings=128")
    model, processor = build_model(chosen.model, 0)
    limit = model.config.text_config.max_position_embeddings
    with pytest.raises(UsageError, match=r"training\.finetune: a clip of 8 frames takes .* but the model takes 128"):
        check_lengths(processor, chosen.training.finetune, "finetune", limit)


def test_no_sample_is_longer_than_was_said(snapshot):
    chosen = settings()
    _, processor = build_model(chosen.model, 0)
    longest = check_lengths(processor, chosen.training.finetune, "finetune", 1024).total
    supply = samples(snapshot)
    lengths = [
        len(processor.encode_prompt(question.prompt)) + len(processor.encode_answer(question.answer))
        for index in range(200)
        for question in supply[index].questions
    ]
    assert max(lengths) <= longest


def test_a_phase_may_show_more_tokens_than_the_model_keeps():
    model, processor = build_model(settings().model, 0)
    set_token_budget(model, processor, 16)
    assert (model.config.tokens_per_frame, processor.tokens_per_frame, model.selector.num_kept) == (16, 16, 16)
    with pytest.raises(UsageError, match="between 1 and the 16 patches"):
        set_token_budget(model, processor, 17)


def test_frames_may_be_stored_in_clips(snapshot, tmp_path):
    pictures = TrackSource(snapshot / "data", 32)
    clips = []
    for record in read_jsonl(snapshot / "data/train.jsonl", TrackRecord):
        path = tmp_path / f"clips/{record.vid}.mp4"
        path.parent.mkdir(exist_ok=True)
        images = [read_stored(snapshot / "data" / name) for name in record.frames]
        write_video(path, images, 12)
        names = [f"clips/{record.vid}.mp4#{number}" for number in range(len(images))]
        clips.append(record.model_copy(update={"frames": names}))
    write_jsonl(tmp_path / "train.jsonl", clips)
    source = TrackSource(tmp_path, 32)
    for number in range(len(source)):
        assert source.scene(number).things[0].expression == pictures.scene(number).things[0].expression
        shown, expected = (one.frames(number, [3, 0, 3]).astype(int) for one in (source, pictures))
        assert shown.shape == (3, 32, 32, 3)
        assert np.abs(shown - expected).mean() < 5
        assert source.background(number).shape == (32, 32, 3)
