"""The page of one evaluation, and of several side by side."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from report_samples import IDS, Tags, answers, evaluation, links, words

from elysium.errors import UsageError
from elysium.evaluation.report import render_evaluations
from elysium.evaluation.report.breakdown import breakdowns
from elysium.evaluation.report.clips import COLOURS, decode
from elysium.evaluation.report.scenes import Scene, draw_scenes
from elysium.evaluation.report.side_by_side import put_side_by_side
from elysium.evaluation.results import ItemResult, summarise

FRAME = np.full((90, 160, 3), 120, dtype=np.uint8)


def page(folders, names=None):
    return render_evaluations(folders, names, samples=200)


@pytest.fixture
def write(tmp_path):
    """Returns a function that writes an evaluation into a folder of its own."""

    def write(name, found):
        folder = tmp_path / name
        folder.mkdir()
        found.write(folder / "metrics.json")
        return folder

    return write


def test_one_evaluation_says_what_was_measured(write):
    measured = evaluation(
        50.0,
        failures=3,
        speed=20.0,
        checkpoint="runs/x/model",
        version="7",
        data_hash="abc.dir",
        leaks=2,
        protocol={"absent_frames": "miss"},
        notes=["CSRT was not measured"],
        device="a GPU",
    )
    text = words(page([write("ours", measured)]))
    for part in ("ours", "runs/x/model", "version 7", "abc.dir", "2 of the items were in the training data"):
        assert part in text
    for part in ("Follow a given box · LaSOT", "12 items", "3 unparsed", "20.0 13.0 2,048 MiB", "Absent frames miss"):
        assert part in text
    assert "leaks: 2 of the items were trained on" in text
    assert "CSRT was not measured" in text
    assert "a GPU" in text


@pytest.mark.parametrize(
    ("leaks", "said"), [(None, "leaks: not looked for"), (0, "leaks: none among 97 training clips")]
)
def test_what_the_leak_guard_found_is_told(write, leaks, said):
    found = evaluation(50, leaks=leaks).model_copy(update={"leak_check": {"num_training_clips": 97}})
    assert said in words(page([write("a", found)]))


def test_models_stand_side_by_side_with_verdicts_against_the_first(write):
    folders = [write("first", evaluation(50)), write("better", evaluation(60)), write("worse", evaluation(40))]
    text = words(page(folders))
    assert "3 models side by side" in text
    assert "B better better is better than first: better in sot-lasot auc, worse in none." in text
    assert re.search(r"B better 60\.0 \S+ to \S+ ▲ better \+10\.0", text)
    assert re.search(r"C worse 40\.0 \S+ to \S+ ▼ worse −10\.0", text)


def test_names_are_the_readers_or_the_ends_of_the_paths_that_tell_them_apart(write, tmp_path):
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
    folders = [write("a/evaluation", evaluation(50)), write("b/evaluation", evaluation(60))]
    assert "b/evaluation against a/evaluation" in words(page(folders))
    assert "new against old" in words(page(folders, ["old", "new"]))


@pytest.mark.parametrize(
    ("count", "names", "message"),
    [
        (0, None, "one to 5 evaluations fit side by side, got 0"),
        (6, None, "one to 5 evaluations fit side by side, got 6"),
        (2, ["a"], "there are 2 evaluations and 1 names"),
        (2, ["a", "a"], "two evaluations have the name 'a'"),
    ],
)
def test_what_does_not_fit_is_refused(write, count, names, message):
    folders = [write(f"e{number}", evaluation(50)) for number in range(count)]
    with pytest.raises(UsageError, match=message):
        page(folders, names)


def test_one_evaluation_named_twice_is_told_by_its_path(write):
    folder = write("a", evaluation(50))
    with pytest.raises(UsageError, match=f"the same evaluation is named twice: '{folder.resolve()}'"):
        page([folder, folder])


def test_a_folder_without_an_evaluation_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"metrics\.json does not exist"):
        page([tmp_path])


def test_the_page_is_one_whole_file_whatever_the_names_hold(write):
    evil = '"><script>alert(1)</script>'
    found = page([write("a", evaluation(50)), write("b", evaluation(60, notes=[evil]))], ["a", evil])
    tags = Tags(found)
    assert links(found) == []
    assert evil not in found
    assert [kind.get("type") for kind in tags.all("script")].count(None) == 1, "no script but the page's own"


def test_every_picture_and_plot_has_words(write):
    folder = write("a", evaluation(50))
    draw_scenes(folder / "clips", evaluation(50).tasks, scene)
    tags = Tags(page([folder, write("b", evaluation(60))]))
    assert all(len(image["alt"]) > 10 for image in tags.all("img"))
    plots = [svg for svg in tags.all("svg") if svg.get("role") == "img"]
    assert len(plots) == 3
    assert all(svg["aria-label"] for svg in plots)
    assert all(svg.get("aria-hidden") for svg in tags.all("svg") if "role" not in svg and svg.get("class") != "plot")


def test_without_a_script_the_numbers_of_every_plot_are_there(write):
    text = words(page([write("a", evaluation(51.25)), write("b", evaluation(61.25))]))
    assert "Success: share of frames, % overlap above (IoU) a b static box 0 51.2 61.2 30.0" in text
    assert re.search(r"Attribute Items A B fast motion 6 50\.8 \S+ to \S+ 60\.8 \S+ to \S+", text)
    assert "Size in the frame Items A B small 4" in text
    assert re.search(r"Where the models differ most Item A B clip-00 46\.2 56\.2", text)


def test_items_that_are_right_or_wrong_are_counted(write):
    folders = [write("a", answers([1, 1, 1, 0, 0, 0, 0])), write("b", answers([1, 1, 0, 1, 0, 0, 0]))]
    assert "Beside a Both right Only the first Only this None B b 2 1 1 3" in words(page(folders))


def test_a_metric_that_a_baseline_lacks_is_a_dash(write):
    items = [
        ItemResult(
            id=f"q{n}",
            video=f"v{n}",
            figures={"model": {"judge_score": n / 4, "exact_match": 100.0}, "most_common_answer": {"exact_match": 0.0}},
        )
        for n in range(20)
    ]
    found = evaluation(50).model_copy(update={"tasks": {"vqa-msvd": summarise(items, samples=50, seed=0)}})
    text = words(page([write("a", found)]))
    assert "judge: 0 to 5 exact match Failed answers a 2.38 " in text
    assert "most common answer – 0.0" in text


def test_a_set_whose_truth_is_not_public_is_shown_without_figures(write):
    items = [ItemResult(id=f"i{n}", video=f"v{n}", figures={"model": {}}, groups={"size": ["small"]}) for n in range(8)]
    found = evaluation(50).model_copy(update={"tasks": {"sot-got10k-test": summarise(items, samples=50, seed=0)}})
    text = words(page([write("a", found), write("b", found)]))
    assert "GOT-10k test 8 items. Their truth is not public" in text


def test_a_curve_of_other_steps_keeps_its_ends(write):
    items = [
        ItemResult(
            id=f"i{n}", video=f"v{n}", figures={"model": {"auc": 5.0}}, curves={"model": {"precision": [0.0] * 21}}
        )
        for n in range(8)
    ]
    found = evaluation(50).model_copy(update={"tasks": {"sot-trackingnet": summarise(items, samples=50, seed=0)}})
    assert '"x":[0.0,50.0]' in page([write("a", found)])


def test_other_data_and_protocols_are_warned_of(write):
    folders = [
        write("a", evaluation(50, data_hash="1.dir", protocol={"scale": 100})),
        write("b", evaluation(60, data_hash="2.dir", protocol={"scale": 1000})),
    ]
    text = words(page(folders))
    assert "2 things make the comparison weaker than it looks" in text
    assert "the data is not the same: 2.dir and 1.dir" in text
    assert "Scale A 100 B 1000" in text


def scene(task, name):
    """Returns an item whose true box stands still, with the first model's answer."""
    return Scene(caption=f"the {name}", frames=[FRAME] * 3, true=[TRUE] * 3, predicted=[FIRST] * 3)


TRUE, FIRST, SECOND = (0.1, 0.2, 0.4, 0.6), (0.3, 0.2, 0.6, 0.6), (0.55, 0.3, 0.9, 0.8)


def drawn(found):
    """Returns the first picture of a page."""
    import base64

    return decode(base64.b64decode(re.search(r"data:image/webp;base64,([^\"]+)", found).group(1)), 3)


def at_edge(image, box, colour):
    place = (round(box[0] * image.width), round((box[1] + box[3]) / 2 * image.height))
    wanted = Image.new("RGB", (1, 1), colour).getpixel((0, 0))
    return np.abs(np.array(image.getpixel(place)) - wanted).max() < 60


def test_several_models_are_drawn_into_the_first_ones_pictures(write):
    folders = [write("a", evaluation(50)), write("b", evaluation(60))]
    draw_scenes(folders[0] / "clips", evaluation(50).tasks, scene)
    for folder, box in zip(folders, (FIRST, SECOND), strict=True):
        lines = [
            {"task": task, "id": name, "boxes": [box, box, None]} for task in ("other", "sot-lasot") for name in IDS
        ]
        (folder / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = page(folders)
    first, _, last = drawn(found)
    assert at_edge(first, FIRST, COLOURS[0])
    assert at_edge(first, SECOND, COLOURS[1])
    assert not at_edge(last, SECOND, COLOURS[1])
    text = words(found)
    assert "“the clip-11” Best of A · clip-11 A AUC 55.0 B AUC 65.0" in text


def test_one_model_is_shown_as_it_was_drawn(write):
    folder = write("a", evaluation(50))
    draw_scenes(folder / "clips", evaluation(50).tasks, scene)
    found = page([folder])
    assert at_edge(drawn(found)[0], FIRST, COLOURS[0])
    assert "“the clip-11” Best · clip-11 AUC 55.0" in words(found)


def test_what_models_said_stands_beside_the_truth(write):
    def described(task, name):
        return Scene(caption="the box", frames=[FRAME], true=[TRUE], said="a car", answer="a red car")

    folders = [write("a", evaluation(50, "video-reg-x")), write("b", evaluation(60, "video-reg-x"))]
    draw_scenes(folders[0] / "clips", evaluation(50, "video-reg-x").tasks, described)
    (folders[1] / "predictions.jsonl").write_text(
        json.dumps({"task": "video-reg-x", "id": "clip-11", "text": ""}) + "\n"
    )
    text = words(page(folders))
    assert "A AUC 55.0: “a car” B AUC 65.0: no answer true: “a red car”" in text


def test_sizes_go_from_small_to_large_and_many_classes_by_their_figures():
    items = [
        ItemResult(
            id=f"i{n}",
            video=f"v{n}",
            figures={"model": {"auc": float(n)}},
            groups={"size": [("large", "small", "medium")[n % 3]], "class": [f"class {n % 40}"]},
        )
        for n in range(80)
    ]
    found = evaluation(50).model_copy(update={"tasks": {"sot-x": summarise(items, samples=50, seed=0)}})
    size, classes = breakdowns(put_side_by_side({"a": found}, samples=50, seed=0).tables[0])
    assert [name for name, _, _ in size.rows] == ["small", "medium", "large"]
    assert (len(classes.rows), classes.num_drawn) == (40, 16)
    assert [name for name, _, _ in classes.rows[:2]] == ["class 0", "class 1"]
    assert classes.chart.count('class="row"') == 16


def test_a_large_set_lists_a_part_and_says_so(write):
    many = [f"q{number:04}" for number in range(1000)]
    text = words(page([write("a", evaluation(50, ids=many))]))
    assert "The first 300 of 1,000 items; metrics.json holds all" in text
    assert "q0299" in text
    assert "q0300 " not in text
