"""Clips of the best and worst items: what is chosen, what is drawn, and what is kept for drawing once more."""

import json

import numpy as np
import pytest
from PIL import Image, ImageColor
from report_samples import task

from elysium.errors import ElysiumError
from elysium.evaluation.report.clips import COLOURS, TRUE_COLOUR, Drawing, choose_frames, decode, draw, encode, shrunk
from elysium.evaluation.report.scenes import Scene, draw_scenes, extremes, read_shown

GREY = np.full((90, 160, 3), 120, dtype=np.uint8)
TRUE, FIRST, SECOND = (0.1, 0.2, 0.4, 0.6), (0.3, 0.2, 0.6, 0.6), (0.55, 0.3, 0.9, 0.8)


def near(image, point, colour):
    """Returns whether a pixel has about a colour: WebP changes it a little."""
    return np.abs(np.array(image.getpixel(point)) - ImageColor.getrgb(colour)).max() < 60


def edge(box, size):
    """Returns the middle of a box's left edge in pixels."""
    return round(box[0] * size[0]), round((box[1] + box[3]) / 2 * size[1])


def count_frames(path):
    with Image.open(path) as image:
        return image.n_frames


def test_every_models_box_has_its_own_colour_and_the_true_one_white():
    [image] = decode(draw(Drawing([GREY], [TRUE], {"A": [FIRST], "B": [SECOND]})), 1)
    assert image.size == (320, 180)
    for box, colour in ((TRUE, TRUE_COLOUR), (FIRST, COLOURS[0]), (SECOND, COLOURS[1])):
        assert near(image, edge(box, image.size), colour)


def test_a_model_without_an_answer_keeps_its_colour_from_the_next():
    [image] = decode(draw(Drawing([GREY], [TRUE], {"A": None, "B": [SECOND]})), 1)
    assert near(image, edge(SECOND, image.size), COLOURS[1])


def test_missing_boxes_are_no_boxes():
    drawing = Drawing([GREY] * 3, [TRUE, None, TRUE], {"model": [FIRST, FIRST, None]}, [1, 2, 3], 9)
    frames = decode(draw(drawing), 3)
    assert [near(frame, edge(TRUE, frame.size), TRUE_COLOUR) for frame in frames] == [True, False, True]
    assert [near(frame, edge(FIRST, frame.size), COLOURS[0]) for frame in frames] == [True, True, False]


def test_there_are_five_colours():
    with pytest.raises(ValueError, match="at most 5 predictions have a colour, got 6"):
        draw(Drawing([GREY], [TRUE], {str(n): [FIRST] for n in range(6)}))


@pytest.mark.parametrize(
    ("shape", "size"), [((1080, 1920), (320, 180)), ((640, 360), (180, 320)), ((20, 10), (160, 320))]
)
def test_pictures_of_any_size_are_brought_to_one(shape, size):
    assert shrunk([np.zeros((*shape, 3), dtype=np.uint8)])[0].size == size


def test_a_busy_clip_is_brought_under_its_size():
    noise = shrunk(list(np.random.default_rng(0).integers(0, 256, (6, 180, 320, 3), dtype=np.uint8)))
    assert len(encode(noise, most_bytes=10**9)) > 150_000
    assert len(encode(noise, most_bytes=150_000)) <= 150_000


@pytest.mark.parametrize("pattern", [[1, 2, 3, 4], [1, 1, 2, 2], [1, 1, 1, 1], [1, 2, 2, 3]])
def test_pictures_that_stand_still_are_not_lost(pattern):
    frames = shrunk([GREY // number for number in pattern])
    decoded = [np.asarray(frame).mean() for frame in decode(encode(frames), len(frames))]
    assert decoded == pytest.approx([np.asarray(frame).mean() for frame in frames], abs=2)


def test_a_long_video_is_shown_from_end_to_end():
    chosen = choose_frames([1.0] * 1000, around_loss=False)
    assert (len(chosen), chosen[0], chosen[-1]) == (48, 0, 999)
    assert max(np.diff(chosen)) - min(np.diff(chosen)) <= 1


@pytest.mark.parametrize("lost", [1, 30, 400, 995])
def test_a_loss_is_shown_with_what_came_before_and_after(lost):
    overlaps = [0.8] * lost + [0.05] * (1000 - lost)
    chosen = choose_frames(overlaps, around_loss=True)
    assert chosen == list(range(chosen[0], chosen[0] + 48))
    assert 0 <= chosen[0] <= lost <= chosen[-1] <= 999


def test_what_is_never_found_is_shown_from_end_to_end():
    assert choose_frames([0.0] * 100, around_loss=True)[-1] == 99


def test_a_flicker_is_no_loss():
    overlaps = [0.8] * 400 + [0.0] * 600
    overlaps[100] = 0.0
    overlaps[700] = 0.9
    assert 400 in choose_frames(overlaps, around_loss=True)


def test_the_best_and_the_worst_are_chosen_once_each():
    names = [f"clip-{number:02}" for number in range(12)]
    assert extremes(task(50), 2) == [
        ("best", 1, names[11]), ("best", 2, names[10]), ("worst", 1, names[0]), ("worst", 2, names[1])
    ]  # fmt: skip
    assert [name for _, _, name in extremes(task(50, ids=names[:3]), 2)] == [names[2], names[1], names[0]]
    assert extremes(task(50, ids=names[:1])) == [("best", 1, names[0])]


def scene(task, name):
    moved = [(0.1 + 0.01 * n, 0.2, 0.4 + 0.01 * n, 0.6) for n in range(60)]
    return Scene(caption=f"the “{name}”", frames=[GREY] * 60, true=[*moved[:-1], (np.nan,) * 4], predicted=moved)


def test_what_is_drawn_is_listed_with_all_that_is_needed_to_draw_again(tmp_path):
    draw_scenes(tmp_path / "clips", {"sot-lasot": task(50), "rsot-x/y": task(50)}, scene)
    shown = read_shown(tmp_path)
    assert [(entry.task, entry.rank, entry.id) for entry in shown[:2]] == [
        ("sot-lasot", "best", "clip-11"), ("sot-lasot", "worst", "clip-00")
    ]  # fmt: skip
    best = shown[0]
    assert (best.numbers[0], best.numbers[-1], best.length, best.figure) == (1, 60, 60, 55.0)
    assert len(best.true) == len(best.predicted) == len(best.numbers) == 48
    assert best.true[-1] is None
    for entry in shown:
        assert count_frames(tmp_path / "clips" / entry.file) == 48
        assert (tmp_path / "clips" / entry.pictures).is_file()
    assert shown[2].file == "rsot-x_y-best-1.webp", "a task's name is no path"


def test_pictures_with_words_stand_still_and_show_the_given_box(tmp_path):
    def described(task, name):
        return Scene(caption="?", frames=[GREY] * 8, true=[TRUE], said="a car", answer="a red car")

    [best, _] = draw_scenes(tmp_path / "clips", {"video-reg-x": task(50)}, described)
    assert (best.said, best.answer, best.predicted, best.numbers) == ("a car", "a red car", None, [])
    [image] = decode((tmp_path / "clips" / best.file).read_bytes(), 1)
    assert near(image, edge(TRUE, image.size), TRUE_COLOUR)


def test_a_question_about_a_video_shows_the_video(tmp_path):
    def asked(task, name):
        return Scene(caption="who?", frames=[GREY, GREY // 2] * 2, said="", answer="man")

    [best, _] = draw_scenes(tmp_path / "clips", {"vqa-x": task(50)}, asked)
    assert count_frames(tmp_path / "clips" / best.file) == 4


def test_what_cannot_be_shown_is_left_out(tmp_path):
    assert draw_scenes(tmp_path / "clips", {"sot-x": task(50)}, lambda task, name: None) == []
    assert read_shown(tmp_path) == []
    assert read_shown(tmp_path / "nowhere") == []


def test_a_lost_frame_and_a_damaged_index_are_named(tmp_path):
    gone = Scene(caption="x", frames=[tmp_path / "gone.png"], true=[TRUE], predicted=[FIRST])
    with pytest.raises(ElysiumError, match=r"gone\.png cannot be drawn"):
        draw_scenes(tmp_path / "clips", {"rec-x": task(50)}, lambda task, name: gone)
    (tmp_path / "clips" / "index.json").write_text(json.dumps([{"file": "a.webp"}]))
    with pytest.raises(ElysiumError, match=r"index\.json cannot be read"):
        read_shown(tmp_path)


def test_frames_are_read_as_the_model_reads_them(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera on its side
    Image.new("RGB", (64, 32)).save(tmp_path / "a.jpg", exif=exif)
    assert shrunk([tmp_path / "a.jpg"])[0].size == (160, 320)
