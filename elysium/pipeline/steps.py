"""The step table (DESIGN §2): the one list of steps that every runner, manifest and page is made from.

Adding a step means adding one `Step` here and one function that fills its output folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from elysium.config import PHASES, Settings
from elysium.errors import UsageError

if TYPE_CHECKING:
    from elysium.pipeline.meeting import Meeting

Device = Literal["cpu", "gpu"]
Role = Literal["orchestrator", "trainer", "curator"]
ArtifactType = Literal["Dataset", "Model", "Metrics", "HTML", "Artifact"]


@dataclass(frozen=True)
class Artifact:
    """A folder of the workspace that one step writes and later ones read.

    Attributes:
        name: Identifier, also of the Kubeflow artifact.
        folder: Relative to the workspace.
        type: What kind of thing it is, in Kubeflow's words.
        html: The page inside that a person would open, if there is one.
    """

    name: str
    folder: str
    type: ArtifactType
    html: str | None = None


@dataclass(frozen=True)
class Resources:
    """What a step asks of the machine it runs on, at cluster size.

    Attributes:
        cpu: Cores.
        memory_gib: Memory in GiB.
        gpu: Number of GPUs, 0 for none.
        seconds: Longest time the step may take before it is stopped.
        retries: How often a failure that a retry can mend is tried again; a refused gate never is.
        grace_seconds: Time between SIGTERM and SIGKILL in which the step saves what it has.
        keep_seconds: How long a finished Job and its pods' lines stay.
    """

    cpu: float = 2
    memory_gib: float = 4
    gpu: int = 0
    seconds: int = 3600
    retries: int = 1
    grace_seconds: int = 60
    keep_seconds: int = 7 * 24 * 3600


@dataclass(frozen=True)
class StepContext:
    """All that a step may know: no runner, no other step.

    Attributes:
        step: The step's name.
        settings: The whole tree; a step reads the sections named in its table entry.
        inputs: Artifact name to published folder, read-only by agreement.
        output: The folder to fill. It survives a kill, so a step that can resume finds its own files here again;
            it is emptied whenever settings or inputs changed.
        home: The folder that outlives runs: local MLflow store, DVC remote.
        run_id: Names the run in registries and records.
        meeting: With other nodes that do the step too; None where this is the only one.
    """

    step: str
    settings: Settings
    inputs: Mapping[str, Path]
    output: Path
    home: Path
    run_id: str
    meeting: Meeting | None = None


@dataclass(frozen=True)
class StepResult:
    """What a finished step says of itself: one line for people, figures for machines."""

    summary: str
    metrics: dict[str, float | int | str | bool | None] = field(default_factory=dict)


StepFunction = Callable[[StepContext], StepResult]
ShareFunction = Callable[[StepContext, int, int], StepResult]


@dataclass(frozen=True)
class Step:
    """One row of the table.

    Attributes:
        name: What people type.
        summary: One line of help.
        function: `module:function`, imported only when the step runs.
        inputs: Names of the artifacts read.
        output: The artifact written.
        sections: The parts of the settings that change the step's result, dotted.
        device: Where it runs best.
        role: Which container image carries its needs.
        resources: What it asks of the machine.
        multi_node: Whether it can spread over several nodes, whose pods work together (`--nodes`).
        outside: Module that knows what the step reads beside its inputs, given the settings and its name: `digests`
            returns the digest of each by name, `check` raises UsageError if one is missing. None reads nothing.
        gate: Whether it judges what it reads and may refuse it; then nothing builds on it, and a retry mends nothing.
        share: `module:function` that does one of several shares of the work, given the context, which and how many;
            None where the work cannot be divided. Its module also says by `is_of_share` which files are whose.
        goes_on_from: Folders of the output that a later attempt goes on from, such as checkpoints: nobody else reads
            them, so they are not published, and they stay until all else is.
    """

    name: str
    summary: str
    function: str
    inputs: tuple[str, ...]
    output: Artifact
    sections: tuple[str, ...]
    device: Device = "cpu"
    role: Role = "curator"
    resources: Resources = Resources()
    multi_node: bool = False
    outside: str | None = None
    gate: bool = False
    share: str | None = None
    goes_on_from: tuple[str, ...] = ()

    def load(self) -> StepFunction:
        """Imports and returns the step's function."""
        function: StepFunction = _imported(self.function)
        return function

    def load_share(self) -> ShareFunction:
        """Imports and returns the function that does a share of the step's work.

        Raises:
            UsageError: If there is none.
        """
        if self.share is None:
            divided = ", ".join(row.name for row in STEPS if row.share)
            raise UsageError(f"the work of step {self.name} cannot be divided; that of {divided} can")
        function: ShareFunction = _imported(self.share)
        return function

    def concerns(self, name: str, index: int, count: int) -> bool:
        """Returns whether a file of the step's output concerns one share of its work."""
        module = str(self.share).partition(":")[0]
        return bool(_imported(f"{module}:is_of_share")(name, index, count))

    def outside_digests(self, settings: Settings) -> dict[str, str]:
        """Returns the digest of each thing that the step reads beside its inputs, by name."""
        found: dict[str, str] = _imported(f"{self.outside}:digests")(settings, self.name) if self.outside else {}
        return found

    def check(self, settings: Settings) -> None:
        """Raises UsageError if something that the step reads beside its inputs is missing."""
        if self.outside:
            _imported(f"{self.outside}:check")(settings, self.name)


def _imported(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


_OUTSIDE = "elysium.training.outside"
_CHECKPOINTS = ("trainer", "trainer-tail")
_TRAINER = Resources(cpu=8, memory_gib=64, gpu=1, seconds=24 * 3600, retries=3, grace_seconds=300)

STEPS: tuple[Step, ...] = (
    Step(
        name="ingest",
        summary="Takes captioned clips in from a folder, a list, S3 or the built-in samples.",
        function="elysium.data.ingest:run",
        inputs=(),
        output=Artifact("raw", "raw", "Dataset"),
        sections=("ingest",),
        resources=Resources(retries=3),
    ),
    Step(
        name="validate-raw",
        summary="Checks the clips: decodable, long enough, captioned, no duplicates.",
        function="elysium.quality.raw:run",
        inputs=("raw",),
        output=Artifact("raw_report", "raw_report", "HTML", html="index.html"),
        sections=("validate_raw",),
        gate=True,
    ),
    Step(
        name="curate",
        summary="Turns captions and clips into expression-track pairs, and says why the others were dropped.",
        function="elysium.curation.step:run",
        inputs=("raw", "raw_report"),
        output=Artifact("tracks", "tracks", "Dataset"),
        sections=("curate", "seed"),
        device="gpu",
        resources=Resources(cpu=8, memory_gib=32, gpu=1, seconds=24 * 3600, retries=3, grace_seconds=120),
        share="elysium.curation.step:run_share",
    ),
    Step(
        name="validate-tracks",
        summary="Checks the records: schema, boxes, expressions, reject reasons, no leak into training.",
        function="elysium.quality.tracks:run",
        inputs=("raw", "tracks"),
        output=Artifact("tracks_report", "tracks_report", "HTML", html="index.html"),
        sections=("validate_tracks",),
        gate=True,
    ),
    Step(
        name="snapshot",
        summary="Gives the tracks a version, pushes them to the DVC remote and writes down where they came from.",
        function="elysium.data.snapshot:run",
        inputs=("raw", "tracks", "raw_report", "tracks_report"),
        output=Artifact("snapshot", "snapshot", "Dataset"),
        sections=("snapshot",),
        resources=Resources(retries=3),
    ),
    Step(
        name="warmup",
        summary="Stage 1: trains selector and projector on single frames, the rest frozen.",
        function="elysium.training.step:warmup",
        inputs=("snapshot",),
        output=Artifact("warmup", "checkpoints/warmup", "Model"),
        sections=("model", "training.warmup", "training.threads", "seed"),
        device="gpu",
        role="trainer",
        resources=_TRAINER,
        multi_node=True,
        outside=_OUTSIDE,
        goes_on_from=_CHECKPOINTS,
    ),
    Step(
        name="pretrain",
        summary="Stage 1: trains everything on single frames.",
        function="elysium.training.step:pretrain",
        inputs=("snapshot", "warmup"),
        output=Artifact("pretrain", "checkpoints/pretrain", "Model"),
        sections=("training.pretrain", "training.threads", "seed"),
        device="gpu",
        role="trainer",
        resources=_TRAINER,
        multi_node=True,
        outside=_OUTSIDE,
        goes_on_from=_CHECKPOINTS,
    ),
    Step(
        name="finetune",
        summary="Stage 2: trains everything on clips of tracked objects.",
        function="elysium.training.step:finetune",
        inputs=("snapshot", "pretrain"),
        output=Artifact("finetune", "checkpoints/finetune", "Model"),
        sections=("training.finetune", "training.threads", "seed"),
        device="gpu",
        role="trainer",
        resources=_TRAINER,
        multi_node=True,
        outside=_OUTSIDE,
        goes_on_from=_CHECKPOINTS,
    ),
    Step(
        name="evaluate",
        summary="Measures the new model, the current champion and the baselines on held-out clips.",
        function="elysium.evaluation.step:run",
        inputs=("snapshot", "finetune"),
        output=Artifact("evaluation", "evaluation", "Metrics", html="report.html"),
        sections=("evaluate", "registry", "seed"),
        device="gpu",
        role="trainer",
        resources=Resources(cpu=8, memory_gib=32, gpu=1, seconds=12 * 3600),
        gate=True,
    ),
    Step(
        name="promote",
        summary="Registers the model and makes it champion if the policy allows, else says why not.",
        function="elysium.registry.promotion:run",
        inputs=("evaluation", "finetune", "snapshot", "tracks_report"),
        output=Artifact("promotion", "promotion", "Metrics"),
        sections=("promote", "registry", "evaluate.bootstrap_samples", "seed"),
        role="trainer",
        resources=Resources(retries=3),
    ),
)


def step(name: str) -> Step:
    """Returns the row called `name`.

    Raises:
        UsageError: If there is none; the message lists the names.
    """
    for row in STEPS:
        if row.name == name:
            return row
    raise UsageError(f"there is no step {name!r}; the steps are {', '.join(row.name for row in STEPS)}")


def producer(artifact: str) -> Step:
    """Returns the step that writes `artifact`."""
    for row in STEPS:
        if row.output.name == artifact:
            return row
    raise KeyError(artifact)


def dependencies(row: Step) -> tuple[str, ...]:
    """Returns the names of the steps that must have finished before `row` can run, in table order."""
    needed = {producer(name).name for name in row.inputs}
    return tuple(other.name for other in STEPS if other.name in needed)


def gates_before(row: Step) -> tuple[str, ...]:
    """Returns the names of the gates that `row` builds on, directly or through other steps, in table order.

    Example:
        >>> gates_before(step("warmup"))
        ('validate-raw', 'validate-tracks')
    """
    built_on: set[str] = set()
    waiting = list(dependencies(row))
    while waiting:
        name = waiting.pop()
        if name not in built_on:
            built_on.add(name)
            waiting += dependencies(step(name))
    return tuple(other.name for other in STEPS if other.gate and other.name in built_on)


def section_values(settings: Settings, sections: tuple[str, ...], nodes: int = 1) -> dict[str, Any]:
    """Returns the named parts of the settings as plain data, keyed by their dotted names.

    A phase holds the number of processes, over all nodes, too where that is set and decides how many samples a step
    learns from. What an evaluation finds does not depend on how many processes share it, nor on where.
    """
    tree = settings.model_dump(mode="json")
    for name in ("processes", "device"):
        del tree["evaluate"][name]
    training = tree["training"]
    for phase in (training[name] for name in PHASES):
        if training["processes"] != "auto" and phase["global_batch_size"] is None:
            phase["processes"] = training["processes"] * nodes
    values: dict[str, Any] = {}
    for section in sections:
        value: Any = tree
        for part in section.split("."):
            value = value[part]
        values[section] = value
    return values
