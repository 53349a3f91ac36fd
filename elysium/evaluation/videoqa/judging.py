"""Judging many answers: what is known is not asked again, and whatever stops a run leaves it to be gone on with."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from elysium.errors import ElysiumError, UsageError
from elysium.evaluation.videoqa.judge_cache import JudgeCache, StoredAnswer, answer_key
from elysium.evaluation.videoqa.judges import Declined, Judge, JudgeRefused, Reply
from elysium.evaluation.videoqa.prompt import ELYSIUM_1, SHOWN_AGAIN, Conversation, JudgePrompt, ask_again, read_reply
from elysium.evaluation.videoqa.questions import VideoQuestion
from elysium.evaluation.videoqa.results import JudgeResult, Verdict
from elysium.evaluation.videoqa.spending import JudgeLimits, Spending, most_tokens

logger = logging.getLogger(__name__)

# Done, all, and cost so far (0 without prices).
Progress = Callable[[int, int, float], None]
_KEPT_REPLY = 2000
_SHOWN_REPLY = 80
# So many questions declined, or answered in no readable way, before any other are no matter of the questions.
_HOPELESS = 20


@dataclass(frozen=True)
class JudgeItem:
    """One answer to be judged.

    Attributes:
        id: Of the question, unique.
        question: Text.
        answer: The right one.
        prediction: The model's; empty where there is none.
    """

    id: str
    question: str
    answer: str
    prediction: str

    @property
    def is_empty(self) -> bool:
        """Whether there is no prediction."""
        return not self.prediction.strip()


def judge_items(questions: Iterable[VideoQuestion], predictions: Mapping[str, str]) -> list[JudgeItem]:
    """Returns what is to be judged; a question without a prediction stays, with an empty one.

    Args:
        questions: A `QuestionSet`.
        predictions: Question id → text.
    """
    return [JudgeItem(entry.id, entry.question, entry.answer, predictions.get(entry.id, "")) for entry in questions]


def judge_all(
    items: Sequence[JudgeItem],
    judge: Judge,
    cache: Path,
    *,
    prompt: JudgePrompt = ELYSIUM_1,
    limits: JudgeLimits | None = None,
    progress: Progress | None = None,
    retry_unjudged: bool = False,
) -> JudgeResult:
    """Has all answers judged, and returns the figures.

    The same question, right answer and prediction are asked once, whatever the number of videos. A reply that cannot be
    read is asked for once more, then the question is unjudged: it counts as no with score 0, and is counted.

    Args:
        items: At least one.
        judge: Who judges; it stays open.
        cache: The file with its answers; those in it are not asked for again.
        prompt: The wording.
        limits: Prices, and what all answers of this result may cost.
        progress: Called after every answer, by one thread at a time.
        retry_unjudged: Asks again for what could not be read in an earlier run.

    Raises:
        UsageError: If there is no item, an id comes twice, or another process has the file open.
        JudgeError: If the judge cannot be reached any more.
        PriceLimitReached: Before the limit is crossed.
        ElysiumError: If the answers cannot be kept. All of these leave what was answered in the file, and say so.
    """
    if not items:
        raise UsageError("there is no answer to judge")
    if len({item.id for item in items}) < len(items):
        raise UsageError("two answers to judge have the same id; ids are unique")
    with JudgeCache.open(cache) as known:
        run = _Run(judge, known, prompt, limits or JudgeLimits(), progress, items, retry_unjudged)
        try:
            run.ask_all()
        except ElysiumError as error:
            raise _told(error, run, cache) from error
        result = run.result()
    if result.num_unjudged:
        logger.warning("%d of %d questions are unjudged and count as no", result.num_unjudged, result.num_questions)
    return result


def _told(error: ElysiumError, run: _Run, cache: Path) -> ElysiumError:
    """Returns the same error with what is kept."""
    text = f"{error}. {run.done} of {run.total} answers are kept in {cache}; run again to go on with the others"
    try:
        return type(error)(text)
    except TypeError:
        return ElysiumError(text)


class _Run:
    """One call of `judge_all`."""

    def __init__(
        self,
        judge: Judge,
        cache: JudgeCache,
        prompt: JudgePrompt,
        limits: JudgeLimits,
        progress: Progress | None,
        items: Sequence[JudgeItem],
        retry_unjudged: bool,
    ) -> None:
        self._judge, self._cache, self._prompt, self._limits = judge, cache, prompt, limits
        self._progress, self._items = progress, items
        self._keys = {
            item.id: answer_key(judge.identity, prompt, item.question, item.answer, item.prediction)
            for item in items
            if not item.is_empty
        }
        asked: dict[str, JudgeItem] = {}
        for item in items:
            if not item.is_empty:
                asked.setdefault(self._keys[item.id], item)
        self._todo = {key: item for key, item in asked.items() if self._is_open(key, retry_unjudged)}
        self.total, self.done = len(asked), len(asked) - len(self._todo)
        self._declined: dict[str, str] = {}
        self._num_asked = 0
        self._num_unreadable = 0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._spending = Spending(limits, sum(map(self._cost, self._answers())))

    def ask_all(self) -> None:
        """Asks what is open, some at once; on a failure, the answers under way are still kept."""
        if not self._todo:
            return
        pieces = _pieces(self._todo.items(), self._judge.batch_size)
        with ThreadPoolExecutor(self._judge.num_workers, thread_name_prefix="judge") as pool:
            under_way: set[Future[None]] = set()
            try:
                for piece in pieces:
                    under_way.add(pool.submit(self._ask, piece))
                    # No more than can be worked on: on a failure, nothing is left in a queue.
                    if len(under_way) >= self._judge.num_workers:
                        under_way = self._wait(under_way, all_of_them=False)
                self._wait(under_way, all_of_them=True)
            except BaseException:
                self._stop.set()
                raise

    def result(self) -> JudgeResult:
        """Returns the figures of all items."""
        verdicts = {item.id: self._verdict(item) for item in self._items}
        answers = list(self._answers())
        count = len(verdicts)
        return JudgeResult(
            judge=self._judge.identity,
            reported=tuple(sorted({answer.model for answer in answers})),
            prompt=self._prompt.version,
            prompt_digest=self._prompt.digest,
            accuracy=sum(verdict.accuracy for verdict in verdicts.values()) / count,
            score=sum(verdict.score or 0 for verdict in verdicts.values()) / count,
            num_questions=count,
            num_unjudged=sum(verdict.says is None for verdict in verdicts.values()),
            num_empty=sum(item.is_empty for item in self._items),
            num_asked=self._num_asked,
            prompt_tokens=sum(answer.prompt_tokens for answer in answers),
            completion_tokens=sum(answer.completion_tokens for answer in answers),
            tokens_counted=all(answer.counted for answer in answers),
            cost=sum(map(self._cost, answers)) if self._limits.prices else None,
            per_question=verdicts,
        )

    def _is_open(self, key: str, retry_unjudged: bool) -> bool:
        answer = self._cache.find(key)
        return answer is None or (retry_unjudged and answer.says is None)

    def _answers(self) -> Iterator[StoredAnswer]:
        for key in dict.fromkeys(self._keys.values()):
            answer = self._cache.find(key)
            if answer is not None:
                yield answer

    def _cost(self, answer: StoredAnswer) -> float:
        prices = self._limits.prices
        return prices.cost(answer.prompt_tokens, answer.completion_tokens) if prices else 0.0

    def _verdict(self, item: JudgeItem) -> Verdict:
        if item.is_empty:
            return Verdict(says="no", score=0, reason="there is no prediction")
        key = self._keys[item.id]
        answer = self._cache.find(key)
        if answer is None:
            return Verdict(says=None, score=None, reason=f"the judge declined: {self._declined[key]}")
        if answer.says is None:
            return Verdict(says=None, score=None, reason=f"the judge's reply cannot be read: {answer.reply[:200]!r}")
        return Verdict(says=answer.says, score=answer.score, reason=answer.reason)

    @staticmethod
    def _wait(under_way: set[Future[None]], *, all_of_them: bool) -> set[Future[None]]:
        """Waits for one or for all, raises what one of them raised, and returns those that still run."""
        done, left = wait(under_way, return_when=FIRST_EXCEPTION if all_of_them else FIRST_COMPLETED)
        for future in done:
            future.result()
        return left

    def _ask(self, piece: Sequence[tuple[str, JudgeItem]]) -> None:
        """Asks some questions, the unreadable ones twice, and keeps the answers."""
        asked = [self._prompt.fill(item.question, item.answer, item.prediction) for _, item in piece]
        most = sum(map(self._most, asked))
        self._spending.reserve(most, self._stop)
        cost = 0.0
        try:
            first = self._judge.ask(asked, self._stop)
            again = [
                number
                for number, reply in enumerate(first)
                if isinstance(reply, Reply) and read_reply(reply.text) is None
            ]
            second: dict[int, Reply | Declined] = {}
            try:
                if again:
                    repeated = [ask_again(asked[number], _text(first[number])) for number in again]
                    second = dict(zip(again, self._judge.ask(repeated, self._stop), strict=True))
            finally:  # should the second attempt fail: what is readable of the first one was paid for
                for number, (key, _) in enumerate(piece):
                    if number in again and number not in second:
                        continue
                    cost += self._keep(key, first[number], second.get(number))
        finally:
            self._spending.settle(most, cost)

    def _keep(self, key: str, first: Reply | Declined, second: Reply | Declined | None) -> float:
        """Keeps what was said of one question, and returns its cost."""
        if isinstance(first, Declined):
            self._decline(key, first.reason)
            return 0.0
        replies = [first, *([second] if isinstance(second, Reply) else [])]
        read, written = sum(reply.prompt_tokens for reply in replies), sum(reply.completion_tokens for reply in replies)
        earlier = self._cache.find(key)  # an unreadable one, which was paid for, too
        reading = read_reply(replies[-1].text)
        self._cache.add(
            StoredAnswer(
                key=key,
                model=replies[-1].model,
                prompt=self._prompt.version,
                says=reading.says if reading else None,
                score=reading.score if reading else None,
                reason=reading.reason if reading else None,
                reply=replies[-1].text[:_KEPT_REPLY],
                prompt_tokens=read + (earlier.prompt_tokens if earlier else 0),
                completion_tokens=written + (earlier.completion_tokens if earlier else 0),
                counted=all(reply.counted for reply in replies) and (earlier is None or earlier.counted),
            )
        )
        cost = self._limits.prices.cost(read, written) if self._limits.prices else 0.0
        with self._lock:
            self.done += 1
            self._num_asked += 1
            self._num_unreadable += reading is None
            # Also of earlier runs: one that was read shows that the judge knows how.
            hopeless = self._num_unreadable >= _HOPELESS and all(answer.says is None for answer in self._answers())
            if self._progress:
                self._progress(self.done, self.total, self._spending.spent + cost)
        if hopeless:
            raise JudgeRefused(
                f"none of the judge's first {self._num_unreadable} replies can be read, the last one is "
                f"{replies[-1].text[:_SHOWN_REPLY]!r}; take another --judge-model or --judge-prompt, or, where it was "
                "out of order, ask again with --retry-unjudged"
            )
        return cost

    def _decline(self, key: str, reason: str) -> None:
        with self._lock:
            self._declined[key] = reason
            hopeless = self.done == 0 and len(self._declined) >= _HOPELESS
        if hopeless:
            raise JudgeRefused(f"the judge declined the first {_HOPELESS} questions, the last one with: {reason}")
        logger.warning("the judge declined a question, which stays unjudged: %s", reason)

    def _most(self, asked: Conversation) -> float:
        """Returns what one question can cost at most, asked twice."""
        prices = self._limits.prices
        if prices is None:
            return 0.0
        again = most_tokens(ask_again(asked, "\U0001f600" * SHOWN_AGAIN))  # no letter has more bytes than this one
        return prices.cost(most_tokens(asked) + again, 2 * self._judge.max_tokens)


def _text(reply: Reply | Declined) -> str:
    return reply.text if isinstance(reply, Reply) else ""


def _pieces(items: Iterable[tuple[str, JudgeItem]], size: int) -> Iterator[Sequence[tuple[str, JudgeItem]]]:
    rest = iter(items)
    while piece := list(islice(rest, size)):
        yield piece
