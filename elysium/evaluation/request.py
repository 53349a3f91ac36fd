"""What is to be measured, as plain data that processes can hand to each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from elysium.config import EvaluateSettings
from elysium.evaluation.held_out import TASKS, held_out_works
from elysium.evaluation.work import Work
from elysium.inference import Engine


class SetRequest(BaseModel):
    """Tasks on one set.

    Attributes:
        data: Folder of the set.
        tasks: Of a snapshot's records: task and kind of clips, e.g. `sot-real`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: Path
    tasks: tuple[str, ...] = TASKS


class EvaluationRequest(BaseModel):
    """A checkpoint, and what it is measured on.

    Attributes:
        checkpoint: Its folder.
        sets: At least one.
        settings: How it is measured.
        seed: Of the bootstrap.
        threads: Of the CPU, for one process; None leaves torch's own choice.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint: Path
    sets: tuple[SetRequest, ...]
    settings: EvaluateSettings
    seed: int = 0
    threads: int | None = None

    def works(self) -> list[Work]:
        """Returns every task, its data looked over and none of it asked about.

        Raises:
            ElysiumError: If a set is missing or damaged.
        """
        return [work for part in self.sets for work in _works(part, self.settings)]

    def engine(self) -> Engine:
        """Loads the model."""
        from elysium.inference.checkpoints import EngineOptions, open_engine

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


def _works(part: SetRequest, settings: EvaluateSettings) -> Sequence[Work]:
    return held_out_works(part.data, settings, part.tasks, settings.baselines)
