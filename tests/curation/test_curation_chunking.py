import pytest

from elysium.curation.judging import all_passed, judge_chunks
from elysium.curation.language.chunking import RulesChunker
from elysium.curation.language.lexicon import is_plural, lexicon, words
from elysium.data.simulator import simulate


@pytest.fixture(scope="module")
def chunker():
    return RulesChunker()


@pytest.mark.parametrize(
    ("caption", "texts"),
    [
        ("A man in a dark suit with a red bow tie talks.", ["a man", "a dark suit", "a red bow tie"]),
        ("A big grey rabbit crawls out of its burrow.", ["a big grey rabbit", "its burrow"]),
        ("Beautiful girl in red dress dances on stage", ["beautiful girl", "red dress", "stage"]),
        ("Man rides horse on beach", ["man", "horse", "beach"]),
        ("A moving car passes an Australian Shepherd dog.", ["a moving car", "an Australian Shepherd dog"]),
        ("Two dogs play with a very old man's hat.", ["two dogs", "a very old man's hat"]),
        ("The dog's running over a toy train", ["the dog", "a toy train"]),
        ("a blorp zigs over a grassy field", ["a blorp", "a grassy field"]),
        ("A woman in a t-shirt sails a boat", ["a woman", "a t-shirt", "a boat"]),
        ("They were running.", []),
        ("", []),
        ("日本の犬", []),
    ],
)
def test_noun_chunks_of_a_caption(chunker, caption, texts):
    assert [chunk.text for chunk in chunker.chunk(caption)] == texts


@pytest.mark.parametrize(
    ("caption", "head"), [("a red bow tie", "tie"), ("an old man's hat", "hat"), ("The White Van", "van")]
)
def test_the_last_noun_is_the_class(chunker, caption, head):
    assert [chunk.head for chunk in chunker.chunk(caption)] == [head]


@pytest.mark.parametrize("seed", range(12))
def test_every_object_of_a_simulated_caption_is_named(chunker, seed):
    clip = simulate(seed, 2, 32)
    named = {chunk.text: chunk.head for chunk in chunker.chunk(clip.caption)}
    assert {item.expression: item.object_class for item in clip.annotations.objects}.items() <= named.items()


@pytest.mark.parametrize("noun", ["dogs", "people", "children", "family", "buses", "wolves"])
def test_plural_nouns(noun):
    assert is_plural(noun)


@pytest.mark.parametrize("noun", ["dog", "bus", "grass", "dress", "cross", "lens", "tennis"])
def test_singular_nouns(noun):
    assert not is_plural(noun)


@pytest.mark.parametrize(
    ("caption", "reason"),
    [
        ("a family", "plural_word"),
        ("two dog", "plural_word"),
        ("3 men", "plural_word"),
        ("a pair", "plural_word"),
        ("the wind", "virtual_word"),
        ("no dog", "negated"),
    ],
)
def test_words_that_name_no_single_visible_thing_are_dropped(chunker, settings, caption, reason):
    (judged,) = judge_chunks(chunker.chunk(caption), settings)
    assert [verdict.reason for verdict in judged.verdicts if not verdict.passed] == [reason]


def test_a_wording_that_occurs_twice_is_searched_once(chunker, settings):
    judged = judge_chunks(chunker.chunk("A man waits. A man walks."), settings)
    assert [chunk.text for chunk in judged if all_passed(chunk.verdicts)] == ["a man"]


@pytest.mark.parametrize("name", ["virtual", "places", "mass", "bare", "plural", "singular_s", "names", "things"])
def test_word_lists_hold_lower_case_words(name):
    found = words(name)
    assert len(found) > 30
    assert all(word == word.lower() and " " not in word for word in found)


def test_verbs_are_known_in_all_their_forms():
    assert {"wave", "waves", "waving", "waved", "stopping", "cries", "lying"} <= lexicon().classes["verb"]
