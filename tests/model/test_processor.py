"""What people have (files, folders, lists, arrays, pictures) becomes what the model takes, or a clear refusal."""

import numpy as np
import pytest
import torch
from model_parts import PROMPTS, alone, batch, clips, frames, tiny
from PIL import Image

from elysium.data.video import read_video, write_video
from elysium.errors import ElysiumError
from elysium.model.frames import read_clip
from elysium.model.processor import IGNORED
from elysium.prompts import Task, ask, boxes_answer

FILM = "USER: <video>What moves?ASSISTANT:"


@pytest.fixture(scope="module")
def processor():
    return tiny()[1]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "clip.mp4"
    # Flat frames: what compression leaves of them tells which frame it was.
    write_video(path, np.stack([np.full((48, 64, 3), 10 * number, np.uint8) for number in range(20)]), 10)
    return path


def test_every_form_of_a_clip_gives_the_same_pixels(processor, tmp_path):
    clip = frames(3)
    for number, frame in enumerate(clip):
        Image.fromarray(frame).save(tmp_path / f"{number:03}.png")
    forms = {
        "arrays": clip,
        "pictures": [Image.fromarray(frame) for frame in clip],
        "tensors": [torch.from_numpy(frame) for frame in clip],
        "one array": np.stack(clip),
        "one tensor": torch.from_numpy(np.stack(clip)),
        "folder": tmp_path,
        "folder by name": str(tmp_path),
        "paths": sorted(tmp_path.iterdir()),
    }
    expected = processor(text=PROMPTS[0], videos=[clip])
    for name, form in forms.items():
        found = processor(text=PROMPTS[0], videos=[form])
        assert all(torch.equal(found[key], expected[key]) for key in expected), name


def test_a_video_file_gives_as_many_frames_as_the_prompt_has_places(processor, film):
    found = processor(text=PROMPTS[0], videos=[film])["pixel_values"]
    decoded = read_video(film).frames
    expected = processor.pixel_values([decoded[0], decoded[10], decoded[19]])
    assert torch.equal(found, expected), "first, middle, last"


def test_video_stands_for_numbered_frames(processor, film):
    written = processor(text=FILM, videos=film, num_frames=3)
    frame_by_frame = processor(
        text=FILM.replace("<video>", "Frame 1: <image>, Frame 2: <image>, Frame 3: <image>\n"), videos=film
    )
    assert torch.equal(written["input_ids"], frame_by_frame["input_ids"])
    assert len(processor(text=FILM, videos=film)["pixel_values"]) == 8
    assert len(processor(text=FILM, videos=[frames(5)])["pixel_values"]) == 5


def test_images_are_dealt_out_to_prompts_in_order(processor):
    flat = [frame for clip in clips() for frame in clip]
    expected = batch(processor)
    for images in (flat, clips()):
        found = processor(text=PROMPTS, images=images)
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_single_picture_needs_no_list(processor):
    expected = alone(processor, 1)
    for picture in (clips()[1][0], Image.fromarray(clips()[1][0])):
        found = processor(text=PROMPTS[1], images=picture)
        assert torch.equal(found["pixel_values"], expected["pixel_values"])


def test_a_prompt_without_frames_needs_no_pixels(processor):
    found = processor(text="USER: Hello.ASSISTANT:")
    assert set(found) == {"input_ids", "attention_mask"}


def test_labels_are_the_answers_and_their_ends_and_nothing_else(processor):
    answers = [boxes_answer(np.full((3, 4), 0.25)), "[1,2,3,4]."]
    made = batch(processor, answers=answers)
    for row, answer in enumerate(answers):
        kept = made["labels"][row][made["labels"][row] != IGNORED]
        assert kept.tolist() == processor.encode_answer(answer)
        assert kept[-1] == processor.tokenizer.eos_token_id
        shown = made["attention_mask"][row].bool()
        prompt = len(processor.encode_prompt(PROMPTS[row]))
        assert (made["labels"][row][shown][:prompt] == IGNORED).all()
        assert (made["labels"][row][~shown] == IGNORED).all()


def test_frames_are_resized_and_normalised_as_clip_does(processor):
    white = np.full((50, 70, 3), 255, np.uint8)
    pixels = processor.pixel_values([white])
    assert pixels.shape == (1, 3, 32, 32)
    expected = (1 - np.array([0.48145466, 0.4578275, 0.40821073])) / np.array([0.26862954, 0.26130258, 0.27577711])
    assert np.allclose(pixels[0, :, 5, 5], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "white"), [("siglip", (1.0, 1.0, 1.0)), ("imagenet", (0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225))]
)
def test_each_family_of_towers_has_its_own_normalisation(name, white):
    _, processor = tiny(vision={"image_size": 32, "patch_size": 8, "hidden_size": 16, "normalisation": name})
    pixels = processor.pixel_values([np.full((32, 32, 3), 255, np.uint8)])
    assert np.allclose(pixels[0, :, 0, 0], white, atol=1e-5)


def test_the_chat_template_writes_the_prompts_of_the_protocol(processor):
    picture, question = {"type": "image"}, "Please find a red circle and provide its coordinates."
    chat = [{"role": "user", "content": [picture, {"type": "text", "text": question}]}]
    written = processor.apply_chat_template(chat, add_generation_prompt=True)
    assert written == ask(Task.REC, 1, expression="a red circle")
    several = [{"role": "user", "content": [picture] * 3 + [{"type": "text", "text": "Where?"}]}]
    assert "USER: Frame 1: <image>, Frame 2: <image>, Frame 3: <image>\nWhere?ASSISTANT:" in (
        processor.apply_chat_template(several, add_generation_prompt=True)
    )
    turns = [*chat, {"role": "assistant", "content": "[1,2,3,4]."}, {"role": "user", "content": "And now?"}]
    assert processor.apply_chat_template(turns).endswith("ASSISTANT:[1,2,3,4].</s>USER: And now?")


@pytest.mark.parametrize(
    "frame", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((3, 8, 8), np.uint8)]
)
def test_a_frame_of_another_shape_is_refused(processor, frame):
    with pytest.raises(ValueError, match=r"shape \(height, width, 3\) and dtype uint8"):
        processor(text=PROMPTS[1], videos=[[frame]])


@pytest.mark.parametrize("kind", [np.float32, np.int64, bool])
def test_a_frame_of_another_type_is_refused_with_the_remedy(processor, kind):
    with pytest.raises(ValueError, match=f"{np.dtype(kind)}; scale values to 0..255"):
        processor(text=PROMPTS[1], videos=[[np.zeros((8, 8, 3), kind)]])


def test_channels_first_are_told_what_to_do(processor):
    with pytest.raises(ValueError, match=r"move the channels last"):
        processor(text=PROMPTS[1], images=torch.zeros(3, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"text": PROMPTS[1], "videos": [frames(3)]}, r"1 places for frames .*3 frames"),
        ({"text": "USER: Where?ASSISTANT:", "videos": [frames(2)]}, r"write <image> for each .*<video> once"),
        ({"text": PROMPTS, "images": frames(3)}, r"4 places for frames .*3 images"),
        ({"text": PROMPTS, "videos": [frames(3)]}, "prompts and videos need equal numbers, got 2 and 1"),
        ({"text": PROMPTS[1], "videos": [frames(1)], "images": frames(1)}, "images and a video"),
        ({"text": PROMPTS[1], "videos": [[]]}, "at least one frame"),
        ({"text": PROMPTS[1], "videos": [frames(1)], "answers": ["a", "b"]}, "equal numbers, got 1 and 2"),
        ({"text": PROMPTS[1], "videos": [frames(1)], "return_tensors": "np"}, "return_tensors='np' is not possible"),
        ({"text": PROMPTS[1], "videos": ["nowhere.png"]}, r"nowhere\.png cannot be read"),
        ({"videos": [frames(1)]}, "there is no text"),
    ],
)
def test_what_does_not_fit_is_refused(processor, inputs, message):
    with pytest.raises(ValueError, match=message):
        processor(**inputs)


def test_an_unknown_option_is_refused(processor):
    with pytest.raises(TypeError, match="no option 'truncate'"):
        processor(text=PROMPTS[1], videos=[frames(1)], truncate=True)


def test_a_file_that_is_no_video_is_named(processor, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(ElysiumError, match=r"broken\.mp4"):
        processor(text=FILM, videos=[tmp_path / "broken.mp4"])


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no picture"):
        read_clip(tmp_path)


def test_more_frames_than_the_context_holds_are_refused_with_how_many_fit():
    _, processor = tiny(llm={"hidden_size": 16, "num_attention_heads": 2, "max_position_embeddings": 256})
    fit = max(
        count
        for count in range(1, 40)
        if len(processor.encode_prompt(ask(Task.RSOT, count, expression="a red circle"))) <= 256
    )
    processor(text=ask(Task.RSOT, fit, expression="a red circle"), videos=[frames(fit)])
    with pytest.raises(ValueError, match=rf"the model takes 256; about {fit} frames fit"):
        processor(text=ask(Task.RSOT, 38, expression="a red circle"), videos=[frames(38)])
