"""Samples come from several data sets, by their weights, and each set goes round and round."""

import json
import re
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from training_data import SETTINGS, settings, write_snapshot

from elysium.boxes import BoxCodec
from elysium.cli import main, run
from elysium.data.sets.importing import import_set
from elysium.data.sets.schema import SetObject, SetRecord, Turn
from elysium.data.sets.store import DATA, open_writer
from elysium.data.simulator import simulate
from elysium.data.video import write_video
from elysium.errors import UsageError
from elysium.model import build_model
from elysium.prompts import SHORT_ANSWER, Task
from elysium.training.batches import Collator
from elysium.training.mixture import WINDOW, Mixture, mixture_shares, shuffled, shuffled_in_groups
from elysium.training.outside import digests
from elysium.training.samples import TrainingSamples
from elysium.training.sources import SetSource, open_sources
from elysium.training.step import train_folder

SIDE = 32
NUM_PICTURES = 12


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 65, 1000, 4097])
def test_a_shuffle_gives_every_place_once(size):
    orders = [[shuffled(place, size, (seed,)) for place in range(size)] for seed in range(2)]
    assert [sorted(order) for order in orders] == [list(range(size))] * 2
    if size > 3:
        assert orders[0] != orders[1]


@pytest.mark.parametrize(("size", "group"), [(1000, 1), (1000, 10), (1003, 10), (640, 10), (6411, 100), (650, 10)])
def test_a_shuffle_in_groups_gives_every_place_once(size, group):
    order = [shuffled_in_groups(place, size, group, (4,)) for place in range(size)]
    assert sorted(order) == list(range(size))
    assert order != [shuffled_in_groups(place, size, group, (5,)) for place in range(size)]


def test_a_shuffle_in_groups_reads_each_group_in_one_go():
    order = np.array([shuffled_in_groups(place, 100_000, 128, (4,)) for place in range(100_000)])
    first, last = {}, {}
    for place, record in enumerate(order[: 100_000 // 128 * 128]):
        first.setdefault(record // 128, place)
        last[record // 128] = place
    assert max(last[number] - first[number] for number in first) < WINDOW * 128
    # Neighbours are far apart all the same.
    assert np.median(np.abs(np.diff(order))) > 100_000 / 10


def test_a_shuffle_is_uniform():
    draws, size = 3000, 7
    seen = np.zeros((size, size))
    for key in range(draws):
        for place in range(size):
            seen[place, shuffled(place, size, (5, key))] += 1
    statistic = ((seen - draws / size) ** 2 / (draws / size)).sum()
    degrees = (size - 1) ** 2
    assert statistic < degrees + 5 * np.sqrt(2 * degrees), "five standard deviations above a uniform shuffle"


def test_every_record_of_a_set_comes_once_before_one_comes_again():
    mixture = Mixture([5, 40], mixture_shares([5, 40], [4, 1], 1), (1, 2))
    drawn = [mixture[index] for index in range(9000)]
    for number, size in ((0, 5), (1, 40)):
        records = [record for source, record in drawn if source == number]
        rounds = [records[at : at + size] for at in range(0, len(records) - size, size)]
        assert all(sorted(part) == list(range(size)) for part in rounds)
        assert len({tuple(part) for part in rounds}) > 50, "each round has an order of its own"


def test_a_record_does_not_depend_on_what_was_asked_for_before():
    sizes = [5, 40]
    shares = mixture_shares(sizes, [1, 1], 1)
    whole, other = Mixture(sizes, shares, (1, 2)), Mixture(sizes, shares, (1, 2))
    drawn = [whole[index] for index in range(9001)]
    order = [9000, 3, 5000, 4095, 4096]
    assert [other[index] for index in order] == [drawn[index] for index in order]


@pytest.mark.parametrize(
    ("weights", "temperature", "expected"),
    [([1, 1], 1, [0.9, 0.1]), ([1, 9], 1, [0.5, 0.5]), ([1, 1], 2, [0.75, 0.25]), ([1, 1], 1e9, [0.5, 0.5])],
)
def test_sets_are_drawn_by_their_shares(weights, temperature, expected):
    shares = mixture_shares([900, 100], weights, temperature)
    assert shares == pytest.approx(expected)
    mixture = Mixture([900, 100], shares, (3,))
    counts = Counter(mixture[index][0] for index in range(8000))
    assert counts[0] / 8000 == pytest.approx(expected[0], abs=0.02)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_snapshot(tmp_path_factory.mktemp("snapshot")) / "data"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Imports: `chat` (LLaVA's form, a conversation each), `found` (objects in pictures) and `films` (a video each)."""
    folder = tmp_path_factory.mktemp("sets")
    images = folder / "images"
    images.mkdir()
    entries = []
    for number in range(NUM_PICTURES):
        Image.new("RGB", (48, 40), (20 * number, 0, 0)).save(images / f"{number}.png")
        turns = [("human", "<image>\nWhat colour is it?"), ("gpt", "red")]
        turns += [("human", "Tell me more."), ("gpt", f"It is picture number {number}, and it is as red as it says.")]
        spoken = [{"from": who, "value": text} for who, text in turns]
        entries.append({"id": str(number), "image": f"{number}.png", "conversations": spoken})
    (folder / "chat.json").write_text(json.dumps(entries))
    import_set("llava-558k", [folder / "chat.json"], images, folder / "chat")
    with open_writer(folder / "found" / DATA, str(images)) as writer:
        for number in range(NUM_PICTURES):
            things = [
                SetObject(expression=f"thing {name}", boxes=[(0.1 * number / 12, 0.2, 0.5, 0.6 + at / 10)])
                for at, name in enumerate("abc")
            ]
            writer.add(SetRecord(id=str(number), dataset="found", frames=[f"{number}.png"], objects=things))
    clip = simulate(3, 12, 48)
    write_video(images / "clip.mp4", clip.frames, 12)
    there = [None, None, (0.1, 0.1, 0.4, 0.4), None, *[(0.2, 0.2, 0.6, 0.6)] * 8]
    with open_writer(folder / "films" / DATA, str(images)) as writer:
        turns = [Turn(question="What happens?", answer="Things move about and meet each other.")]
        writer.add(SetRecord(id="talked about", dataset="films", video="clip.mp4", turns=turns))
        times = [number / 12 for number in range(12)]
        thing = SetObject(expression="one that comes and goes", boxes=there)
        writer.add(SetRecord(id="followed", dataset="films", video="clip.mp4", timestamps=times, objects=[thing]))
    return folder


def phase_of(folder, sets, mixture, *overrides):
    chosen = settings(
        f"training.sets_folder={folder}",
        f"training.finetune.sets={sets}",
        f"training.finetune.mixture={mixture}",
        *overrides,
    )
    return chosen, chosen.training.finetune


def supply(folder, data, sets, mixture, *overrides, codec=None):
    chosen, phase = phase_of(folder, sets, mixture, *overrides)
    return TrainingSamples(open_sources(data, phase, chosen.training, SIDE), "finetune", phase, SIDE, 5, codec)


EVERYTHING = "{sot: 1, rsot: 1, rec: 1, reg: 1, video-reg: 1, vqa: 1}"


def test_each_set_is_asked_what_it_can_be(folder, data):
    sets = "{tracks: 1, chat: 1, found: 1, films: 3}"
    samples = supply(folder, data, sets, EVERYTHING, "training.finetune.temperature=1e9")
    assert samples.names == ["chat", "films", "found", "tracks"]
    asked = [set() for _ in samples.names]
    for index in range(400):
        sample = samples[index]
        asked[sample.source] |= {question.task for question in sample.questions}
        assert len(sample.frames) == sample.questions[0].prompt.count("<image>") == samples.size(index)[0]
        assert sample.frames.shape[1:] == (SIDE, SIDE, 3)
    tracks = {Task.SOT, Task.RSOT, Task.REC, Task.REG, Task.VIDEO_REG}
    assert asked == [{Task.VQA}, tracks | {Task.VQA}, {Task.REC, Task.REG}, tracks]
    drawn = Counter(samples[index].source for index in range(400))
    assert [drawn[number] / 400 for number in range(4)] == pytest.approx([0.25] * 4, abs=0.08)


def test_a_conversation_is_asked_as_one(folder, data):
    samples = supply(folder, data, "{chat: 1}", "{vqa: 1}", "training.finetune.questions=3")
    for index in range(20):
        (question,) = samples[index].questions
        first, _, hint = question.prompt.rpartition("USER: ")[2].partition("?\n")
        assert first == "<image>\nWhat colour is it"
        assert hint.removesuffix("ASSISTANT:") in SHORT_ANSWER
        assert question.answer == "red"
        (turn,) = question.more
        assert turn.question == "Tell me more."
        assert turn.answer.startswith("It is picture number")


def test_a_long_conversation_is_asked_in_parts(folder, data, tmp_path):
    turns = [Turn(question=f"Question {number}?", answer="word " * 200 + ".") for number in range(5)]
    with open_writer(tmp_path / "long" / DATA, str(folder / "images")) as writer:
        writer.add(SetRecord(id="0", dataset="long", frames=["0.png"], turns=turns))
    sample = supply(tmp_path, data, "{long: 1}", "{vqa: 1}", "training.finetune.questions=4")[0]
    parts = [[question.prompt, *(turn.question for turn in question.more)] for question in sample.questions]
    asked = sorted(text.rpartition("Question ")[2][:2] for part in parts for text in part)
    assert asked == ["0?", "1?", "2?", "3?", "4?"]
    assert sorted(map(len, parts)) == [1, 2, 2]


def test_objects_of_a_picture_are_asked_for_in_turn(folder, data):
    samples = supply(folder, data, "{found: 1}", "{rec: 1}", "training.finetune.questions=3")
    for index in range(NUM_PICTURES):
        sample = samples[index]
        found = {re.search(r"thing ([abc])", asked.prompt)[1]: asked.answer for asked in sample.questions}
        assert sorted(found) == ["a", "b", "c"]
        boxes = [BoxCodec().decode(found[name])[0] for name in "abc"]
        assert [round(float(box[3]), 2) for box in boxes] == [0.6, 0.7, 0.8]


def test_a_clip_shows_only_frames_with_the_object(folder, data):
    samples = supply(folder, data, "{films: 1}", "{sot: 1, rec: 1}", "training.finetune.clip_interval=[1, 2]")
    reached = set()
    for index in range(60):
        boxes = BoxCodec().decode(samples[index].questions[0].answer)
        assert len(boxes) == len(samples[index].frames)
        reached |= {tuple(np.round(box, 2).tolist()) for box in boxes}
    assert reached == {(0.1, 0.1, 0.4, 0.4), (0.2, 0.2, 0.6, 0.6)}


def test_samples_are_the_same_in_another_process_order(folder, data):
    sets = "{tracks: 1, chat: 2, found: 1}"
    one, other = (supply(folder, data, sets, EVERYTHING.replace("vqa: 1", "vqa: 2")) for _ in range(2))
    other[77]
    for index in (0, 40, 7):
        assert one[index].questions == other[index].questions
        assert np.array_equal(one[index].frames, other[index].frames)


def test_a_picture_that_is_lost_costs_its_sample_alone(folder, data, tmp_path, caplog):
    images = tmp_path / "images"
    images.mkdir()
    for number in range(1, NUM_PICTURES):
        (images / f"{number}.png").write_bytes((folder / "images" / f"{number}.png").read_bytes())
    roots = f"training.image_roots={{found: {images}}}"
    samples = supply(folder, data, "{found: 1}", "{rec: 1}", roots)
    for index in range(NUM_PICTURES):
        assert len(samples[index].frames) == 1
    assert caplog.text.count("is passed over") == 1
    assert "0.png" in caplog.text
    assert all(samples[index].questions == samples[index].questions for index in range(NUM_PICTURES))


def test_a_set_without_pictures_stops_the_run(folder, data, tmp_path):
    samples = supply(folder, data, "{found: 1}", "{rec: 1}", f"training.image_roots={{found: {tmp_path}}}")
    with pytest.raises(UsageError, match=r"scenes for .* could not be read.*training\.image_roots"):
        samples[0]


@pytest.mark.parametrize("workers", [0, 1])
def test_what_stops_a_run_is_told_in_a_line_whoever_makes_its_batches(folder, data, tmp_path, workers):
    roots = f"training.image_roots={{found: {tmp_path}}}"
    changes = ("steps=4", f"loader_workers={workers}")
    chosen, _ = phase_of(
        folder, "{found: 1}", "{rec: 1}", roots, *(f"training.finetune.{change}" for change in changes)
    )
    with pytest.raises(UsageError, match=r"^\d+ scenes for \d+ samples could not be read") as told:
        train_folder(chosen, "finetune", data, tmp_path / "out")
    assert "\n" not in str(told.value)


def test_a_tail_that_cannot_be_asked_is_told_before_anything_is_trained(folder, data, tmp_path):
    tail = "training.finetune.tail={steps: 2, sets: {chat: 1}}"
    chosen, _ = phase_of(folder, "{found: 1}", "{rec: 1}", "training.finetune.steps=2", tail)
    with pytest.raises(UsageError, match="chat can be asked vqa"):
        train_folder(chosen, "finetune", data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("sets", "mixture", "message"),
    [
        ("{chat: 1}", "{rec: 1}", r"chat can be asked vqa, and the mixture has rec alone"),
        ("{tracks: 1, found: 1}", "{rec: 1, vqa: 1}", r"the mixture asks for vqa, but found, tracks .* leave vqa out"),
    ],
)
def test_what_no_set_can_be_asked_is_refused(folder, data, sets, mixture, message):
    with pytest.raises(UsageError, match=message):
        supply(folder, data, sets, mixture)


def test_text_with_boxes_in_other_numbers_is_refused(folder, data):
    with pytest.raises(UsageError, match=r"chat writes boxes as .*scale=100.* the model as .*scale=1000"):
        supply(folder, data, "{chat: 1}", "{vqa: 1}", codec=BoxCodec(1000, 999))


def test_sets_that_were_not_imported_are_named_before_anything_starts(folder, data, tmp_path, capsys):
    command = ["train", "run", "finetune", "--data", str(data), "--output", str(tmp_path / "out")]
    command += ["--from", str(tmp_path / "no model"), "--set", "training.finetune.sets={grit: 1, gqa: 1, chat: 1}"]
    with pytest.raises(SystemExit, match="2"):
        main([*command, "--set", f"training.sets_folder={folder}"])
    told = capsys.readouterr().err
    assert "not in" in told
    assert "gqa, grit" in told
    assert "elysium data import" in told


def test_a_run_whose_sets_are_missing_ends_before_its_first_step(tmp_path, capsys):
    command = ["pipeline", "run", "--workspace", str(tmp_path / "run"), "--set", "training.pretrain.sets={gqa: 1}"]
    with pytest.raises(SystemExit, match="2"):
        main(command)
    assert "training.pretrain.sets names data sets that are not in sets: gqa" in capsys.readouterr().err
    assert not (tmp_path / "run" / "raw").exists()


@pytest.mark.parametrize("weights", ["{tracks: -1}", "{tracks: 0}", "{tracks: .nan}", "{../x: 1}"])
def test_weights_that_cannot_be_are_refused(weights):
    with pytest.raises(UsageError, match="sets"):
        settings(f"training.finetune.sets={weights}")


def test_all_answers_of_a_conversation_are_learnt_and_nothing_else(folder, data):
    _, processor = build_model(settings().model, 0)
    sample = supply(folder, data, "{chat: 1}", "{vqa: 1}")[0]
    batch = Collator(processor, mark_tasks=True)([sample])
    learnt = batch["labels"][0] != -100
    question = sample.questions[0]
    assert processor.decode(batch["labels"][0][learnt]) == "".join(
        f"{answer}{processor.tokenizer.eos_token}" for answer in (question.answer, question.more[0].answer)
    )
    assert torch.equal(batch["labels"][0][learnt], batch["input_ids"][0][learnt])
    assert set(batch["tasks"][0][learnt].tolist()) == {list(Task).index(Task.VQA)}
    # Any attention runs it: no question stands beside another one.
    assert batch["attention_mask"].shape == batch["input_ids"].shape


def test_a_conversation_is_cut_where_the_model_ends(folder, data):
    _, processor = build_model(settings().model, 0)
    sample = supply(folder, data, "{chat: 1}", "{vqa: 1}")[0]
    whole = Collator(processor)([sample])["input_ids"]
    cut = Collator(processor, limit=whole.shape[1] - 5)([sample])
    assert torch.equal(cut["input_ids"], whole[:, :-5])
    grid = Collator(processor, limit=whole.shape[1] - 5, positions_per_frame=processor.tokens_per_frame + 3)([sample])
    assert torch.equal(grid["input_ids"], whole[:, :-8])


def test_a_phase_learns_from_several_sets_and_says_the_loss_of_each(folder, data, tmp_path):
    changes = ("steps=4", "logging_steps=1", "batch_size=4", "questions=2", "save_steps=2")
    sets, mixture = "{tracks: 1, chat: 2, found: 2}", "{sot: 1, rec: 1, vqa: 1}"
    overrides = [f"training.finetune.{change}" for change in changes]
    curves = []
    for workers in (0, 1):
        chosen, _ = phase_of(folder, sets, mixture, *overrides, f"training.finetune.loader_workers={workers}")
        curves.append(train_folder(chosen, "finetune", data, tmp_path / str(workers)))
    assert curves[0] == curves[1]
    assert len(curves[0]) == 4


def test_a_set_is_read_from_where_its_pictures_are_now(folder, tmp_path):
    (tmp_path / "moved").symlink_to(folder / "images")
    source = SetSource("found", folder / "found", SIDE, str(tmp_path / "moved"))
    assert source.frames(3, [0]).shape == (1, SIDE, SIDE, 3)


def test_a_phase_is_another_one_when_a_set_or_the_start_is(folder, tmp_path):
    start = tmp_path / "start"
    start.mkdir()
    (start / "weights").write_text("old")
    chosen, _ = phase_of(folder, "{tracks: 1, chat: 2, found: 0}", "{rec: 1, vqa: 1}", f"model.init_from={start}")
    before = digests(chosen, "finetune")
    assert set(before) == {"sets.chat"}
    first = digests(chosen, "warmup")
    assert set(first) == {"model.init_from"}
    (start / "weights").write_text("new")
    assert digests(chosen, "warmup") != first
    assert digests(chosen, "finetune") == before
    assert digests(chosen, "finetune", starts=True) == {**before, **digests(chosen, "warmup")}
    copy = shutil.copytree(folder / "found", tmp_path / "sets" / "chat")
    assert copy.is_dir()
    moved, _ = phase_of(tmp_path / "sets", "{tracks: 1, chat: 2}", "{rec: 1}")
    assert digests(moved, "finetune")["sets.chat"] != before["sets.chat"]


def test_imported_sets_need_no_tracks(folder, data, tmp_path, capsys):
    command = [
        "train",
        "run",
        "finetune",
        "--output",
        str(tmp_path),
        *(word for name in SETTINGS for word in ("--set", name)),
    ]
    changes = ["steps=1", "logging_steps=1", "sets={found: 1}", "mixture={rec: 1}"]
    command += [word for change in changes for word in ("--set", f"training.finetune.{change}")]
    assert run([*command, "--set", f"training.sets_folder={folder}"]) == 0
    assert json.loads((tmp_path / "training.json").read_text())["data"] is None
    assert run([*command, "--resume", "--set", "training.finetune.sets={tracks: 1}"]) == 2
    assert "name their folder with --data" in capsys.readouterr().err
