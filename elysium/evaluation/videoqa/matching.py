"""Right or wrong without a judge: exact match, soft match, and VQA accuracy where several people answered.

Texts are compared after the normalisation that VQA's evaluation page describes (visualqa.org/evaluation.html):

1. lower case;
2. full stops go, but for those of decimals; commas between digits go;
3. other punctuation but apostrophe and colon becomes a space;
4. number words up to ten become digits, and `none` becomes 0;
5. the articles a, an, the go;
6. contractions get the apostrophe they lack (`dont` is `don't`).

The list of contractions is this project's own: where a word without its apostrophe is another word (`its`, `were`,
`well`), it stays as it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {"none": "0"} | {word: str(value) for value, word in enumerate(_NUMBERS)}
_ARTICLES = frozenset({"a", "an", "the"})
_NEGATED = (
    "ai", "are", "ca", "could", "did", "do", "does", "had", "has", "have", "is", "might", "must", "need", "should",
    "was", "were", "wo", "would",
)  # fmt: skip
_SHORTENED = (
    "he'd", "he's", "how's", "i'm", "i've", "it'd", "it'll", "let's", "o'clock", "she'd", "she's", "that's", "there's",
    "they'd", "they'll", "they're", "they've", "we've", "what's", "when's", "where's", "who's", "why's", "you'd",
    "you'll", "you're", "you've",
)  # fmt: skip
_CONTRACTIONS = {f"{verb}nt": f"{verb}n't" for verb in _NEGATED} | {word.replace("'", ""): word for word in _SHORTENED}
# A full stop is kept in front of a digit: there it is a decimal's.
_DROPPED = re.compile(r"\.(?!\d)|(?<=\d),(?=\d)")
_PUNCTUATION = re.compile(r"[^\w\s':.]|_")
_WANTED_VOTES = 3
# With fewer people, not even an answer that all of them gave would count in full.
MIN_VOTES = _WANTED_VOTES + 1


@dataclass(frozen=True)
class AnswerMatch:
    """One question's judge-free figures, in percent.

    Attributes:
        exact_match: 100 if the answer is an accepted one; with votes, if it is (one of) the most frequent.
        soft_match: 100 if an accepted answer stands in the prediction as whole words; with votes, VQA accuracy.
    """

    exact_match: float
    soft_match: float


def match_answers(prediction: str, answers: Sequence[str], *, votes: bool = False) -> AnswerMatch:
    """Returns how far a prediction matches the right answers, all texts normalised.

    Soft match forgives words around the answer ("it is a red car" for "car"), and so also a denial ("no car"): it is
    an upper companion of exact match, and no judge.

    Args:
        prediction: The model's text; an empty one matches nothing.
        answers: Accepted answers, at least one; or one answer a person, the same ones repeated.
        votes: Whether they are one answer a person. Soft match is VQA accuracy then: min(n/3, 1) for n agreeing
            people, averaged over leaving each person out once (arXiv 1505.00468, and VQA's evaluation page).

    Raises:
        ValueError: If there is no answer.

    Example:
        >>> match_answers("It is a red car.", ["red car"])
        AnswerMatch(exact_match=0.0, soft_match=100.0)
    """
    if not answers:
        raise ValueError("a question needs at least one answer")
    said, accepted = normalise(prediction), [normalise(answer) for answer in answers]
    if not said:
        return AnswerMatch(0.0, 0.0)
    if votes:
        return AnswerMatch(100.0 * (said in _most_frequent(accepted)), 100.0 * _vqa_accuracy(said, accepted))
    exact = said in accepted
    soft = any(answer and f" {answer} " in f" {said} " for answer in accepted)
    return AnswerMatch(100.0 * exact, 100.0 * soft)


def normalise(text: str) -> str:
    """Returns a text as it is compared; see the top of this file.

    A text of which nothing would be left ("the") stays itself in lower case.

    Example:
        >>> normalise("The dog's 2 Toys, dont you see?"), normalise("1,000.5"), normalise("Two")
        ("dog's 2 toys don't you see", '1000.5', '2')
    """
    plain = text.lower().replace("’", "'")
    words = _PUNCTUATION.sub(" ", _DROPPED.sub("", plain)).split()
    changed = [_CONTRACTIONS.get(word, _DIGITS.get(word, word)) for word in words if word not in _ARTICLES]
    return " ".join(changed or plain.split())


def _most_frequent(answers: Sequence[str]) -> set[str]:
    counts = Counter(answers)
    return {answer for answer, count in counts.items() if count == max(counts.values())}


def _vqa_accuracy(said: str, answers: Sequence[str]) -> float:
    agreeing = answers.count(said)
    without_one = [agreeing - (answer == said) for answer in answers]
    return sum(min(count / _WANTED_VOTES, 1.0) for count in without_one) / len(answers)
