"""Grounding DINO and SAM 2 as parts of curation, on random weights of their real architectures."""

import json
import shutil
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import ByToken, save_grounding_dino, save_sam2
from torch.nn import functional
from transformers import AutoTokenizer, GroundingDinoForObjectDetection, Sam2VideoInferenceSession, Sam2VideoModel
from transformers.image_transforms import get_size_with_aspect_ratio
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil
from transformers.models.grounding_dino.processing_grounding_dino import GroundingDinoProcessor

from elysium.curation.models.grounding_dino import GroundingDinoGrounder
from elysium.curation.models.outputs import Selection
from elysium.curation.models.parts import check_models
from elysium.curation.models.phrases import PhraseTokenizer
from elysium.curation.models.pixels import fitted_size, normalised
from elysium.curation.models.sam2 import Sam2Tracker
from elysium.curation.protocols import BatchGrounder, Detection, Frame, MultiTracker, Query
from elysium.curation.registry import PartsShelf, check_names
from elysium.errors import ElysiumError, UsageError

OVERLAPPING = ("a man", "a man in a suit", "a suit", "man")
BOXES = ((0.1, 0.1, 0.5, 0.5), (0.3, 0.3, 0.9, 0.9), (0.0, 0.5, 0.2, 1.0))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    for name, save in (("dino", save_grounding_dino), ("sam2", save_sam2)):
        (folder / name).mkdir()
        save(folder / name)
    return folder


@pytest.fixture
def models(checkpoints, settings):
    """Makes settings that name the tiny checkpoints."""

    def make(**changes):
        parts = {"grounder": "grounding-dino", "tracker": "sam2", "device": "cpu", "grounder_side": 96}
        names = {"grounder_model": str(checkpoints / "dino"), "tracker_model": str(checkpoints / "sam2")}
        return settings.model_copy(update={**parts, **names, **changes})

    return make


@pytest.fixture
def grounder(models):
    return PartsShelf(models()).grounder


@pytest.fixture(scope="module")
def tokenizer(checkpoints):
    return AutoTokenizer.from_pretrained(checkpoints / "dino")


def frame(seed, width=80, height=60):
    return Frame(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8), seed, seed / 12)


@pytest.fixture(scope="module")
def clip():
    """More frames than SAM 2 looks back: a coloured box that moves over noise."""
    rng = np.random.default_rng(0)
    frames = []
    for index in range(20):
        image = rng.integers(0, 80, (60, 80, 3), dtype=np.uint8)
        image[10 + index : 30 + index, 10 + 2 * index : 40 + 2 * index] = (200, 60, 120)
        frames.append(Frame(image, index, index / 12))
    return frames


# The text, and which tokens are whose


@pytest.mark.parametrize(
    "phrases",
    [
        ("a dog", "a red car"),
        OVERLAPPING,
        ("The Man", "unbelievables", "a man's suit"),  # upper case, and words of several pieces
        ("a man in a suit, on a red car",),
    ],
)
def test_the_text_and_the_places_in_it_are_those_of_the_tokenizer(tokenizer, phrases):
    phrase_tokenizer = PhraseTokenizer(tokenizer, 64)
    (text,) = phrase_tokenizer.texts([phrase_tokenizer.tokens(phrase) for phrase in phrases])
    joined = " ".join(f"{phrase}." for phrase in phrases).lower()
    reference = tokenizer(joined, return_offsets_mapping=True)
    assert list(text.ids) == reference["input_ids"]
    start = 0
    for phrase in phrases:
        first, stop = text.spans[phrase_tokenizer.tokens(phrase)]
        offsets = reference["offset_mapping"][first:stop]
        assert (offsets[0][0], offsets[-1][1]) == (start, start + len(phrase))
        start += len(phrase) + 2


@pytest.mark.parametrize(
    ("phrase", "same"),
    [("mr. smith", "mr smith"), ("A DOG.", "a dog"), ("a man? a dog", "a man a dog"), ("...", ""), ("zebra", "")],
)
def test_what_would_end_a_phrase_is_left_out_of_it(tokenizer, phrase, same):
    phrase_tokenizer = PhraseTokenizer(tokenizer, 64)
    assert phrase_tokenizer.tokens(phrase) == phrase_tokenizer.tokens(same)


def test_a_word_like_the_tokenizers_own_does_not_end_the_text(tokenizer):
    assert tokenizer.sep_token_id not in PhraseTokenizer(tokenizer, 64).tokens("a [SEP] dog")


def test_a_grounder_knows_what_its_vocabulary_can_write(grounder):
    assert [grounder.knows(phrase) for phrase in ("a zebra", "zebra", "", ".")] == [True, False, False, False]


def test_phrases_that_are_too_long_for_one_text_share_several(tokenizer):
    phrase_tokenizer = PhraseTokenizer(tokenizer, 12)
    tokens = [phrase_tokenizer.tokens(phrase) for phrase in ("a man in a suit", "a red car", "a dog", "dog " * 30)]
    texts = phrase_tokenizer.texts([*tokens, tokens[0]])
    assert [list(text.spans) for text in texts] == [[tokens[0], tokens[1]], [tokens[2]], [tokens[3]]]
    assert max(len(text.ids) for text in texts) == len(texts[0].ids) == len(texts[2].ids) == 12


def test_each_phrase_is_answered_by_its_own_tokens(tokenizer, models):
    """Query i scores high on every token between the i-th pair of full stops, and low elsewhere."""
    stop = tokenizer.convert_tokens_to_ids(".")
    boxes = [[0.1 + 0.2 * query, 0.5, 0.2, 0.2] for query in range(4)]
    model = ByToken(lambda ids, place, token, query: 0.9 if ids[:place].count(stop) == query else 0.05, boxes)
    detections = GroundingDinoGrounder(model, tokenizer, models()).ground(frame(0), [*OVERLAPPING, "a man"])
    assert [detection.phrase for detection in detections] == list(OVERLAPPING)
    assert [detection.box[0] for detection in detections] == pytest.approx([0.0, 0.2, 0.4, 0.6])
    assert {detection.confidence for detection in detections} == {0.9}


def test_phrases_of_the_same_tokens_get_the_same_answer(tokenizer, models):
    model = ByToken(lambda *_: 0.7, [[0.5, 0.5, 0.2, 0.2]])
    found = GroundingDinoGrounder(model, tokenizer, models()).ground(frame(0), ["A dog", "a dog."])
    box = (0.4, 0.4, 0.6, 0.6)
    assert found == [Detection("A dog", box, 0.7), Detection("a dog.", box, 0.7)]


def test_numbers_that_are_none_are_an_error_and_not_an_empty_frame(tokenizer, models):
    model = ByToken(lambda *_: float("nan"), [[0.5, 0.5, 0.2, 0.2]])
    with pytest.raises(ElysiumError, match=r"curate\.dtype=float32"):
        GroundingDinoGrounder(model, tokenizer, models()).ground(frame(0), ["a dog"])


# Grounding DINO


@pytest.mark.parametrize(
    "size", [(640, 480), (480, 640), (1024, 576), (576, 1024), (320, 320), (1024, 31), (596, 336), (800, 800)]
)
def test_frames_are_scaled_to_the_size_that_transformers_would(size):
    width, height = size
    assert fitted_size(size, 800, 1333)[::-1] == get_size_with_aspect_ratio((height, width), 800, 1333)


def test_detections_are_those_of_transformers_own_processor(checkpoints, tokenizer, grounder):
    """Same image preparation, same boxes and scores; only the special tokens have no say here."""
    image = frame(1).image
    processor = GroundingDinoProcessor(
        GroundingDinoImageProcessorPil(size={"shortest_edge": 96, "longest_edge": 160}), tokenizer
    )
    inputs = processor(images=[image], text=[["a red car"]], return_tensors="pt")
    model = GroundingDinoForObjectDetection.from_pretrained(checkpoints / "dino").eval()
    with torch.no_grad():
        outputs = model(**inputs)
    places = [place for place, token in enumerate(inputs.input_ids[0].tolist()) if token in (101, 102, 1012)]
    outputs.logits[..., places] = -torch.inf
    (reference,) = processor.post_process_grounded_object_detection(
        outputs, threshold=0.1, text_threshold=0.1, target_sizes=[(60, 80)]
    )
    boxes = (reference["boxes"] / torch.tensor([80.0, 60, 80, 60])).clamp(0, 1).tolist()
    expected = sorted(zip((-reference["scores"]).round(decimals=4).tolist(), boxes, strict=True))
    grounder._selection = Selection(overlap=1.0)
    found = [(-detection.confidence, detection.box) for detection in grounder.ground(frame(1), ["a red car"])]
    assert np.allclose([(score, *box) for score, box in found], [(score, *box) for score, box in expected], atol=1e-4)
    assert len(found) > 5


@pytest.mark.parametrize("batch", [1, 3, 32])
def test_neighbours_in_a_batch_change_nothing(models, batch):
    """Frames of three sizes, captions of several lengths, one without phrases, one too long for a single text."""
    long = [f"{first} {second}" for first in ("man", "dog", "car") for second in ("in a suit", "on a red car")]
    queries = [
        Query(frame(0), OVERLAPPING),
        Query(frame(1, 80, 80), ("a dog",)),
        Query(frame(2), ()),
        Query(frame(3), tuple(long)),
        Query(frame(4, 60, 90), ("a red car", "a dog")),
        Query(frame(5), ("a red car",)),
    ]
    grounder = PartsShelf(models(grounder_batch=batch)).grounder
    assert isinstance(grounder, BatchGrounder)
    together = grounder.ground_batch(queries)
    for query, found in zip(queries, together, strict=True):
        alone = grounder.ground(query.frame, query.phrases)
        assert [detection.phrase for detection in found] == [detection.phrase for detection in alone]
        assert {detection.phrase for detection in found} == set(query.phrases)
        numbers = [[(*one.box, one.confidence) for one in detections] for detections in (found, alone)]
        assert np.allclose(*numbers, atol=1e-4)


def test_the_same_frame_gives_the_same_detections(grounder, models):
    again = PartsShelf(models()).grounder
    assert grounder.ground(frame(0), OVERLAPPING) == again.ground(frame(0), OVERLAPPING)


def test_detections_are_boxes_and_confidences_in_order(grounder):
    found = grounder.ground(frame(7), ["a man", "a dog"])
    for phrase in ("a man", "a dog"):
        confidences = [detection.confidence for detection in found if detection.phrase == phrase]
        assert confidences == sorted(confidences, reverse=True)
        assert confidences[-1] >= 0.1
    boxes = np.array([detection.box for detection in found])
    assert ((boxes >= 0) & (boxes <= 1)).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


# SAM 2


def reference_masks(checkpoint, clip, boxes):
    """What transformers' own loop over a whole video gives: masks, and object scores, each `(T, n, …)`."""
    model = Sam2VideoModel.from_pretrained(checkpoint).eval()
    images = torch.stack([torch.from_numpy(frame.image).permute(2, 0, 1).float() for frame in clip])
    images = functional.interpolate(images, (128, 128), mode="bilinear", antialias=True).round()
    session = Sam2VideoInferenceSession(normalised(images.permute(0, 2, 3, 1)), 60, 80, dtype=torch.float32)
    for number, box in enumerate(boxes):
        points = {"point_coords": torch.tensor(box).view(1, 1, 2, 2) * 128, "point_labels": torch.tensor([[[2, 3]]])}
        session.add_point_inputs(session.obj_id_to_idx(number), 0, points)
    session.obj_with_new_inputs = list(range(len(boxes)))
    with torch.inference_mode():
        outputs = list(model.propagate_in_video_iterator(session, start_frame_idx=0))
    masks = torch.stack([output.pred_masks[:, 0] for output in outputs])
    return masks, torch.stack([output.object_score_logits.flatten() for output in outputs])


def test_tracks_are_those_of_transformers_own_loop(checkpoints, clip, models):
    """Which keeps everything of every frame, and encodes one frame at a time."""
    masks, scores = reference_masks(checkpoints / "sam2", clip, BOXES[:2])
    tracks = PartsShelf(models(tracker_score="object")).tracker.track_objects(clip, BOXES[:2])
    for number, track in enumerate(tracks):
        whole = functional.interpolate(masks[:, number, None], (60, 80), mode="bilinear", align_corners=False)[:, 0] > 0
        for index, mask in enumerate(whole.numpy()):
            rows, columns = np.nonzero(mask)
            box = [columns.min() / 80, rows.min() / 60, (columns.max() + 1) / 80, (rows.max() + 1) / 60]
            assert track.boxes[index] == pytest.approx(box, abs=1e-5)
        assert np.allclose(track.confidence, scores[:, number].sigmoid(), atol=1e-4)
    assert len(np.unique([track.boxes for track in tracks])) > 10, "the tiny model shows one box only"


@pytest.mark.parametrize("batch", [1, 5])
def test_objects_are_followed_together_as_one_by_one(clip, models, batch):
    tracker = PartsShelf(models(tracker_batch=batch)).tracker
    assert isinstance(tracker, MultiTracker)
    for track, box in zip(tracker.track_objects(clip[:8], BOXES), BOXES, strict=True):
        alone = tracker.track(clip[:8], box)
        assert track.boxes.shape == (8, 4)
        assert np.allclose(track.boxes, alone.boxes, atol=1e-4)
        assert np.allclose(track.confidence, alone.confidence, atol=1e-3)


def test_the_same_frames_give_the_same_bytes(clip, models):
    first, second = (PartsShelf(models()).tracker.track(clip[:5], BOXES[0]) for _ in range(2))
    assert first.boxes.tobytes() == second.boxes.tobytes()
    assert first.confidence.tobytes() == second.confidence.tobytes()


def test_confidence_is_the_object_score_times_the_predicted_iou(clip, models):
    product, score = (
        PartsShelf(models(tracker_score=name)).tracker.track(clip[:6], BOXES[0]) for name in ("product", "object")
    )
    assert np.array_equal(product.boxes, score.boxes)
    ratio = product.confidence / score.confidence
    assert ((ratio > 0) & (ratio < 1)).all()
    assert len(np.unique(ratio.round(3))) > 1


def test_an_object_that_is_not_seen_has_no_box_and_no_confidence(checkpoints, clip, models):
    model = Sam2VideoModel.from_pretrained(checkpoints / "sam2")
    with torch.no_grad():
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(-20.0)
    track = Sam2Tracker(model, models()).track(clip[:4], BOXES[0])
    assert not track.boxes.any()
    assert not track.confidence.any()


def test_what_is_kept_of_a_piece_does_not_grow_with_it(clip, models, monkeypatch):
    tracker = PartsShelf(models()).tracker
    sessions = []
    make = tracker._session
    monkeypatch.setattr(tracker, "_session", lambda *given: sessions.append(make(*given)) or sessions[-1])
    sizes = []
    for length in (17, 20):
        tracker.track(clip[:length], BOXES[0])
        outputs = sessions[-1].output_dict_per_obj[0]
        kept = [*outputs["cond_frame_outputs"].values(), *outputs["non_cond_frame_outputs"].values()]
        sizes.append(sum(tensor.nbytes for frame in kept for tensor in frame.values()))
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_both_models_run_in_half_precision(clip, models, grounder, dtype):
    shelf = PartsShelf(models(dtype=dtype))
    exact, half = (part.ground(frame(0), ["a dog"])[0] for part in (grounder, shelf.grounder))
    assert half.box == pytest.approx(exact.box, abs=0.01)
    track = shelf.tracker.track(clip[:3], BOXES[0])
    assert ((track.boxes >= 0) & (track.boxes <= 1)).all()


@pytest.mark.parametrize("frames", [1, 2])
def test_the_shortest_pieces_do_not_fail(clip, models, frames):
    assert PartsShelf(models()).tracker.track(clip[:frames], (0, 0, 1, 1)).confidence.shape == (frames,)


# What is missing is said before any video is opened


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grounder_model": "not/here/at/all"}, r"curate\.grounder_model: there are no weights 'not/here/at/all'"),
        ({"tracker_model": "nobody/nothing"}, r"hf download nobody/nothing"),
        ({"grounder_model": "nobody/nothing@main"}, r"HF_HUB_OFFLINE"),
    ],
)
def test_weights_that_are_not_here_are_named_with_the_remedy(models, changes, message, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    settings = models(**changes)
    part = "grounder" if "grounder_model" in changes else "tracker"
    with pytest.raises(UsageError, match=message):
        getattr(PartsShelf(settings), part)
    with pytest.raises(UsageError, match=message):
        check_models(settings)


def test_weights_of_another_model_are_refused(checkpoints, models):
    settings = models(tracker_model=str(checkpoints / "dino"))
    with pytest.raises(UsageError, match=r"curate\.tracker_model: .* type 'grounding-dino', not 'sam2_video'"):
        check_models(settings)


def test_a_folder_that_is_no_checkpoint_is_refused(models, tmp_path):
    with pytest.raises(UsageError, match=r"is no checkpoint, its config\.json cannot be read"):
        check_models(models(grounder_model=str(tmp_path)))


def test_a_checkpoint_without_its_memory_is_refused(checkpoints, models, tmp_path):
    """As one of SAM 2 for images would be."""
    shutil.copytree(checkpoints / "sam2", tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("memory_attention")}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match=r"lacks \d+ weights of a sam2_video model, memory_attention"):
        _ = PartsShelf(models(tracker_model=str(tmp_path))).tracker


def test_a_checkpoint_without_a_tokenizer_is_refused(checkpoints, models, tmp_path):
    for name in ("config.json", "model.safetensors"):
        shutil.copy(checkpoints / "dino" / name, tmp_path)
    with pytest.raises(UsageError, match="holds no tokenizer"):
        _ = PartsShelf(models(grounder_model=str(tmp_path))).grounder


def test_a_device_that_is_not_there_is_refused(models):
    with pytest.raises(UsageError, match="there is no device cuda:99"):
        _ = PartsShelf(models(device="cuda:99")).grounder


def test_packages_that_are_not_installed_are_named_with_the_extra(models, monkeypatch):
    monkeypatch.setattr("elysium.curation.models.parts.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs torch, transformers, safetensors, .*'elysium\[train\]'"):
        check_models(models())
    with pytest.raises(UsageError, match=r"'elysium\[train\]'"):
        check_names(models())  # before anything starts, on whatever engine


def test_complete_checkpoints_pass_the_check(models):
    check_models(models())


# The benchmark of GPU.md G5


def test_the_benchmark_runs_in_tiny(monkeypatch, capsys, tmp_path):
    folder = Path(__file__).parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr("sys.argv", ["curation_models.py", "--tiny", "--batches", "1,2"])
    run_path(str(folder / "curation_models.py"), run_name="__main__")
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["batch"] for row in report["rows"]] == [1, 2]
    assert all(row["gpu_seconds_per_kept_track"] > 0 for row in report["rows"])
