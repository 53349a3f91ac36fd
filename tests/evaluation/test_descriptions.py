import pytest

from elysium.errors import UsageError
from elysium.evaluation.captions import meteor
from elysium.evaluation.captions.descriptions import DESCRIPTION_METRICS, score_descriptions

pytest.importorskip("pycocoevalcap", reason="the metrics come with pycocoevalcap (pip install 'elysium[captions]')")
JUDGED = ("cider", "bleu_4", "rouge_l")
REFERENCES = {
    "one": ["a man riding a brown horse"],
    "two": ["a small white dog on the grass", "a white dog"],
    "three": ["a red car parked on the street"],
}


def test_what_people_wrote_scores_full_marks():
    same = {key: texts[0] for key, texts in REFERENCES.items()}
    scores = score_descriptions(same, {key: texts[:1] for key, texts in REFERENCES.items()}, JUDGED)
    # CIDEr's scale ends at 10, which papers print as 1000; longer shared words would need four words a text.
    assert scores.corpus == pytest.approx({"cider": 1000, "bleu_4": 100, "rouge_l": 100})
    assert list(scores.per_item) == ["one", "two", "three"]
    assert scores.per_item["two"] == pytest.approx({"cider": 1000, "bleu_4": 100, "rouge_l": 100}, rel=1e-6)
    assert (scores.num_empty, scores.missing, scores.notes) == (0, {}, ())
    assert scores.tokeniser == "elysium-ptb-1"


def test_an_answer_that_is_not_there_is_a_failure_that_stays_in():
    scores = score_descriptions({"one": "a man riding a brown horse", "two": "...", "three": None}, REFERENCES, JUDGED)
    alone = scores.per_item["one"]
    assert scores.corpus["cider"] == pytest.approx(alone["cider"] / 3)
    assert scores.corpus["rouge_l"] == pytest.approx(100 / 3)
    assert scores.per_item["two"]["cider"] == scores.per_item["three"]["rouge_l"] == 0
    assert scores.num_empty == 2
    assert scores.notes == ("2 of 3 descriptions are empty or not there and count as failures: two, three",)
    assert score_descriptions({"one": "a man riding a brown horse"}, REFERENCES, JUDGED).corpus == scores.corpus


def test_without_java_meteor_is_missing_and_the_others_are_the_same(monkeypatch):
    same = {key: texts[0] for key, texts in REFERENCES.items()}
    monkeypatch.setattr(meteor, "find_java", lambda: None)
    scores = score_descriptions(same, REFERENCES, DESCRIPTION_METRICS)
    assert list(scores.missing) == ["meteor"]
    assert "needs Java" in scores.missing["meteor"]
    assert set(scores.corpus) == set(scores.per_item["one"]) == set(DESCRIPTION_METRICS) - {"meteor"}


def test_without_the_extra_everything_is_missing_and_the_remedy_is_said(monkeypatch):
    for name in ("cider.cider", "bleu.bleu", "rouge.rouge"):
        monkeypatch.setitem(__import__("sys").modules, f"pycocoevalcap.{name}", None)
    scores = score_descriptions({"one": "a man"}, REFERENCES, JUDGED)
    assert set(scores.missing) == set(JUDGED)
    assert all("pip install 'elysium[captions]'" in reason for reason in scores.missing.values())
    assert (scores.corpus, scores.per_item["one"]) == ({}, {})


def test_one_metric_that_breaks_costs_its_own_figure_alone(monkeypatch):
    from pycocoevalcap.rouge.rouge import Rouge

    monkeypatch.setattr(Rouge, "compute_score", lambda *_: 1 / 0)
    scores = score_descriptions({"one": "a man riding"}, REFERENCES, JUDGED)
    assert scores.missing == {"rouge_l": "ZeroDivisionError: division by zero"}
    assert set(scores.corpus) == {"cider", "bleu_4"}


def test_cider_of_one_item_is_not_a_figure_of_zero():
    scores = score_descriptions({"one": "a red car"}, {"one": ["a red car"]}, ["cider", "rouge_l"])
    assert "of one item alone every weight is 0" in scores.missing["cider"]
    assert scores.corpus == {"rouge_l": 100}
    twice = score_descriptions({"a": "a car", "b": "a car"}, {"a": ["a car"], "b": ["a car"]}, ["cider"])
    assert "where all items have the same references every weight is 0" in twice.missing["cider"]


def test_an_item_that_cider_can_only_give_zero_is_named():
    scores = score_descriptions({"a": "a car", "b": "a car"}, {"a": ["a car"], "b": ["a car on grass"]}, ["cider"])
    assert scores.per_item["a"]["cider"] == 0
    assert scores.notes == ("CIDEr can only be 0 for a: all that their references say stands in every item's",)


def test_references_without_a_word_are_left_out_with_a_note():
    scores = score_descriptions({"one": "a dog"}, {"one": ["a dog", " ... "]}, ["rouge_l"])
    assert scores.corpus == {"rouge_l": 100}
    assert scores.notes == ("references without a word are left out: of one",)


@pytest.mark.parametrize(
    ("predictions", "references", "metrics", "message"),
    [
        ({}, {}, ["cider"], "there is no description to score"),
        ({"x": "a"}, {"one": ["a"]}, ["cider"], "no reference for the descriptions of x"),
        ({}, {"one": [], "two": ["?"]}, ["cider"], "a reference with a word in it; there is none for one, two"),
        ({}, {"one": ["a"]}, ["spice"], "no metric 'spice' of descriptions, only meteor, cider"),
    ],
)
def test_what_cannot_be_scored_is_named(predictions, references, metrics, message):
    with pytest.raises(UsageError, match=message):
        score_descriptions(predictions, references, metrics)
