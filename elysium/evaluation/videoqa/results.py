"""A judge's result as it is stored, and whether two of them may be compared."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from elysium.evaluation.videoqa.judges import JudgeIdentity
from elysium.evaluation.videoqa.prompt import PROTOCOL, Says


class Verdict(BaseModel):
    """What became of one question.

    Attributes:
        says: What the judge says; `no` without asking where there is no prediction; None where it is unjudged.
        score: 0 to 5, likewise.
        reason: The judge's, if it gave one; else why there is none of its own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    says: Says | None
    score: int | None
    reason: str | None = None

    @property
    def accuracy(self) -> float:
        """100 for yes, 0 for no and for an unjudged question."""
        return 100.0 if self.says == "yes" else 0.0


class JudgeResult(BaseModel):
    """The figures of one system's predictions by one judge.

    Attributes:
        protocol: What is measured: share of yes, and mean score.
        judge: Who was asked, and how.
        reported: What the judge called itself, each name once, sorted; more than one where it changed under way.
        prompt: Version of the wording.
        prompt_digest: Of the wording.
        accuracy: Share of yes among all questions, percent; an unjudged one counts as no.
        score: Mean over all questions, 0 to 5; an unjudged one counts as 0.
        num_questions: All of them.
        num_unjudged: No reply could be read, even when asked twice, or the judge declined.
        num_empty: There was no prediction, so the judge was not asked: no, and 0.
        num_asked: Answers of this run; the others were known.
        prompt_tokens: Read by the judge for all answers of this result, those of earlier runs included.
        completion_tokens: Written, likewise.
        tokens_counted: Whether the judge counted them all; else some are upper bounds.
        cost: Of these tokens, in the currency of the prices; None without prices.
        per_question: Question id → verdict.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: str = PROTOCOL
    judge: JudgeIdentity
    reported: tuple[str, ...]
    prompt: str
    prompt_digest: str
    accuracy: float
    score: float
    num_questions: int
    num_unjudged: int
    num_empty: int
    num_asked: int
    prompt_tokens: int
    completion_tokens: int
    tokens_counted: bool
    cost: float | None
    per_question: dict[str, Verdict]

    @property
    def summary(self) -> str:
        """One line for people."""
        names = ", ".join(self.reported) or "nobody"
        cost = "" if self.cost is None else f", cost {'' if self.tokens_counted else 'at most '}{self.cost:.4g}"
        return (
            f"accuracy {self.accuracy:.2f} %, score {self.score:.3f} of 5 over {self.num_questions} questions "
            f"({self.num_unjudged} unjudged, counted as no; {self.num_empty} without a prediction); judge "
            f"{self.judge.model} (answered as {names}), prompt {self.prompt}; {self.prompt_tokens} tokens read, "
            f"{self.completion_tokens} written{cost}"
        )


def comparable(a: JudgeResult, b: JudgeResult) -> str | None:
    """Returns why two results must not be compared, or None where they may be.

    Scores move with the judge: only figures of the same judge, under the same wording and temperature, compare.
    """
    differences = []
    if a.protocol != b.protocol:
        differences.append(f"protocol {a.protocol} and {b.protocol}")
    if (a.judge.backend, a.judge.model) != (b.judge.backend, b.judge.model):
        differences.append(f"judge {a.judge.model} ({a.judge.backend}) and {b.judge.model} ({b.judge.backend})")
    # A result without a single question to the judge names nobody: its figures are the same by any.
    if len({*a.reported, *b.reported}) > 1:
        differences.append(f"answered as {_names(a.reported)} and as {_names(b.reported)}")
    if a.prompt_digest != b.prompt_digest:
        differences.append(f"prompt {a.prompt} ({a.prompt_digest[:8]}) and {b.prompt} ({b.prompt_digest[:8]})")
    if a.judge.temperature != b.judge.temperature:
        differences.append(f"temperature {a.judge.temperature} and {b.judge.temperature}")
    if not differences:
        return None
    return (
        f"these results were not judged alike: {'; '.join(differences)}. Scores move with the judge and its prompt: "
        "have both judged by one before comparing them"
    )


def _names(reported: tuple[str, ...]) -> str:
    return ", ".join(reported) or "nobody"
