"""Guesses may only ever save time."""

import numpy as np
import pytest

from elysium.boxes import BoxCodec
from elysium.inference import Engine, TrackRequest
from elysium.inference.drafts import MotionDraft
from elysium.inference.grammar import BoxesGrammar
from elysium.model.tokenizer import build_tokenizer


def noise(count, seed):
    return list(np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8))


@pytest.mark.usefixtures("free_tokens")
def test_a_thousand_boxes_are_the_same_with_and_without_guesses(parts):
    rng = np.random.default_rng(0)
    requests = []
    for number in range(12):
        frames = noise(13, number)
        requests += [TrackRequest(frames, box=np.sort(rng.random((2, 2)), axis=0).flatten()) for _ in range(6)]
        requests.append(TrackRequest(frames, expression="a red circle"))
    guessing, plain = Engine(*parts, clip_frames=5), Engine(*parts, clip_frames=5, drafts=False)
    with_guesses, without = guessing.track(requests), plain.track(requests)
    assert sum(len(answer.boxes) for answer in without) >= 1000
    for first, second in zip(with_guesses, without, strict=True):
        assert np.array_equal(first.boxes, second.boxes)
        assert np.allclose(first.confidence, second.confidence, atol=1e-5)
    assert plain.stats.guessed == 0
    assert 0 < guessing.stats.agreed < guessing.stats.guessed, "right and wrong guesses were put to the test"
    assert guessing.stats.chosen == plain.stats.chosen
    assert guessing.stats.passes < plain.stats.passes


def guessed(draft, count):
    """The boxes that a draft has for an answer that begins."""
    grammar = BoxesGrammar(build_tokenizer(512), BoxCodec(), count)
    state = grammar.start()
    state.write_fixed()
    guess = draft.tokens(state)
    while not state.over:
        state.push(guess(state))
        state.write_fixed()
    return [state.values[at : at + 4] for at in range(0, 4 * count, 4)]


@pytest.mark.parametrize("step", [(0, 0), (2, 0), (-1, 3)])
def test_steady_motion_is_guessed(step):
    draft = MotionDraft(99)
    for time in range(6):
        draft.observe([40 + step[0] * time, 40 + step[1] * time, 50 + step[0] * time, 60 + step[1] * time])
    for number, box in enumerate(guessed(draft, 3), start=6):
        x, y = 40 + step[0] * number, 40 + step[1] * number
        assert box == [x, y, x + 10, y + 20]


def test_a_box_never_leaves_the_grid_and_never_turns_inside_out():
    draft = MotionDraft(99)
    for x in (80, 86, 92):
        draft.observe([x, 95 - x, x + 5, 99 - x])
    for x1, y1, x2, y2 in guessed(draft, 4):
        assert 0 <= x1 <= x2 <= 99
        assert 0 <= y1 <= y2 <= 99


def test_the_other_corner_moves_along_with_what_was_written():
    draft = MotionDraft(99)
    for _ in range(3):
        draft.observe([20, 20, 30, 40])
    grammar = BoxesGrammar(build_tokenizer(512), BoxCodec(), 1)
    state = grammar.start()
    state.write_fixed()
    guess = draft.tokens(state)
    for value in (25, 18):
        state.push(state.token_towards(value))
        state.write_fixed()
    while not state.over:
        state.push(guess(state))
        state.write_fixed()
    assert state.values == [25, 18, 35, 38]


def test_a_draft_that_is_wrong_falls_silent_and_one_that_is_right_speaks_up():
    rng, wild, calm = np.random.default_rng(0), MotionDraft(99), MotionDraft(99)
    for time in range(12):
        wild.observe(np.sort(rng.integers(99, size=(2, 2)), axis=0).flatten())
        calm.observe([10 + time, 20, 30 + time, 40])
    assert wild.budget(0.2) < 2 < 8 < calm.budget(0.2)
    for time in range(12, 24):
        wild.observe([10 + time, 20, 30 + time, 40])
    assert wild.budget(0.2) > 8, "it listens even while it says nothing"


def test_what_the_model_said_is_guessed_before_what_motion_says():
    draft = MotionDraft(99)
    for _ in range(3):
        draft.observe([40, 40, 50, 60])
    said = [[41, 40, 52, 61], [43, 39, 54, 60]]
    draft.hear([value for box in said for value in box])
    assert guessed(draft, 3) == [*said, [40, 40, 50, 60]]
    draft.hear([44, 40])
    assert guessed(draft, 2) == [[44, 40, 52, 61], [43, 39, 54, 60]], (
        "what was said later stands until it is heard anew"
    )
    draft.begin()
    assert guessed(draft, 2) == [[40, 40, 50, 60]] * 2


def test_a_track_that_jumps_to_a_known_box_begins_anew():
    draft = MotionDraft(99)
    for time in range(5):
        draft.observe([10 + 5 * time, 20, 30 + 5 * time, 40])
    draft.anchor([60, 60, 70, 70])
    assert guessed(draft, 1) == [[60, 60, 70, 70]]
