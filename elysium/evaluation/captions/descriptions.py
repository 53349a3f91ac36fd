"""Descriptions against what people wrote: METEOR, CIDEr and their like, and exact match (PROTOCOL §7).

METEOR, BLEU and ROUGE-L compare a description with its own references. CIDEr (Vedantam et al. 2015; CIDEr-D, as in
COCO's evaluation) also weighs every word by how few items' references hold it: an item's figure depends on which other
items are in the set, and what stands in every item's references counts nothing.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from elysium.errors import ElysiumError, UsageError
from elysium.evaluation.captions.caption_tokens import TOKENISER, tokenise
from elysium.evaluation.captions.meteor import MAX_WORDS, Meteor

DESCRIPTION_METRICS = ("meteor", "cider", "bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l")
_SHOWN = 5

logger = logging.getLogger(__name__)

# Metric → the corpus's figure, and one an item in the references' order.
_Figures = dict[str, tuple[float, Sequence[float]]]


@dataclass(frozen=True)
class DescriptionScores:
    """The figures of a set of descriptions, in percent: times 100 as papers print them, so CIDEr may be above 100.

    Attributes:
        corpus: Metric → figure of all items together. METEOR's and BLEU's are made of all items' counts and are not
            the mean over items; CIDEr's and ROUGE-L's are.
        per_item: Item → metric → figure.
        missing: Metric → why its figure could not be had, and how to get it.
        tokeniser: What took the texts apart into words; figures of two tokenisers are not to be compared.
        num_empty: Descriptions that are not there or hold no word: failures, which stay in with nothing right.
        notes: What the reader of the figures should know.
    """

    corpus: dict[str, float]
    per_item: dict[str, dict[str, float]]
    missing: dict[str, str]
    tokeniser: str = TOKENISER
    num_empty: int = 0
    notes: tuple[str, ...] = ()


def score_descriptions(
    predictions: Mapping[str, str | None],
    references: Mapping[str, Sequence[str]],
    metrics: Sequence[str] = ("meteor", "cider"),
    meteor: Meteor | None = None,
) -> DescriptionScores:
    """Scores descriptions against references; a metric that cannot be had leaves the others their figures.

    Args:
        predictions: Item → description. One that is None, empty or not there is a failure and scores nothing.
        references: Item → what people wrote, one text or more; its keys are the items.
        metrics: Of `DESCRIPTION_METRICS`.
        meteor: A running METEOR, for who scores several systems; by default one is started and ended here, which
            takes 6 s.

    Raises:
        UsageError: If there is no item, an item has no reference with a word in it, a prediction is of no item, or a
            metric is unknown.
    """
    for name in metrics:
        if name not in DESCRIPTION_METRICS:
            raise UsageError(f"there is no metric {name!r} of descriptions, only {', '.join(DESCRIPTION_METRICS)}")
    texts = _read(predictions, references, meteor)
    figures: _Figures = {}
    missing: dict[str, str] = {}
    for names, measure in _MEASURES:
        wanted = [name for name in names if name in metrics]
        if not wanted:
            continue
        try:
            figures |= measure(texts)
        except ElysiumError as error:
            missing |= dict.fromkeys(wanted, str(error))
        except ImportError as error:
            missing |= dict.fromkeys(wanted, f"{error}: pip install 'elysium[captions]'")
        except Exception as error:  # other people's code; whatever breaks it costs its own figure alone
            logger.warning("%s cannot be computed", ", ".join(wanted), exc_info=True)
            missing |= dict.fromkeys(wanted, f"{type(error).__name__}: {error}")
    found = [name for name in metrics if name in figures]
    return DescriptionScores(
        corpus={name: 100 * float(figures[name][0]) for name in found},
        per_item={
            key: {name: 100 * float(figures[name][1][place]) for name in found} for place, key in enumerate(texts.said)
        },
        missing=missing,
        num_empty=sum(not words for words in texts.said.values()),
        notes=tuple(texts.notes),
    )


def exact_match(predicted: str, truth: str) -> bool:
    """Returns whether two descriptions are the same but for case, punctuation and spaces; an empty one never is.

    Example:
        >>> exact_match("A red circle.", "a red  circle"), exact_match("a red T-shirt", "a red shirt")
        (True, False)
    """
    words = plain_words(predicted)
    return bool(words) and words == plain_words(truth)


def plain_words(text: str) -> list[str]:
    """Returns the words of a text in small letters; apostrophes within a word are kept.

    Example:
        >>> plain_words("The car's “left” T-shirt!")
        ['the', "car's", 'left', 't', 'shirt']
    """
    plain = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", plain)


@dataclass(frozen=True)
class _Texts:
    """What is compared: words parted by blanks, in the references' order.

    Attributes:
        said: Item → description.
        given: Item → references, none of them empty.
        meteor: A running one, if the caller has one.
        notes: Grows with what is found.
    """

    said: dict[str, str]
    given: dict[str, list[str]]
    meteor: Meteor | None
    notes: list[str] = field(default_factory=list)


def _read(
    predictions: Mapping[str, str | None], references: Mapping[str, Sequence[str]], meteor: Meteor | None
) -> _Texts:
    if not references:
        raise UsageError("there is no description to score: no item has a reference")
    strangers = [key for key in predictions if key not in references]
    if strangers:
        raise UsageError(f"there is no reference for the descriptions of {_some(strangers)}")
    said = {key: " ".join(tokenise(predictions.get(key) or "")) for key in references}
    all_given = {key: [" ".join(tokenise(text)) for text in texts] for key, texts in references.items()}
    given = {key: [text for text in texts if text] for key, texts in all_given.items()}
    speechless = [key for key, texts in given.items() if not texts]
    if speechless:
        raise UsageError(f"each item needs a reference with a word in it; there is none for {_some(speechless)}")
    texts = _Texts(said, given, meteor)
    empty = [key for key, words in said.items() if not words]
    if empty:
        texts.notes.append(
            f"{len(empty)} of {len(said)} descriptions are empty or not there and count as failures: {_some(empty)}"
        )
    blank = [key for key in given if len(given[key]) < len(all_given[key])]
    if blank:
        texts.notes.append(f"references without a word are left out: of {_some(blank)}")
    return texts


def _meteor(texts: _Texts) -> _Figures:
    predictions, references = list(texts.said.values()), list(texts.given.values())
    if texts.meteor is not None:
        figures = texts.meteor.score(predictions, references)
    else:
        with Meteor() as meteor:
            figures = meteor.score(predictions, references)
    long = [key for key, words in texts.said.items() if len(words.split()) > MAX_WORDS]
    if long:
        texts.notes.append(
            f"METEOR looks for matches in the first {MAX_WORDS} words of a description; the rest of {_some(long)} "
            "counts as words without a match"
        )
    return {"meteor": figures}


def _cider(texts: _Texts) -> _Figures:
    from pycocoevalcap.cider.cider import Cider

    shared = _shared(texts.given.values())
    hopeless = [key for key, given in texts.given.items() if shared and shared.issuperset(_grams(given))]
    if len(hopeless) == len(texts.given):
        raise UsageError(
            "CIDEr weighs words by how few items' references hold them: "
            + ("of one item alone" if len(hopeless) == 1 else "where all items have the same references")
            + " every weight is 0; score more items together"
        )
    if hopeless:
        texts.notes.append(
            f"CIDEr can only be 0 for {_some(hopeless)}: all that their references say stands in every item's"
        )
    return {"cider": Cider().compute_score(texts.given, _alone(texts.said))}


def _bleu(texts: _Texts) -> _Figures:
    from pycocoevalcap.bleu.bleu import Bleu

    corpus, items = Bleu(4).compute_score(texts.given, _alone(texts.said), verbose=0)
    return {f"bleu_{order}": pair for order, pair in enumerate(zip(corpus, items, strict=True), start=1)}


def _rouge(texts: _Texts) -> _Figures:
    from pycocoevalcap.rouge.rouge import Rouge

    return {"rouge_l": Rouge().compute_score(texts.given, _alone(texts.said))}


_MEASURES: tuple[tuple[tuple[str, ...], Callable[[_Texts], _Figures]], ...] = (
    (("meteor",), _meteor),
    (("cider",), _cider),
    (("bleu_1", "bleu_2", "bleu_3", "bleu_4"), _bleu),
    (("rouge_l",), _rouge),
)


def _alone(said: Mapping[str, str]) -> dict[str, list[str]]:
    return {key: [words] for key, words in said.items()}


def _shared(given: Iterable[list[str]]) -> set[tuple[str, ...]]:
    """Returns what stands in every item's references, up to four words long."""
    shared: set[tuple[str, ...]] | None = None
    for references in given:
        shared = set(_grams(references)) if shared is None else shared.intersection(_grams(references))
        if not shared:
            break
    return shared or set()


def _grams(references: Iterable[str]) -> Iterator[tuple[str, ...]]:
    for reference in references:
        words = reference.split()
        for length in range(1, 5):
            yield from zip(*(words[start:] for start in range(length)), strict=False)


def _some(keys: Sequence[str]) -> str:
    return ", ".join(map(str, keys[:_SHOWN])) + (f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else "")
