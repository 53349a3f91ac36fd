"""Answering free questions about videos (VideoQA): by matching words, and by a judge (PROTOCOL §5, §7)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from elysium import prompts
from elysium.data.sets.schema import SetRecord, Turn
from elysium.evaluation.leaks import Clip, VideoFrames
from elysium.evaluation.results import MODEL, Figures, ItemResult
from elysium.evaluation.tasks.asking import Crashed, Image, ask
from elysium.evaluation.tasks.work import SINGLE, Finished, Stopwatch, batched
from elysium.evaluation.videoqa.judges import JudgeOptions, open_judge
from elysium.evaluation.videoqa.judging import judge_all, judge_items
from elysium.evaluation.videoqa.matching import match_answers
from elysium.evaluation.videoqa.prompt import ELYSIUM_1, load_prompt
from elysium.evaluation.videoqa.questions import QuestionSet, VideoQuestion
from elysium.evaluation.videoqa.results import JudgeResult
from elysium.evaluation.videoqa.spending import JudgeLimits
from elysium.inference import Engine
from elysium.inference.choice import ReadOptions
from elysium.inference.shown import as_many_as_fit, spread_frames
from elysium.pipeline.workspace import write_atomic

logger = logging.getLogger(__name__)

# Frames of a video that are shown, evenly spread (PROTOCOL §5).
NUM_FRAMES = 16
_MAX_TOKENS = 128
_JUDGED = "judge.jsonl"
COMMON = "most_common_answer"


@dataclass(frozen=True)
class Judging:
    """How answers are judged.

    Attributes:
        options: Who judges.
        limits: What it may cost.
        prompt: File with another wording; None takes `elysium-1`.
        retry_unjudged: Asks again for what could not be read in an earlier run.
        home: The folder with the local registry, for a local model.
    """

    options: JudgeOptions
    limits: JudgeLimits = field(default_factory=JudgeLimits)
    prompt: Path | None = None
    retry_unjudged: bool = False
    home: Path = Path("runs")


class Answering:
    """VideoQA on a set.

    Args:
        questions: The set.
        baselines: With `frame_by_frame`, the model is also shown the first frame alone.
        judging: How answers are judged; None matches words only.
        read: How videos are read.
    """

    def __init__(
        self,
        questions: QuestionSet,
        *,
        baselines: Sequence[str],
        judging: Judging | None = None,
        read: ReadOptions | None = None,
    ) -> None:
        self._set, self._baselines, self._judging = questions, tuple(baselines), judging
        self._read = read or ReadOptions()
        # Questions about one video stand together: it is read once, and encoded once for those asked together.
        self._items = {item.id: item for item in sorted(questions, key=lambda item: str(item.video))}
        # Over all of a video's questions: how many frames are shown must not depend on which are asked together.
        self._longest: dict[Path, str] = {}
        for item in self._items.values():
            if item.video is not None:
                self._longest[item.video] = max(self._longest.get(item.video, ""), item.question, key=len)
        self._shown: dict[Path, list[Image]] = {}

    @property
    def name(self) -> str:
        """Task and set."""
        return f"vqa-{self._set.name}"

    @property
    def sizes(self) -> Mapping[str, int]:
        """Frames of each item."""
        return dict.fromkeys(self._items, NUM_FRAMES)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What decides the answers: no judge does."""
        return {"task": self.name, "baselines": self._baselines, "questions": self._set.digest, "frames": NUM_FRAMES}

    @property
    def items(self) -> Mapping[str, VideoQuestion]:
        """What is asked, by id."""
        return self._items

    def clips(self) -> list[Clip]:
        """What the questions are about, each video once."""
        videos = {str(item.video): item for item in self._items.values() if item.video is not None}
        return [
            Clip(item.id, Path(name).stem, _frames_of(Path(name), item), dataset=self._set.name)
            for name, item in videos.items()
        ]

    def check(self) -> None:
        """Asks the judge one cheap question: a wrong key is told before hours of answering.

        Raises:
            JudgeError: If it cannot be reached.
        """
        if self._judging is not None:
            judge = open_judge(self._judging.options, self._judging.home)
            try:
                judge.check()
            finally:
                judge.close()

    def measure(self, engine: Engine, ids: Sequence[str]) -> Iterator[list[ItemResult]]:
        """Asks some of the questions."""
        for chunk in batched([self._items[name] for name in ids], engine.batch_size):
            yield self._measure(engine, chunk)

    def _measure(self, engine: Engine, items: Sequence[VideoQuestion]) -> list[ItemResult]:
        watch = Stopwatch(engine)
        clips = self._clips(engine, items)
        there = [(item, item.video) for item in items if item.video is not None]
        names, texts = [item.id for item, _ in there], [item.question for item, _ in there]
        answers = dict(zip(names, ask(engine, [clips[video] for _, video in there], texts), strict=True))
        spent = watch.lap([len(clips[item.video]) if item.video else 0 for item in items])
        systems: dict[str, Mapping[str, str | Crashed]] = {MODEL: answers}
        if SINGLE in self._baselines:
            firsts = {video: clip[:1] for video, clip in clips.items()}
            alone = ask(engine, [firsts[video] for _, video in there], texts)
            systems[SINGLE] = dict(zip(names, alone, strict=True))
        return [
            ItemResult(
                id=item.id,
                video=item.video_name if item.video is None else str(item.video),
                figures={name: _matched(said.get(item.id, ""), item) for name, said in systems.items()},
                failures=_failure(item, answers.get(item.id, "")),
                groups={"kind": [item.kind]} if item.kind else {},
                prediction=_prediction(item, answers.get(item.id, "")),
                cost=cost,
            )
            for item, cost in zip(items, spent, strict=True)
        ]

    def _clips(self, engine: Engine, items: Sequence[VideoQuestion]) -> dict[Path, list[Image]]:
        """Returns each video's frames, as many as the model takes with the longest of the video's questions."""
        clips: dict[Path, list[Image]] = {}
        for video in dict.fromkeys(item.video for item in items):
            if video is None:
                continue
            if video in self._shown:
                clips[video] = self._shown[video]
                continue
            frames = spread_frames(str(video), self._read, NUM_FRAMES)
            clips[video] = as_many_as_fit(
                engine, frames, partial(_question, self._longest[video]), _MAX_TOKENS, quiet=True
            )
        # The next questions may be about the last of these videos.
        self._shown = clips
        return clips

    def finish(self, items: Sequence[ItemResult], folder: Path) -> Finished:
        """Matches, and has the answers judged; what was judged before is not asked for again."""
        common = Counter(question.answer for question in self._set).most_common(1)[0][0]
        items = [self._beside_common(item, common) for item in items]
        notes = [note for note in (self._set.note, _shown_note(items)) if note]
        protocol: dict[str, Any] = {"frames": NUM_FRAMES, "split": self._set.split}
        if self._judging is None:
            notes.append("no judge was asked: figures are by matching words (--judge-model names one)")
            return Finished(items, protocol=protocol, notes=notes)
        result = self._judge(items, folder)
        write_atomic(folder / "judge.json", result.model_dump_json(indent=1))
        protocol |= {
            "judge": ", ".join(result.reported) or result.judge.model,
            "judge_prompt": f"{result.prompt} ({result.prompt_digest[:12]})",
            "judge_temperature": result.judge.temperature,
        }
        notes.append(f"judged: {result.summary}")
        return Finished([_judged(item, result) for item in items], protocol=protocol, notes=notes)

    def _judge(self, items: Sequence[ItemResult], folder: Path) -> JudgeResult:
        judging = self._judging
        if judging is None:
            raise ValueError("there is no judge")
        asked = judge_items(self._items.values(), {item.id: item.prediction["text"] for item in items})
        judge = open_judge(judging.options, judging.home)
        try:
            return judge_all(
                asked,
                judge,
                folder / _JUDGED,
                prompt=load_prompt(judging.prompt) if judging.prompt else ELYSIUM_1,
                limits=judging.limits,
                retry_unjudged=judging.retry_unjudged,
                progress=_tell,
            )
        finally:
            judge.close()

    def _beside_common(self, item: ItemResult, common: str) -> ItemResult:
        """Adds the baseline that looks at nothing: the set's most common answer, whatever is asked."""
        figures = {**item.figures, COMMON: _matched(common, self._items[item.id])}
        return item.model_copy(update={"figures": figures})


def _frames_of(video: Path, item: VideoQuestion) -> VideoFrames:
    turn = Turn(question=item.question, answer=item.answer)
    record = SetRecord(id=item.id, dataset="questions", video=video.name, turns=[turn])
    return VideoFrames(record, str(video.parent))


def _question(text: str, count: int) -> str:
    return prompts.ask(prompts.Task.VQA, count, question=text)


def _shown_note(items: Sequence[ItemResult]) -> str | None:
    """Returns a note where less was shown than the protocol says; None where all was."""
    counts = [item.cost.frames for item in items if item.cost and not item.failures.get("missing")]
    fewer = [count for count in counts if count < NUM_FRAMES]
    if not fewer:
        return None
    shown = f"{min(fewer)}" if min(fewer) == max(fewer) else f"{min(fewer)} to {max(fewer)}"
    return (
        f"{len(fewer)} of {len(items)} questions were shown with {shown} frames instead of {NUM_FRAMES}: as many as "
        "the video has and the model takes"
    )


def _matched(answer: str | Crashed, item: VideoQuestion) -> Figures:
    text = "" if isinstance(answer, Crashed) else answer
    found = match_answers(text, item.answers, votes=item.votes)
    return {"exact_match": found.exact_match, "soft_match": found.soft_match}


def _failure(item: VideoQuestion, answer: str | Crashed) -> dict[str, int]:
    if item.video is None:
        return {"missing": 1}
    if isinstance(answer, Crashed):
        return {"crashed": 1}
    return {} if answer.strip() else {"empty": 1}


def _prediction(item: VideoQuestion, answer: str | Crashed) -> dict[str, Any]:
    found = {"id": item.id, "video": None if item.video is None else item.video.name, "question": item.question}
    found |= {"answer": item.answer, "text": "" if isinstance(answer, Crashed) else answer}
    return {**found, "error": answer.reason} if isinstance(answer, Crashed) else found


def _judged(item: ItemResult, result: JudgeResult) -> ItemResult:
    verdict = result.per_question[item.id]
    own = {"judge_accuracy": verdict.accuracy, "judge_score": float(verdict.score or 0), **item.figures[MODEL]}
    prediction = {**item.prediction, "judge": {"says": verdict.says, "score": verdict.score, "reason": verdict.reason}}
    failures = {**item.failures, **({"unjudged": 1} if verdict.says is None else {})}
    figures = {**item.figures, MODEL: own}
    return item.model_copy(update={"figures": figures, "prediction": prediction, "failures": failures})


def _tell(done: int, total: int, cost: float) -> None:
    if done == total or done % 500 == 0:
        logger.info("%d of %d answers are judged%s", done, total, f", cost {cost:.4g}" if cost else "")
