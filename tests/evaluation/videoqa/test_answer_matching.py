"""Exact match, soft match and VQA accuracy, by the definition on VQA's evaluation page."""

from itertools import combinations

import pytest

from elysium.evaluation.videoqa.matching import AnswerMatch, match_answers, normalise


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Playing GUITAR", "playing guitar"),
        ("a man, the dog; an owl!", "man dog owl"),
        ("Mr. Smith ends.", "mr smith ends"),
        ("2.5 or .5", "2.5 or .5"),
        ("100,978", "100978"),
        ("red,green", "red green"),
        ("2:50 pm", "2:50 pm"),
        ("the girl's t-shirt", "girl's t shirt"),
        ("two of ten, none", "2 of 10 0"),
        ("dont", "don't"),
        ("isn’t", "isn't"),
        ("its", "its"),
        ("snake_case", "snake case"),
        ("  \n ", ""),
        ("The", "the"),
        ("Café", "café"),
    ],
)
def test_texts_are_compared_as_vqa_normalises_them(text, normal):
    assert normalise(text) == normal


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "soft"),
    [
        ("A cat.", ["cat"], 100, 100),
        ("It is a cat.", ["cat"], 0, 100),
        ("Two dogs", ["2"], 0, 100),
        ("woman", ["man"], 0, 0),
        ("a very tall man", ["tall man"], 0, 100),
        ("tall old man", ["tall man"], 0, 0),
        ("automobile", ["car", "automobile"], 100, 100),
        ("", ["cat"], 0, 0),
        ("...", ["cat"], 0, 0),
        ("cat", ["..."], 0, 0),
        ("the cat", ["the"], 0, 0),
    ],
)
def test_exact_match_is_the_answer_and_soft_match_holds_it_as_whole_words(prediction, answers, exact, soft):
    assert match_answers(prediction, answers) == AnswerMatch(exact, soft)


@pytest.mark.parametrize("agreeing", range(11))
def test_vqa_accuracy_is_the_mean_over_all_sets_of_nine_people(agreeing):
    answers = ["Yes."] * agreeing + [f"other {number}" for number in range(10 - agreeing)]
    nines = [min(sum(answer == "Yes." for answer in nine) / 3, 1) for nine in combinations(answers, 9)]
    assert match_answers("yes", answers, votes=True).soft_match == pytest.approx(100 * sum(nines) / len(nines))


def test_with_votes_the_exact_answer_is_the_most_frequent_one():
    votes = ["red", "red", "red", "maroon"]
    assert match_answers("Red!", votes, votes=True).exact_match == 100
    assert match_answers("maroon", votes, votes=True).exact_match == 0
    assert match_answers("a red hat", votes, votes=True) == AnswerMatch(0, 0)


def test_a_question_without_answers_is_an_error():
    with pytest.raises(ValueError, match="at least one answer"):
        match_answers("cat", [])
