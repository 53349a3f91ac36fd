"""What the judge is asked, and how its reply is read."""

import pytest

from elysium.errors import UsageError
from elysium.evaluation.videoqa.prompt import ELYSIUM_1, Reading, ask_again, load_prompt, read_reply


def test_the_wording_of_a_version_never_changes():
    """A changed wording moves all figures: it needs a new version, not a new digest here."""
    assert (ELYSIUM_1.version, ELYSIUM_1.digest) == ("elysium-1", "57f08440a091f1a36a1fea8449b66615")


def test_the_three_texts_stand_in_the_question_and_nothing_in_them_is_filled_in():
    (_, system), (role, user) = ELYSIUM_1.fill("what is {answer}?", "a {prediction}", "{question}")
    assert role == "user"
    assert system
    assert "Question: what is {answer}?\n" in user
    assert "Reference answer: a {prediction}\n" in user
    assert "Answer to grade: {question}\n" in user


@pytest.mark.parametrize(
    ("reply", "says", "score"),
    [
        ('{"correct": "yes", "score": 5}', "yes", 5),
        ('```json\n{"correct": "No", "score": "2"}\n```', "no", 2),
        ("{'pred': 'yes', 'score': 4.8}", "yes", 4),
        ("{'pred': 'no', 'score': 0}.", "no", 0),
        ('{"correct": true, "score": 4}', "yes", 4),
        ("Correct: yes\nScore: 3", "yes", 3),
        ("**Correct**: no, **Score**: 1/5", "no", 1),
        ("yes, 4", "yes", 4),
        ("No. 0/5", "no", 0),
        ('<think>{"correct": "no", "score": 1}?</think>{"correct": "yes", "score": 5}', "yes", 5),
    ],
)
def test_replies_are_read_in_every_usual_form(reply, says, score):
    assert read_reply(reply) == Reading(says, score)


def test_a_reason_is_kept():
    reading = read_reply('{"correct": "no", "score": 1, "reason": "a \\"cat\\" is no dog"}')
    assert reading == Reading("no", 1, 'a "cat" is no dog')


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "The answer is correct.",
        "yes",
        '{"correct": "yes"}',
        '{"score": 5}',
        '{"correct": "maybe", "score": 3}',
        '{"correct": "yes", "score": 7}',
        '{"correct": "yes", "score": -1}',
        '{"correct": "yes", "score": 5} or {"correct": "no", "score": 0}',
        '{"correct": "yes", "score": 5} {"correct": "yes", "score": 3}',
        '{"correct": ..., "score": ...}',
        '{"correct": "yesterday", "score": 5}',
        '<think>{"correct": "yes", "score": 5}',
        "yes, 4, no, 2",
    ],
)
def test_what_is_not_beyond_doubt_is_not_read(reply):
    assert read_reply(reply) is None


def test_an_unreadable_reply_is_shown_again_cut_short():
    asked = ELYSIUM_1.fill("q", "a", "p")
    again = ask_again(asked, "x" * 10_000)
    assert again[: len(asked)] == asked
    assert again[-2] == ("assistant", "x" * 500)
    assert again[-1][0] == "user"


def test_a_wording_of_ones_own_is_read_from_a_file(tmp_path):
    path = tmp_path / "published.txt"
    path.write_text("You grade.\n---\n{question} | {answer} | {prediction}\nLike this: {'pred': 'yes', 'score': 4}\n")
    prompt = load_prompt(path)
    assert prompt.version == "published"
    assert prompt.digest != ELYSIUM_1.digest
    assert prompt.fill("q", "a", "p") == (
        ("system", "You grade."),
        ("user", "q | a | p\nLike this: {'pred': 'yes', 'score': 4}"),
    )
    path.write_text("{question} {answer} {prediction}")
    assert load_prompt(path).fill("q", "a", "p") == (("user", "q a p"),)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("mine.txt", "{question} {answer}", r"lacks \{prediction\}"),
        ("elysium-1.txt", "{question} {answer} {prediction}", "name of the built-in one"),
        ("missing.txt", None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_wording_is_refused(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message):
        load_prompt(tmp_path / name)
