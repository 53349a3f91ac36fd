"""The rules on what captions are really like, and on the table that was marked by hand (benchmarks/captions.tsv)."""

import importlib.util
import sys
from collections import Counter
from pathlib import Path

import pytest
import spacy

from elysium.curation.language import memory
from elysium.curation.language.chunking import RulesChunker
from elysium.curation.language.spelling import plain_case

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "chunking.py"


@pytest.fixture(scope="module")
def chunker():
    return RulesChunker()


@pytest.fixture(scope="module")
def benchmark():
    """The benchmark's functions; what they score here is what its results file says."""
    spec = importlib.util.spec_from_file_location("chunking_benchmark", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up by name
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "chunking_benchmark", module)
        spec.loader.exec_module(module)
        yield module


@pytest.mark.parametrize(
    ("caption", "texts"),
    [
        ("The dog that runs barks", ["the dog"]),
        ("A man in a red suit", ["a man", "a red suit"]),
        ("a cup of coffee", ["a cup", "coffee"]),
        ("a black and white dog, a big, fluffy cat", ["a black and white dog", "a big, fluffy cat"]),
        ("a man and woman", ["a man", "woman"]),
        ("a boy and a girl slide over the ice", ["a boy", "a girl", "the ice"]),
        ("She gives her a rose and feeds her dog", ["a rose", "her dog"]),
        ("A man in orange waits in front of a bus", ["a man", "a bus"]),
        ("Woman reading in swimming pool", ["woman", "swimming pool"]),
        ("Smiling woman riding horse", ["smiling woman", "horse"]),
        ("the girls' team bus", ["the girls' team bus"]),
        ("Half a dozen eggs", ["half a dozen eggs"]),
        ("A 50 year old man, a two-storey bus", ["a 50 year old man", "a two-storey bus"]),
        ("how to fix a bicycle", ["a bicycle"]),
        ("A drone flies up,a boy looks", ["a drone", "a boy"]),
        ("This is a car", ["a car"]),
    ],
)
def test_noun_chunks_end_at_their_head_noun(chunker, caption, texts):
    assert [chunk.text for chunk in chunker.chunk(caption)] == texts


@pytest.mark.parametrize(
    ("caption", "texts"),
    [
        ("WOMAN WITH HER DOG ON THE BEACH", ["woman", "her dog", "the beach"]),
        ("Woman With Her Dog On The Beach", ["woman", "her dog", "the beach"]),
        ("Anna's dog in New York City", ["Anna's dog", "New York City"]),
        ("A TV on a table", ["a TV", "a table"]),
    ],
)
def test_capital_letters_stay_where_they_say_something(chunker, caption, texts):
    assert [chunk.text for chunk in chunker.chunk(caption)] == texts


def test_short_captions_in_capitals_are_left_alone():
    assert plain_case("Red  Bull") == "Red Bull"


@pytest.mark.parametrize("part", ["held_out", "later"])
def test_candidates_of_captions_that_rules_were_not_tuned_on(chunker, benchmark, settings, part):
    rows = [row for row in benchmark.read_rows() if row.part == part]
    counts = Counter()
    for row in rows:
        counts += benchmark.tally(*benchmark.compare(chunker, row, settings)["candidates"])
    scores = benchmark.score(counts)
    assert len(rows) > 70
    assert scores["precision"] >= 95
    assert scores["recall"] >= 90


def test_the_table_marks_every_caption(benchmark):
    rows = list(benchmark.read_rows())
    assert len({row.caption for row in rows}) == len(rows) >= 150
    assert all(row.candidates or row.dropped for row in rows)


def test_chunks_do_not_depend_on_what_was_read_before(monkeypatch):
    captions = [f"A man throws ball{i} to a dog" for i in range(5)]
    alone = [RulesChunker().chunk(caption) for caption in captions]
    monkeypatch.setattr(memory, "_CAPTIONS", 2)
    together = RulesChunker()
    assert [together.chunk(caption) for caption in captions] == alone


def test_words_that_were_read_are_forgotten(monkeypatch):
    monkeypatch.setattr(memory, "_CAPTIONS", 10)
    language = spacy.blank("en")
    read = memory.Forgetting(language, language.tokenizer)
    sizes = []
    for i in range(200):
        read(f"never before seen word{i} and other{i}")
        sizes.append(len(language.vocab.strings))
    assert max(sizes) - min(sizes) < 50
