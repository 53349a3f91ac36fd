"""Settings of what carries curation out; no result depends on them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from elysium.config.section import Section


class EngineSettings(Section):
    """What runs the graph of curation, and on how much of a machine or cluster."""

    name: Literal["local", "ray"] = Field("local", description="this process, or Ray's workers")
    address: str | None = Field(
        None, description="of the Ray cluster, as `ray start` prints it, or `auto`; None starts one on this machine"
    )
    fetch_ahead: int = Field(4, ge=1, description="videos that one process fetches at the same time")
    decode_ahead: int = Field(1, ge=0, description="groups of pieces decoded while the models are at work")
    decode_workers: PositiveInt | None = Field(None, description="Ray: that decode; None is as many as fit")
    model_workers: PositiveInt = Field(1, description="Ray: that ground, and as many that track")
    gpus_per_worker: float = Field(0.0, ge=0, description="Ray: share of a GPU that each of them has for itself")
    scratch: str | None = Field(None, description="folder for videos while they are worked on; None is the machine's")
