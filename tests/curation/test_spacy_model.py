"""The chunker `spacy` on a real pipeline (tagger, attribute ruler, parser) that is trained here, in a few seconds."""

import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import fix_random_seed

from elysium.curation.language.spacy_model import spacy_chunker
from elysium.curation.registry import PartsShelf, check_names
from elysium.errors import UsageError

# Each word with its tag, its head's position and its relation, annotated by hand.
CAPTIONS = [
    "A/DT/1/det man/NN/2/nsubj walks/VBZ/2/ROOT his/PRP$/4/poss dog/NN/2/dobj ././2/punct",
    "The/DT/2/det big/JJ/2/amod dog/NN/5/nsubj that/WDT/4/nsubj runs/VBZ/2/relcl barks/VBZ/5/ROOT ././5/punct",
    "A/DT/1/det man/NN/7/nsubj in/IN/1/prep a/DT/5/det red/JJ/5/amod suit/NN/2/pobj ,/,/7/punct talks/VBZ/7/ROOT",
    "She/PRP/1/nsubj holds/VBZ/1/ROOT a/DT/3/det cup/NN/1/dobj of/IN/3/prep coffee/NN/4/pobj ././1/punct",
    "The/DT/1/det man/NN/3/poss 's/POS/1/case dog/NN/4/nsubj chases/VBZ/4/ROOT two/CD/6/nummod cats/NNS/4/dobj",
    "A/DT/1/det man/NN/4/nsubj and/CC/1/cc woman/NN/1/conj ride/VBP/4/ROOT horses/NNS/4/dobj ././4/punct",
    "Young/JJ/1/amod woman/NN/1/ROOT in/IN/1/prep the/DT/4/det park/NN/2/pobj ././1/punct",
]
PARTS_OF_SPEECH = {
    "DT": "DET",
    "NN": "NOUN",
    "NNS": "NOUN",
    "VBZ": "VERB",
    "VBP": "VERB",
    "PRP$": "PRON",
    "PRP": "PRON",
    "WDT": "PRON",
    "JJ": "ADJ",
    "IN": "ADP",
    "CC": "CCONJ",
    "CD": "NUM",
    "POS": "PART",
    ".": "PUNCT",
    ",": "PUNCT",
}
TOK2VEC = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "pretrained_vectors": None,
    "width": 48,
    "depth": 2,
    "embed_size": 400,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": True,
}
TAGGER = {"@architectures": "spacy.Tagger.v2", "nO": None, "normalize": False, "tok2vec": TOK2VEC}
PARSER = {
    "@architectures": "spacy.TransitionBasedParser.v2",
    "state_type": "parser",
    "extra_state_tokens": False,
    "hidden_width": 48,
    "maxout_pieces": 2,
    "use_upper": True,
    "nO": None,
    "tok2vec": TOK2VEC,
}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """The folder of a pipeline that has learned the captions by heart."""
    fix_random_seed(0)
    language = spacy.blank("en")
    language.add_pipe("tagger", config={"model": TAGGER})
    ruler = language.add_pipe("attribute_ruler")
    language.add_pipe("parser", config={"model": PARSER, "min_action_freq": 1})
    examples = [annotated(language, caption) for caption in CAPTIONS]
    optimizer = language.initialize(lambda: examples)
    for _ in range(60):
        language.update(examples, sgd=optimizer)
    for tag, part in PARTS_OF_SPEECH.items():
        ruler.add([[{"TAG": tag}]], {"POS": part})
    folder = tmp_path_factory.mktemp("models") / "captions"
    language.to_disk(folder)
    return folder


def annotated(language, caption):
    words, tags, heads, relations = zip(*(entry.split("/") for entry in caption.split()), strict=True)
    heads = [int(head) for head in heads]
    parsed = Doc(language.vocab, words=words, tags=tags, heads=heads, deps=relations)
    return Example(Doc(language.vocab, words=words), parsed)


@pytest.fixture(scope="module")
def chunker(pipeline, settings):
    return spacy_chunker(settings.model_copy(update={"spacy_model": str(pipeline)}))


@pytest.mark.parametrize(
    ("caption", "texts", "heads"),
    [
        ("A man walks his dog.", ["a man", "his dog"], ["man", "dog"]),
        ("The big dog that runs barks.", ["the big dog"], ["dog"]),
        ("A man in a red suit, talks", ["a man", "a red suit"], ["man", "suit"]),
        ("She holds a cup of coffee.", ["a cup", "coffee"], ["cup", "coffee"]),
        ("The man's dog chases two cats", ["the man's dog", "two cats"], ["dog", "cats"]),
        ("A man and woman ride horses.", ["a man", "woman", "horses"], ["man", "woman", "horses"]),
        ("Young woman in the park.", ["young woman", "the park"], ["woman", "park"]),
        ("", [], []),
    ],
)
def test_noun_chunks_end_at_their_head_and_pronouns_are_none(chunker, caption, texts, heads):
    chunks = chunker.chunk(caption)
    assert [chunk.text for chunk in chunks] == texts
    assert [chunk.head for chunk in chunks] == heads


def test_a_caption_in_capitals_is_read_as_any_other(chunker):
    assert chunker.chunk("THE BIG DOG THAT RUNS BARKS.") == chunker.chunk("The big dog that runs barks.")


def test_the_model_is_chosen_by_settings(pipeline, settings_with):
    settings = settings_with(chunker="spacy", spacy_model=pipeline)
    check_names(settings)
    assert [chunk.head for chunk in PartsShelf(settings).chunker.chunk("A man walks his dog.")] == ["man", "dog"]


def test_a_model_that_is_not_installed_is_named_with_its_remedy_before_work_starts(settings_with):
    settings = settings_with(chunker="spacy", spacy_model="en_core_web_none")
    with pytest.raises(UsageError, match="python -m spacy download en_core_web_none"):
        check_names(settings)


def test_no_model_is_looked_for_where_none_is_asked_for(settings_with):
    check_names(settings_with(chunker="spacy-rules", spacy_model="en_core_web_none"))


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path, settings_with):
    with pytest.raises(UsageError, match=r"no config\.cfg"):
        check_names(settings_with(chunker="spacy", spacy_model=tmp_path))


@pytest.mark.parametrize(("lang", "problem"), [("en", "no tagger and no parser"), ("de", "no tagger")])
def test_a_pipeline_that_finds_no_noun_chunks_is_refused(tmp_path, settings_with, lang, problem):
    spacy.blank(lang).to_disk(tmp_path / "blank")
    with pytest.raises(UsageError, match=problem):
        spacy_chunker(settings_with(spacy_model=tmp_path / "blank"))


def test_a_broken_pipeline_is_refused(tmp_path, settings_with):
    (tmp_path / "config.cfg").write_text("[nlp]\nlang = 'en'\n")
    with pytest.raises(UsageError, match="cannot be loaded"):
        spacy_chunker(settings_with(spacy_model=tmp_path))
