"""The evaluations that fill the paper's tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from elysium.config import load_settings
from elysium.errors import ElysiumError
from elysium.evaluation.evaluating import LEAK_CACHE, evaluate_into
from elysium.evaluation.paper.driver import Measure
from elysium.evaluation.request import EvaluationRequest, SetRequest
from elysium.evaluation.results import Evaluation
from elysium.evaluation.tasks.answering import Judging
from elysium.inference.checkpoints import find_checkpoint

_EXPRESSIONS = "rec"
_QUESTIONS = "vqa"


def open_measure(
    checkpoint: str, overrides: Sequence[str], judging: Judging | None = None, training: Sequence[Path] = ()
) -> Measure:
    """Returns what runs the evaluations of one model.

    Args:
        checkpoint: As `elysium evaluate run --checkpoint` takes it.
        overrides: What `--set` was given.
        judging: Who judges answers; None matches words only.
        training: Data that the model was trained on.

    Raises:
        UsageError: If there is no such checkpoint, or a setting is not valid.
    """
    settings = load_settings("nano", overrides)
    place = find_checkpoint(checkpoint, Path("runs"))

    def measure(task: str, set_name: str, folder: Path, output: Path) -> Evaluation:
        request = EvaluationRequest(
            checkpoint=place,
            name=checkpoint,
            sets=(_set(task, set_name, folder, judging),),
            settings=settings.evaluate,
            training=tuple(training),
            leak_cache=Path("runs") / LEAK_CACHE,
            seed=settings.seed,
        )
        found = evaluate_into(request, output).evaluation
        if found is None:
            raise ElysiumError(f"items of {task} on {set_name} are missing in {output}")
        return found

    return measure


def _set(task: str, set_name: str, folder: Path, judging: Judging | None) -> SetRequest:
    name, split = (set_name, None) if task != _EXPRESSIONS else set_name.rsplit("-", 1)
    if task == _QUESTIONS:
        split = _part(folder)
    chosen = {"task": task, "data": folder, "name": name, "split": split}
    return SetRequest.model_validate(chosen | ({"judging": judging} if task == _QUESTIONS else {}))


def _part(folder: Path) -> str:
    """Returns the part of a question set that is there: the test part, or the validation part where it is alone."""
    names = [path.name.casefold() for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_file()]
    return "val" if any("val" in name for name in names) and not any("test" in name for name in names) else "test"
