"""What is to be measured, as plain data that processes can hand to each other."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveInt

from elysium.config import EvaluateSettings
from elysium.evaluation.tasks.answering import Judging
from elysium.evaluation.tasks.held_out import TASKS
from elysium.inference import Engine

Task = Literal["sot", "rsot", "rec", "video-reg", "vqa"]


class HeldOutRequest(BaseModel):
    """The records that a snapshot holds back.

    Attributes:
        data: Folder with `evaluation.jsonl`.
        tasks: Task and kind of clips, e.g. `sot-real`; those without records are left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: Path
    tasks: tuple[str, ...] = TASKS


class SetRequest(BaseModel):
    """One task on a published set, or on one of the same form.

    Attributes:
        task: What is asked.
        data: Its folder.
        name: What the set is called; None looks which layout the folder has.
        split: Part of it; None takes the one that is published for.
        annotations: Files with expressions, for `rec`.
        media: Folder with pictures or videos, where they lie apart.
        missing: Whether missing videos are refused, or count as failures.
        form: What a box's numbers are in files of expressions; None is as the kind of file has them.
        units: What they count; None takes shares of the picture where no number is above 1, else pixels.
        only: Ids of the items to measure, instead of all.
        limit: Measures the first so many items.
        max_frames: Follows the first so many frames; of descriptions, shows no more.
        judging: How answers are judged, for `vqa`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Task
    data: Path
    name: str | None = None
    split: str | None = None
    annotations: tuple[Path, ...] = ()
    media: Path | None = None
    missing: Literal["refuse", "fail"] = "refuse"
    form: Literal["xyxy", "xywh"] | None = None
    units: Literal["pixels", "normalised", "thousandths"] | None = None
    only: tuple[str, ...] | None = None
    limit: PositiveInt | None = None
    max_frames: PositiveInt | None = None
    judging: Judging | None = None


class EvaluationRequest(BaseModel):
    """A checkpoint, and what it is measured on.

    Attributes:
        checkpoint: Its folder.
        name: What the user called it.
        sets: At least one.
        settings: How it is measured.
        training: Data that the model was trained on: items that are in it stop the evaluation.
        leak_cache: Folder that indexes of training data are kept in.
        seed: Of the bootstrap.
        threads: Of the CPU, for one process; None leaves torch's own choice.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint: Path
    name: str | None = None
    sets: tuple[HeldOutRequest | SetRequest, ...]
    settings: EvaluateSettings
    training: tuple[Path, ...] = ()
    leak_cache: Path | None = None
    seed: int = 0
    threads: int | None = None

    def engine(self) -> Engine:
        """Loads the model."""
        from transformers.utils.logging import disable_progress_bar

        from elysium.inference.checkpoints import EngineOptions, open_engine

        disable_progress_bar()  # of loading weights
        return open_engine(
            EngineOptions(
                # An absolute path is never taken for a name.
                checkpoint=str(self.checkpoint.absolute()),
                device=self.settings.device,
                dtype=self.settings.dtype,
                clip_frames=self.settings.clip_frames,
                batch_size=self.settings.batch_size,
            )
        )
