"""From a request to tasks: every set is opened and looked over before anything is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from elysium.config import EvaluateSettings
from elysium.errors import UsageError
from elysium.evaluation.request import EvaluationRequest, HeldOutRequest, SetRequest
from elysium.evaluation.tasks.answering import Answering
from elysium.evaluation.tasks.choosing import choose
from elysium.evaluation.tasks.held_out import held_out_works
from elysium.evaluation.tasks.published_expressions import published_descriptions, published_expressions
from elysium.evaluation.tasks.published_tracking import published_tracking
from elysium.evaluation.tasks.work import Work
from elysium.evaluation.videoqa.questions import open_question_set

# Field of `SetRequest` to the tasks that heed it.
_KNOWN_BY = {
    "annotations": ("rec",),
    "form": ("rec",),
    "units": ("rec",),
    "media": ("rec", "vqa"),
    "missing": ("vqa",),
    "max_frames": ("sot", "rsot", "video-reg"),
    "judging": ("vqa",),
}


def open_works(request: EvaluationRequest) -> list[Work]:
    """Returns every task, its data looked over and none of it asked about.

    Raises:
        ElysiumError: If a set is missing or damaged.
    """
    return [work for part in request.sets for work in _works(part, request.settings)]


def _works(part: HeldOutRequest | SetRequest, settings: EvaluateSettings) -> Sequence[Work]:
    if isinstance(part, HeldOutRequest):
        return held_out_works(part.data, settings, part.tasks, settings.baselines)
    _check_meant(part)
    if part.task == "vqa":
        return [_answering(part, settings)]
    if part.task in ("sot", "rsot"):
        return [published_tracking(part, settings)]
    if part.task == "rec":
        return [published_expressions(part, settings)]
    return [published_descriptions(part, settings)]


def _check_meant(part: SetRequest) -> None:
    """Raises UsageError where something is asked for that the task does not know, and would not do."""
    for flag, tasks in _KNOWN_BY.items():
        given = getattr(part, flag)
        if part.task not in tasks and given and given != "refuse":
            name = {"missing": "missing-videos", "judging": "judge-model", "form": "boxes"}.get(
                flag, flag.replace("_", "-")
            )
            raise UsageError(f"--{name} means nothing for --task {part.task}, only for {', '.join(tasks)}")


def _answering(part: SetRequest, settings: EvaluateSettings) -> Work:
    questions = open_question_set(part.name, part.data, part.media, part.split or "test", missing=part.missing)
    if part.only is not None or part.limit is not None:
        chosen = choose(questions, part, f"question of {questions.name}")
        note = f"{len(chosen)} of {len(questions)} questions were asked"
        questions = replace(questions, questions=tuple(chosen), note="; ".join(filter(None, (questions.note, note))))
    return Answering(questions, baselines=settings.baselines, judging=part.judging)
