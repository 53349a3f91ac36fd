"""What a curation asks for before it starts: hours, GPUs, cores, network, disk and money, from a basis of figures."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from elysium.config import Settings
from elysium.curation.basis import LIST_SECONDS, PUBLISH_SECONDS, Basis
from elysium.errors import UsageError
from elysium.pipeline.profile import JobProfile
from elysium.pipeline.steps import step


@dataclass(frozen=True)
class CurationPlan:
    """What a curation asks for.

    Attributes:
        videos: Of the source; all are taken to be fetched and decoded.
        pairs: Kept ones.
        hours_of_video: Of all videos.
        gpus: That are held.
        engine: `local`, a process a pod, or `ray`.
        pods: That have something to do, a process each; with Ray its nodes with a GPU.
        shards: Of the source.
        shards_per_pod: At most.
        cores: Of each pod.
        cores_to_keep_up: That each pod needs for its models never to wait, if they can all be used.
        bound_by: What the time is decided by.
        seconds_per_video: That a pod is held for a video.
        gpu_seconds: Of the models.
        hours: From start to end, listing and publishing included.
        busy: Share of the GPUs' time in which the models are at work, in [0, 1].
        bytes_fetched: From the source.
        gigabits_per_second: While it runs.
        bytes_stored: On the workspace.
        deadline_hours: After which the step's Job is stopped; it goes on when it is started again.
        gpus_per_pod: Of each pod.
        price: A GPU-hour.
        basis: What all this rests on.
    """

    videos: int
    pairs: int
    hours_of_video: float
    gpus: int
    engine: str
    pods: int
    shards: int
    shards_per_pod: int
    cores: float
    cores_to_keep_up: int
    bound_by: Literal["models", "decoding"]
    seconds_per_video: float
    gpu_seconds: float
    hours: float
    busy: float
    bytes_fetched: float
    gigabits_per_second: float
    bytes_stored: float
    deadline_hours: float
    gpus_per_pod: int
    price: float | None
    basis: Basis

    @property
    def gpu_hours(self) -> float:
        """That are paid for, whether the models are at work or not."""
        return self.hours * self.gpus

    @property
    def cost(self) -> float | None:
        """Of the GPUs, where a GPU-hour has a price."""
        return None if self.price is None else self.gpu_hours * self.price

    @property
    def idle_pods(self) -> int:
        """That have no shard, and yet a GPU."""
        return self.gpus // self.gpus_per_pod - self.pods

    @property
    def starts(self) -> int:
        """How often the Job is started until all is done, if its deadline stays as it is."""
        return math.ceil(self.hours / self.deadline_hours)

    def as_json(self) -> dict[str, Any]:
        """Returns plain data, each figure with its source."""
        known = asdict(self)
        figures = known.pop("basis")
        return {**known, "gpu_hours": self.gpu_hours, "cost": self.cost, "starts": self.starts, "figures": figures}


def plan_curation(
    settings: Settings,
    basis: Basis,
    *,
    gpus: int = 1,
    videos: int | None = None,
    pairs: int | None = None,
    cores: float | None = None,
    price: float | None = None,
    profile: JobProfile | None = None,
) -> CurationPlan:
    """Returns what curating so many videos, or until so many pairs are kept, asks for.

    A process of the local engine decodes on one core while its models are at work, and stores what they kept in
    between; Ray's workers decode on all cores. Each pod has the GPUs that the step `curate` asks for.

    Args:
        settings: Engine, shards, and how frames are stored.
        basis: The figures.
        gpus: Devices that share the work.
        videos: Of the source.
        pairs: Wanted; of both, the yield must have been made of.
        cores: Of each pod; what the step asks for by default.
        price: A GPU-hour, in any currency.
        profile: What the step asks for on this cluster; None is the step table.

    Raises:
        UsageError: If neither videos nor pairs are given, no video keeps a pair, or a pod would lack GPUs.
    """
    per_video = basis.pairs_per_video.value
    if videos is None:
        if pairs is None:
            raise UsageError("say how much is wanted: --videos N or --pairs N")
        if not per_video:
            raise UsageError(
                f"no pair was kept ({basis.pairs_per_video.source}), so no number of videos gives {pairs:,}; try more "
                "videos, or give --videos with --pairs"
            )
        videos = max(1, math.ceil(round(pairs / per_video, 6)))
    elif pairs is None:
        pairs = round(videos * per_video)
    resources = (profile or JobProfile()).resources_of("curate", step("curate").resources)
    if not resources.gpu or gpus % resources.gpu:
        raise UsageError(f"--gpus {gpus}: a pod of curate has {resources.gpu}; give a multiple, or another profile")
    cores = resources.cpu if cores is None else cores
    is_local = settings.engine.name == "local"
    models = basis.gpu_seconds_per_video() / resources.gpu
    decoding = basis.decoding.value * basis.seconds_per_video.value
    storing = basis.storing.value * per_video
    # In a process of its own decoding has a core; storing has to wait for the models, and they for it.
    by_models = models + storing if is_local else models
    by_cores = decoding if is_local else (decoding + storing) / cores
    held = max(by_models, by_cores)
    shards = math.ceil(videos / settings.curate.shard_videos)
    pods = min(gpus // resources.gpu, shards) if is_local else gpus // resources.gpu
    share = math.ceil(shards / pods)
    at_most = min(videos, share * settings.curate.shard_videos) if is_local else videos / pods
    once = videos * LIST_SECONDS + pairs * PUBLISH_SECONDS
    seconds = held * at_most + once
    fetched = videos * basis.seconds_per_video.value * basis.bit_rate.value * 1e6 / 8
    return CurationPlan(
        videos=videos,
        pairs=pairs,
        hours_of_video=videos * basis.seconds_per_video.value / 3600,
        gpus=gpus,
        engine=settings.engine.name,
        pods=pods,
        shards=shards,
        shards_per_pod=share,
        cores=cores,
        cores_to_keep_up=math.ceil((decoding + storing) / models) if models else 0,
        bound_by="models" if by_models >= by_cores else "decoding",
        seconds_per_video=held,
        gpu_seconds=videos * models * resources.gpu,
        hours=seconds / 3600,
        busy=videos * models * resources.gpu / (seconds * gpus),
        bytes_fetched=fetched,
        gigabits_per_second=fetched * 8 / 1e9 / seconds,
        bytes_stored=pairs * basis.size.value * 1000,
        deadline_hours=resources.seconds / 3600,
        gpus_per_pod=resources.gpu,
        price=price,
        basis=basis,
    )


def format_plan(plan: CurationPlan) -> str:
    """Returns a plan as text, with the figures that it rests on."""
    rate = "one core decodes" if plan.engine == "local" else f"{plan.cores:g} cores decode"
    enough = f"{plan.cores_to_keep_up} keep its models at work if all of them decode, as Ray's do"
    lines = [
        f"curation of {plan.videos:,} videos ({plan.hours_of_video:,.0f} hours) into {plan.pairs:,} pairs on "
        f"{plan.gpus} {'GPU' if plan.gpus == 1 else 'GPUs'}, engine {plan.engine}",
        f"  time         {plan.hours:,.1f} hours, bound by {plan.bound_by}: {plan.seconds_per_video:.2f} s a video in "
        f"each pod, where {rate}",
        f"  GPUs         {plan.gpu_hours:,.0f} GPU-hours, in {100 * plan.busy:.0f} % of which the models are at work",
        f"  cores        {plan.cores:g} a pod; {enough}",
    ]
    if plan.engine == "local":
        lines.append(
            f"  pods         {plan.pods} (`shards: {plan.pods}` in the job profile), each {plan.shards_per_pod:,} of "
            f"{plan.shards:,} shards at most"
        )
        if plan.idle_pods:
            lines.append(
                f"  idle         {plan.pods} of {plan.pods + plan.idle_pods} pods have shards; take fewer GPUs, or a "
                "smaller curate.shard_videos"
            )
    lines += [
        f"  network      {plan.bytes_fetched / 1e12:,.2f} TB from the source, {plan.gigabits_per_second:.2f} Gbit/s",
        f"  disk         {plan.bytes_stored / 1e9:,.1f} GB for frames and records",
    ]
    if plan.cost is not None:
        lines.append(f"  cost         {plan.cost:,.0f} at {plan.price:g} a GPU-hour")
    if plan.engine == "local" and plan.starts > 1:
        lines.append(
            f"  deadline     {plan.deadline_hours:g} hours for a Job: {plan.starts} starts, each goes on where the "
            "last one was stopped"
        )
    lines.append("rests on")
    for name, figure in vars(plan.basis).items():
        lines.append(f"  {name:<18}{figure.value:>9.4g} {figure.unit:<24} {figure.kind}: {figure.source}")
    return "\n".join(lines)
