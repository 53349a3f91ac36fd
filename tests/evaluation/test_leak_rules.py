"""When an evaluation clip is in training: what is found however it was changed, and what is not."""

import io
import json
import os
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from elysium.data.samples import sample_clips
from elysium.data.simulator import simulate
from elysium.data.video import iterate_video
from elysium.errors import ElysiumError
from elysium.evaluation.leaks.building import build
from elysium.evaluation.leaks.clips import Clip
from elysium.evaluation.leaks.guard import find_leaks
from elysium.evaluation.leaks.looking import of_evaluation, of_training

REFERENCE = Path(os.environ.get("ELYSIUM_REFERENCE", Path(__file__).parents[2] / "../shared/reference"))
FRAMES = 24


def pictures(seed):
    return [Image.fromarray(image) for image in simulate(seed, FRAMES, 96).frames]


def clip(name, images, **changes):
    return Clip(**{"id": name, "video": None, "frames": [np.asarray(image) for image in images], **changes})


def jpeg(image, quality):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def resized(image, factor):
    return image.resize((round(image.width * factor), round(image.height * factor)))


def cropped(image, left, top, right, bottom):
    """Cuts shares of the width and height off the sides."""
    width, height = image.size
    box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
    return image.crop(tuple(map(round, box)))


def h264(images, crf):
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = *images[0].size, "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryfast"}
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


def each(change):
    return lambda images: [change(image) for image in images]


# The copies that the guard promises to find; `benchmarks/leaks.py` has the rates, also of what it does not promise.
COPIES = {
    "the same": list,
    "jpeg 30": each(lambda image: jpeg(image, 30)),
    "h264 crf 35": lambda images: h264(images, 35),
    "half size": each(lambda image: resized(image, 0.5)),
    "double size": each(lambda image: resized(image, 2)),
    "2.5 % cut off every side": each(lambda image: cropped(image, 0.025, 0.025, 0.025, 0.025)),
    "5 % cut off one side": each(lambda image: cropped(image, 0.05, 0, 0, 0)),
    "brighter": each(lambda image: ImageEnhance.Brightness(image).enhance(1.25)),
    "darker": each(lambda image: ImageEnhance.Brightness(image).enhance(0.75)),
    "less contrast": each(lambda image: ImageEnhance.Contrast(image).enhance(0.7)),
    "without colours": each(lambda image: image.convert("L").convert("RGB")),
    "mirrored": each(ImageOps.mirror),
    "every third frame": lambda images: images[1::3],
    "without the beginning": lambda images: images[6:],
    "the first half": lambda images: images[:12],
    "all of it, slightly": lambda images: h264([ImageEnhance.Contrast(image).enhance(1.2) for image in images[3:]], 30),
}


@pytest.fixture(scope="module")
def trained():
    return {f"t{seed}": pictures(seed) for seed in range(6)}


@pytest.fixture(scope="module")
def index(trained):
    return build([clip(name, images) for name, images in trained.items()])


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_is_found_however_it_was_changed(trained, index, copy):
    changed = [clip(f"copy of {name}", COPIES[copy](images)) for name, images in trained.items()]
    leaks = find_leaks(changed, [index]).found
    assert [(leak.evaluation, leak.training) for leak in leaks] == [(f"copy of {name}", name) for name in trained]
    assert {(leak.how, leak.mirrored) for leak in leaks} == {("look", copy == "mirrored")}


def test_other_clips_of_the_same_simulator_are_not_found(index):
    others = [clip(f"e{seed}", pictures(seed)) for seed in range(1_000_000, 1_000_012)]
    assert find_leaks(others, [index]).found == ()


def test_which_frames_are_alike_and_how_much_is_told(trained, index):
    other = pictures(1_000_000)
    (leak,) = find_leaks([clip("e", [*other[:10], trained["t2"][12], *other[10:]])], [index]).found
    assert (leak.training, leak.distance, leak.frames, leak.clips) == ("t2", 0, 1, 1)
    numbers = of_evaluation(FRAMES + 1), of_training(FRAMES)
    assert leak.pair[0] in numbers[0]
    assert leak.pair[1] in numbers[1]
    assert leak.pair == (10, 12)
    assert leak.words == "e looks like t2 (1 frame, the likest 0 of 128 bits apart)"


def test_a_single_picture_is_found_among_pictures_and_in_a_video(trained, index):
    pictures_index = build([clip(f"p{seed}", pictures(seed)[:1]) for seed in range(10, 16)])
    asked = [clip("e", [jpeg(pictures(12)[0], 30)]), clip("of a video", [resized(trained["t3"][12], 0.5)])]
    leaks = find_leaks(asked, [pictures_index, index])
    assert [(leak.evaluation, leak.training) for leak in leaks.found] == [("e", "p12"), ("of a video", "t3")]


def test_flat_frames_are_like_no_other():
    black = [Image.new("RGB", (64, 64))] * 4
    leaks = find_leaks([clip("e", black)], [build([clip("t", black)])])
    assert leaks.found == ()
    assert leaks.summary()["num_flat"] == 1


def real_videos():
    try:
        videos = {sample.id: sample.path for sample in sample_clips()}
    except ElysiumError as error:
        pytest.skip(str(error))
    captions = REFERENCE / "videos" / "captions.jsonl"
    if captions.is_file():
        lines = map(json.loads, captions.read_text().splitlines())
        videos |= {line["id"]: REFERENCE / "videos" / line["file"] for line in lines}
    return videos


def test_real_videos_are_told_apart_and_found_again():
    videos = {}
    for name, path in real_videos().items():
        images = [Image.fromarray(frame.image) for frame in islice(iterate_video(path), 8)]
        videos[name] = [resized(image, 384 / image.width) for image in images]
    index = build([clip(name, images) for name, images in videos.items()])
    copies = [
        clip(f"copy of {name}", [jpeg(resized(image, 0.5), 50) for image in images]) for name, images in videos.items()
    ]
    leaks = find_leaks(copies, [index]).found
    assert [(leak.evaluation, leak.training, leak.clips) for leak in leaks] == [
        (f"copy of {name}", name, 1) for name in videos
    ]


def names(**changes):
    """Returns a clip without frames worth comparing."""
    return clip(changes.pop("id", "e"), [Image.new("RGB", (8, 8))], **changes)


@pytest.mark.parametrize(
    ("training", "evaluation", "found"),
    [
        ({"id": "a"}, {"id": "a"}, ["id"]),
        ({"id": "a", "dataset": "lasot"}, {"id": "a", "dataset": "lasot"}, ["id"]),
        ({"id": "a", "dataset": "lasot"}, {"id": "a", "dataset": "otb"}, []),
        ({"id": "a"}, {"id": "a", "dataset": "otb"}, ["id"]),
        ({"video": "bike-1"}, {"video": "bike-1"}, ["video"]),
        ({"video": "bike-1", "dataset": "lasot"}, {"video": "bike-1", "dataset": "uav123"}, []),
        ({"simulated": "s1"}, {"simulated": "s1"}, ["clip"]),
        ({"simulated": "s1"}, {"simulated": "s2"}, []),
        ({"content": "x", "span": (0, 2)}, {"content": "x", "span": (1.5, 3)}, ["time"]),
        ({"content": "x", "span": (0, 2)}, {"content": "x", "span": (2, 3)}, ["time"]),
        ({"content": "x", "span": (0, 2)}, {"content": "x", "span": (2.1, 3)}, []),
        ({"content": "x", "span": (0, 2)}, {"content": "y", "span": (0, 2)}, []),
        ({}, {}, []),
    ],
)
def test_names_and_seconds(training, evaluation, found):
    leaks = find_leaks([names(**evaluation)], [build([names(**{"id": "t", **training})])])
    assert [leak.how for leak in leaks.found] == found


def test_the_longest_overlap_counts():
    trained = [names(id=f"t{end}", content="x", span=(0.0, float(end))) for end in (1, 3, 2)]
    (leak,) = find_leaks([names(content="x", span=(0.5, 9.0))], [build(trained)]).found
    assert (leak.training, leak.seconds, leak.clips) == ("t3", 2.5, 3)


def test_a_file_that_is_on_both_sides_is_found_whatever_it_shows(tmp_path):
    for name, grey in (("a", 10), ("b", 20), ("c", 10)):
        Image.new("L", (32, 32), grey).save(tmp_path / f"{name}.png")
    trained = build([Clip("t", None, [tmp_path / "a.png"])])
    leaks = find_leaks([Clip(name, None, [tmp_path / f"{name}.png"]) for name in "bc"], [trained])
    assert [(leak.evaluation, leak.how, leak.frames) for leak in leaks.found] == [("c", "file", 1)]
