"""Recipes of training as data: schedules, phases and what they share (PROTOCOL §4)."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from elysium.config.section import Section

Part = Literal["vision", "selector", "projector", "llm"]
PHASES: tuple[str, ...] = ("warmup", "pretrain", "finetune")
# A mixture's name for the track records of the run itself.
OWN_TRACKS = "tracks"


class Schedule(Section):
    """How long and how fast something is trained."""

    steps: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    batch_size: int = Field(16, ge=1, description="samples that a process takes at once")
    global_batch_size: int | None = Field(
        None,
        ge=1,
        description="samples of a step over all processes: what they do not take at once is accumulated; None is one "
        "batch a process",
    )
    zero_stage: Literal[0, 1, 2, 3] = Field(
        0, description="what DeepSpeed divides among processes: 1 the optimiser's state, 2 gradients too, 3 weights too"
    )
    offload: Literal["none", "optimizer", "all"] = Field(
        "none", description="what is held on the CPU instead of the GPU: the optimiser's state, or the weights too"
    )
    activation_checkpointing: bool = Field(
        False, description="compute layers again in the backward pass, for a third more computing and far less memory"
    )
    loader_workers: int = Field(0, ge=0, description="that make batches in the background, for each process")
    adam_beta2: float = Field(0.999, gt=0, lt=1, description="decay of AdamW's second moment")
    warmup_ratio: float = Field(0.03, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    max_loss_jump: float = Field(
        10.0,
        gt=1,
        description="a loss so many times the median of the last steps (or 0.3, if that is more) stops the phase",
    )
    logging_steps: int = Field(10, ge=1)
    save_steps: int = Field(50, ge=1, description="a resumable checkpoint every so many steps")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="what is computed in; weights stay float32; auto is bfloat16 on a GPU and float32 on a CPU"
    )
    compile: bool = Field(False, description="compile the model first, which takes a while; a CPU needs a C++ compiler")

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        least = {"none": 0, "optimizer": 1, "all": 3}[self.offload]
        if self.zero_stage < least:
            raise ValueError(
                f"offload={self.offload} needs zero_stage {least} or more, got {self.zero_stage}: it is DeepSpeed that "
                "moves what it divides"
            )
        if self.zero_stage and self.compile:
            raise ValueError(f"compile cannot be together with zero_stage={self.zero_stage}; set one of them off")
        return self


class TowerSettings(Schedule):
    """Teaching a vision tower by itself, on frames of simulated clips of its own (docs/training.md)."""

    steps: int = Field(6000, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    batch_size: int = Field(64, ge=1)
    adam_beta2: float = Field(0.98, gt=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    logging_steps: int = Field(100, ge=1)
    save_steps: int = Field(500, ge=1)
    num_clips: int = Field(8000, ge=1)
    num_held_out_clips: int = Field(100, ge=1)
    clip_frames: int = Field(24, ge=2)
    clip_interval: int = Field(3, ge=1, description="every so many frames of a clip are shown")
    coordinate_deviation: float = Field(1.5, gt=0, description="of a box side's target, in hundredths of the frame")


class TailSettings(Section):
    """How a phase ends: more steps, with a schedule of their own. What is not said here is as in the phase."""

    steps: int = Field(ge=1)
    learning_rate: float | None = Field(None, gt=0)
    learning_rates: dict[Part, float] | None = None
    mixture: dict[str, float] | None = None
    sets: dict[str, float] | None = None
    batch_size: int | None = Field(None, ge=1)
    global_batch_size: int | None = Field(None, ge=1)
    clip_frames: tuple[int, int] | None = None
    clip_interval: tuple[int, int] | None = None
    num_visual_tokens: int | None = Field(None, ge=1)


class PhaseSettings(Schedule):
    """One training phase (PROTOCOL §4)."""

    trains: tuple[Part, ...] = ("vision", "selector", "projector", "llm")
    mixture: dict[str, float] = Field(description="weights of the tasks: sot, rsot, rec, reg, video-reg, vqa")
    sets: dict[str, float] = Field(
        {OWN_TRACKS: 1.0},
        description=f"weights of the data sets: `{OWN_TRACKS}` is the run's own, others are imports in sets_folder",
    )
    temperature: float = Field(
        1.0, gt=0, description="a set's share goes with (weight * records) ** (1 / temperature): 1 is as their records"
    )
    clip_frames: tuple[int, int] = Field((2, 8), description="fewest and most frames of a clip, drawn uniformly")
    clip_interval: tuple[int, int] = Field((1, 60), description="smallest and largest interval, drawn uniformly")
    questions: int = Field(1, ge=1, description="asked about each set of frames; they share it, unseen by each other")
    coordinate_smoothing: float = Field(
        0.0, ge=0, description="standard deviation of a coordinate's target, in steps of the box text; 0 is exact"
    )
    history_noise: float = Field(
        0.0,
        ge=0,
        description="how far the boxes of earlier frames, as the model reads them, drift from the truth a frame: "
        "standard deviation in steps of the box text; 0 shows it the truth",
    )
    camera_motion: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of samples that are seen by a camera which moves on, so that objects are cut off, leave and "
        "come back; where an object is gone, the model learns to be sure of no box",
    )
    num_visual_tokens: int | None = Field(None, ge=1, description="kept of each frame; None is the model's own")
    learning_rates: dict[Part, float] = Field({}, description="of parts that do not learn at learning_rate")
    tail: TailSettings | None = Field(
        None, description="more steps at the end, of longer clips, say (paper: 32 frames)"
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        from elysium.prompts import Task

        known = {task.value for task in Task}
        for name, weight in self.mixture.items():
            if name not in known:
                raise ValueError(f"mixture names the task {name!r}; the tasks are {', '.join(sorted(known))}")
            if weight < 0 or not math.isfinite(weight):
                raise ValueError(f"mixture gives {name!r} the weight {weight}; a weight is 0 or more")
        if not sum(self.mixture.values()) > 0:
            raise ValueError("mixture has no task with a weight above 0")
        for name, weight in self.sets.items():
            if weight < 0 or not math.isfinite(weight):
                raise ValueError(f"sets gives {name!r} the weight {weight}; a weight is 0 or more")
            if not name or "/" in name or name.startswith("."):
                raise ValueError(f"sets names {name!r}; a set is a folder's name in sets_folder")
        if not sum(self.sets.values()) > 0:
            raise ValueError("sets has no data set with a weight above 0")
        if not self.trains:
            raise ValueError("trains is empty: name at least one of vision, selector, projector, llm")
        for part, rate in self.learning_rates.items():
            if part not in self.trains:
                raise ValueError(
                    f"learning_rates names {part}, which the phase does not train; trains has {self.trains}"
                )
            if not rate > 0:
                raise ValueError(
                    f"learning_rates gives {part} {rate}; a rate is above 0, and what is not to learn is "
                    "left out of trains"
                )
        if self.camera_motion and not self.coordinate_smoothing:
            raise ValueError(
                f"camera_motion={self.camera_motion} needs coordinate_smoothing above 0: only a loss that knows "
                "numbers can teach that none of them is likely"
            )
        for name in ("clip_frames", "clip_interval"):
            low, high = getattr(self, name)
            if not 1 <= low <= high:
                raise ValueError(f"{name} needs 1 <= fewest <= most, got {[low, high]}")
        if self.tail is not None:
            self.parts()
        return self

    def parts(self) -> tuple[PhaseSettings, ...]:
        """Returns the phase without its tail, and the tail as a phase of its own if there is one."""
        whole = self.model_dump(exclude={"tail"})
        tails = [] if self.tail is None else [{**whole, **self.tail.model_dump(exclude_none=True)}]
        return tuple(PhaseSettings.model_validate(part) for part in [whole, *tails])


class TrainingSettings(Section):
    """The three phases, what may come before them, and what they share."""

    tower: TowerSettings = TowerSettings()
    warmup: PhaseSettings
    pretrain: PhaseSettings
    finetune: PhaseSettings
    threads: int = Field(2, ge=1, description="CPU threads of torch")
    sets_folder: str = Field(
        "sets", description="where imported data sets are: `elysium data import NAME --output SETS_FOLDER/NAME`"
    )
    image_roots: dict[str, str] = Field(
        {}, description="where a set's pictures and videos are, by its name, if not where they were at the import"
    )
    processes: int | Literal["auto"] = Field(
        "auto",
        description="that a step of the pipeline trains with, one a GPU; auto is all GPUs of the machine, or one",
    )

    @field_validator("processes", mode="before")
    @classmethod
    def _number_or_auto(cls, value: Any) -> Any:
        # Before the union is tried: else a wrong value has an error of each member.
        if value != "auto" and (type(value) is not int or value < 1):
            raise ValueError("processes is a whole number from 1 on, or auto")
        return value
