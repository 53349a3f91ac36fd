"""Which captions are read, and which noun chunks become candidates."""

from pathlib import Path

import pytest

from elysium.curation.filters.base import ChunkSubject
from elysium.curation.filters.registry import run_filters
from elysium.curation.language.chunking import RulesChunker
from elysium.curation.language.filters import CAPTION_FILTERS, CHUNK_FILTERS

LANGUAGES = Path(__file__).parents[2] / "benchmarks" / "languages.tsv"


@pytest.fixture(scope="module")
def verdicts(settings):
    """The verdict that decided on each chunk of a caption."""
    chunker = RulesChunker()

    def judge(caption):
        chunks = chunker.chunk(caption)
        subjects = [ChunkSubject(chunk, tuple(chunks[:number])) for number, chunk in enumerate(chunks)]
        return {subject.chunk.text: run_filters("chunk", subject, settings)[-1] for subject in subjects}

    return judge


@pytest.mark.parametrize(
    "caption",
    [
        "a dog", "one dog", "another dog", "his dog", "the man's dog", "Anna's dog", "the children's teacher",
        "red car", "a fire truck", "the traffic light", "a fish", "the deer", "a coffee", "a portrait",
        "a three legged dog", "a 50-year-old man", "a two storey bus", "a walrus", "a bus", "the Eiffel Tower",
        "a Ferrari", "a building", "a painting", "the television", "a mother-in-law",
        "her basketball", "a colourful kite", "a colorful kite",        "a hot air balloon", "a hand", "his face",
    ],
)  # fmt: skip
def test_what_names_one_thing_is_a_candidate(verdicts, caption):
    assert [verdict.passed for verdict in verdicts(caption).values()] == [True]


@pytest.mark.parametrize(
    ("reason", "captions"),
    [
        ("negated", ["no dog", "neither dog", "any car"]),
        (
            "plural_word",
            [
                "a family", "people", "two dogs", "2 dogs", "two dog", "a pair", "a group", "a number", "a lot", "lots",
                "many cars", "several men", "some apples", "a few dogs", "both hands", "each player", "every child",
                "all the dogs", "glasses", "a couple", "the police", "a cow's ribs", "half a dozen eggs", "three sheep",
            ],
        ),
        (
            "virtual_word",
            [
                "the time", "love", "the wind", "her happiness", "a celebration", "the view", "slow motion",
                "a close-up", "the morning", "the left side", "a piece", "a kind", "the training", "music",
                "4k footage",
            ],
        ),
        ("place_word", ["the park", "a busy street", "the kitchen", "a green field", "the sea", "a city"]),
        ("mass_word", ["coffee", "the grass", "her long hair", "a woman's hair", "the camera"]),
        ("bare_word", ["fish", "wild deer"]),
        ("proper_name", ["Anna", "london", "with Times Square", "the Sahara", "near NASA"]),
    ],
)  # fmt: skip
def test_what_names_no_single_thing_is_dropped_with_its_reason(verdicts, reason, captions):
    for caption in captions:
        found = [
            (verdict.filter, verdict.reason, verdict.value, verdict.threshold) for verdict in verdicts(caption).values()
        ]
        assert found == [(reason, reason, 1, 0)], caption


def test_measures_and_kinds_leave_what_they_measure(verdicts):
    kept = {
        caption: [text for text, verdict in verdicts(caption).items() if verdict.passed]
        for caption in ("a pair of shoes", "a group of people", "a cup of coffee", "a kind of bird", "a piece of cake")
    }
    assert list(kept.values()) == [[], [], ["a cup"], ["bird"], ["cake"]]


def test_a_thing_is_asked_for_once(verdicts):
    found = verdicts("A dog runs. The dog barks. His dog sleeps near another dog.")
    assert [text for text, verdict in found.items() if verdict.passed] == ["a dog", "his dog", "another dog"]
    assert found["the dog"].reason == "repeated"


def test_every_verdict_bears_its_filter_s_name_and_number(settings):
    chunk = RulesChunker().chunk("a dog")[0]
    verdicts = run_filters("chunk", ChunkSubject(chunk), settings)
    assert [verdict.filter for verdict in verdicts] == list(CHUNK_FILTERS)
    assert all(verdict.passed and not verdict.reason and verdict.value == 0 for verdict in verdicts)


@pytest.mark.parametrize("caption", ["", "   ", "12:30", "...", "4 / 7"])
def test_a_caption_without_words_is_empty(settings, caption):
    verdict = run_filters("caption", caption, settings)[-1]
    assert (verdict.filter, verdict.reason, verdict.value, verdict.threshold) == ("empty", "empty", 0, 1)


@pytest.mark.parametrize(
    "caption",
    ["red car", "Okapi", "dog", "A man in a hat", "a blorp zigs over a grassy field", "RED CAR",
     "Sushi chef in Osaka, Japan", "Dog plays with Frisbee", "a café table"],
)  # fmt: skip
def test_short_and_odd_english_captions_are_read(settings, caption):
    assert run_filters("caption", caption, settings)[-1].passed


def foreign():
    rows = [line.split("\t") for line in LANGUAGES.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [(language, caption) for language, caption in rows[1:] if not language.startswith("later")]


@pytest.mark.parametrize(("language", "caption"), foreign())
def test_captions_in_other_languages_are_not_english(settings, language, caption):
    verdict = run_filters("caption", caption, settings)[-1]
    assert (verdict.filter, verdict.passed, verdict.threshold) == ("not_english", False, settings.min_english)
    assert verdict.value < settings.min_english


def test_the_filter_of_languages_can_be_switched_off(settings_with):
    settings = settings_with(min_english=0)
    assert all(run_filters("caption", caption, settings)[-1].passed for _, caption in foreign())


def test_caption_filters_are_asked_in_order(settings):
    assert [verdict.filter for verdict in run_filters("caption", "a red car", settings)] == list(CAPTION_FILTERS)
