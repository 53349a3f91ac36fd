import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from elysium.config import CurateSettings
from elysium.curation.filters.base import PieceSubject
from elysium.curation.filters.registry import run_filters
from elysium.curation.protocols import Frame
from elysium.data.simulator import simulate
from elysium.data.video import iterate_video

SETTINGS = CurateSettings()


@pytest.fixture
def videos():
    """The folder of real clips."""
    folder = Path(os.environ.get("ELYSIUM_REFERENCE", Path(__file__).parents[2] / "../shared/reference")) / "videos"
    if not folder.is_dir():
        pytest.skip("the reference videos are not here")
    return folder


@pytest.fixture(scope="module")
def clips():
    """Two simulated clips of 24 frames, 288 pixels."""
    return [simulate(seed, 24, 288).frames for seed in (11, 24)]


def judged(images, names=("cut", "dissolve", "motion", "bars", "overlay")):
    subject = PieceSubject(
        [Frame(np.ascontiguousarray(image), index, index / 12) for index, image in enumerate(images)]
    )
    verdicts = run_filters("piece", subject, SETTINGS, all_of_them=True)
    return {verdict.filter: verdict for verdict in verdicts if verdict.filter in names}


def rejections(images):
    return {verdict.reason for verdict in judged(images).values() if not verdict.passed}


@pytest.mark.parametrize("seed", range(3))
def test_simulated_clips_pass(seed):
    assert rejections(simulate(seed, 24, 288).frames) == set()


def test_real_video_passes(carphone_frames):
    assert rejections([frame.image for frame in carphone_frames]) == set()


def test_a_cut_is_found_where_it_is(clips):
    verdict = judged(np.concatenate([clips[0][:9], clips[1][9:]]))["cut"]
    assert (verdict.reason, verdict.detail) == ("scene_cut", "frame 9")


@pytest.mark.parametrize("length", [3, 6, 10])
def test_a_dissolve_is_found(clips, length):
    weights = np.clip((np.arange(24) - 7) / (length + 1), 0, 1)[:, None, None, None]
    assert judged(np.rint(clips[0] * (1 - weights) + clips[1] * weights).astype(np.uint8))["dissolve"].reason


def test_a_fade_to_black_is_found(clips):
    weights = np.clip((np.arange(24) - 7) / 9, 0, 1)[:, None, None, None]
    verdict = judged(np.rint(clips[0] * (1 - weights)).astype(np.uint8))["dissolve"]
    assert (verdict.passed, verdict.reason) == (False, "dissolve")


def test_a_change_of_light_is_no_dissolve(clips):
    weights = np.clip((np.arange(24) - 7) / 9, 0, 1)[:, None, None, None]
    lit = np.clip(clips[0] * 0.7 + 60.0 * weights, 0, 255).astype(np.uint8)
    assert judged(lit)["dissolve"].passed


def test_a_still_picture_with_noise_is_static(clips):
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 2, (24, *clips[0][0].shape))
    still = np.clip(clips[0][0] + noise, 0, 255).astype(np.uint8)
    assert judged(still)["motion"].reason == "static"


@pytest.mark.parametrize(("axis", "share"), [(1, 0.25), (2, 0.25), (1, 0.0625)])
def test_black_bars_are_measured_as_a_share_of_the_frame(clips, axis, share):
    images, bar = clips[0].copy(), int(288 * share / 2)
    index = [slice(None)] * 4
    for part in (slice(0, bar), slice(288 - bar, 288)):
        index[axis] = part
        images[tuple(index)] = 4
    verdict = judged(images)["bars"]
    assert (verdict.reason, verdict.value) == ("black_bars", pytest.approx(share, abs=0.01))


def test_a_dark_scene_has_no_bars(clips):
    assert judged((clips[0] * 0.08).astype(np.uint8))["bars"].passed


@pytest.mark.parametrize(
    ("text", "at", "colour"), [("SUMMER HOLIDAYS", 0.5, 255), ("a storm hits the coast", 0.9, 250)]
)
def test_text_over_the_picture_is_found(clips, text, at, colour):
    images = []
    for frame in clips[1]:
        image = Image.fromarray(frame)
        font = ImageFont.load_default(size=24)
        ImageDraw.Draw(image).text((144, 288 * at), text, font=font, fill=(colour,) * 3, anchor="mm")
        images.append(np.asarray(image))
    verdict = judged(images)["overlay"]
    assert verdict.reason == "text_overlay"
    assert 0.01 < verdict.value < 0.2


def test_a_moving_line_of_letters_is_part_of_the_scene(clips):
    images = []
    for index, frame in enumerate(clips[1]):
        image = Image.fromarray(frame)
        font = ImageFont.load_default(size=24)
        ImageDraw.Draw(image).text((60 + 6 * index, 60 + 6 * index), "TAXI 24 H", font=font, fill=(255,) * 3)
        images.append(np.asarray(image))
    assert judged(images)["overlay"].passed


def test_the_reference_clips_pass(videos):
    for path in sorted(videos.glob("*.m*")):
        images = []
        for index, frame in enumerate(iterate_video(path)):
            if index % 3 == 0:
                images.append(frame.image)
            if len(images) == 12:
                break
        assert rejections(images) <= {"static"}, path.name  # half a second may well be still
