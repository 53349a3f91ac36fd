"""What a run was asked to do, wherever its artifacts lie: the part that all kinds of workspaces have in common."""

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from elysium.config import Settings, apply_overrides, load_settings, parse_settings
from elysium.errors import ElysiumError, UsageError

if TYPE_CHECKING:
    from elysium.pipeline.steps import Step
    from elysium.pipeline.workspace import Manifest


class RunInfo(BaseModel):
    """`run.json`: what the run was asked to do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str
    created: str
    preset: str
    overrides: list[str]
    settings: dict[str, Any]


class Run(ABC):
    """A run's workspace as runners see it: its settings, what its steps have published, and their small files."""

    @property
    @abstractmethod
    def uri(self) -> str:
        """What `--workspace` takes: a path or `s3://bucket/prefix/run`."""

    @property
    @abstractmethod
    def run_id(self) -> str:
        """Names the run: the last part of its address."""

    @abstractmethod
    def manifest(self, step: Step) -> Manifest | None:
        """Returns what the step published, or None; a damaged manifest counts as nothing published."""

    @abstractmethod
    def location(self, step: Step) -> str:
        """Returns the path or URI of the step's artifact."""

    @abstractmethod
    def read(self, step: Step, name: str) -> bytes | None:
        """Returns a small file of what the step published, None if it is not there.

        Args:
            step: That published.
            name: Path below its folder.
        """

    @abstractmethod
    def log_path(self, step: str) -> Path:
        """Returns where a runner on this machine keeps what a step printed."""

    def create(self, preset: str, overrides: list[str]) -> Settings:
        """Writes `run.json` for a new run and returns its settings.

        Raises:
            UsageError: If preset or overrides are not valid; nothing is written then.
        """
        return self._begin(preset, overrides, load_settings(preset, overrides))

    def info(self) -> RunInfo | None:
        """Returns the content of `run.json`, or None where no run has begun.

        Raises:
            ElysiumError: If the file is not readable as such.
        """
        content = self._read_run()
        if content is None:
            return None
        try:
            return RunInfo.model_validate_json(content)
        except ValidationError as error:
            raise ElysiumError(
                f"{self.uri}/run.json is damaged; delete it and name the preset and settings again"
            ) from error

    def settings(self, preset: str | None = None, overrides: tuple[str, ...] = (), *, keep: bool = False) -> Settings:
        """Returns the run's settings, those of a new run where none has begun.

        Args:
            preset: For a new run; on an existing one it must be the run's own.
            overrides: Applied over the run's own settings.
            keep: Writes the overrides into the run, so that later steps see them too.
        """
        info = self.info()
        if info is None:
            return self.create(preset or "nano", list(overrides))
        if preset is not None and preset != info.preset:
            raise UsageError(
                f"the run in {self.uri} was begun with the preset {info.preset!r}, got {preset!r}; "
                "use another workspace, or --set for single settings"
            )
        settings = parse_settings(info.settings)
        if not overrides:
            return settings
        settings = parse_settings(apply_overrides(settings.model_dump(mode="json"), overrides))
        if keep:
            self._begin(info.preset, [*info.overrides, *overrides], settings, created=info.created)
        return settings

    @abstractmethod
    def _read_run(self) -> bytes | None:
        """Returns the bytes of `run.json`, None if there is none."""

    @abstractmethod
    def _write_run(self, content: str) -> None:
        """Writes `run.json`, so that readers see either the old content or all of the new."""

    def _begin(self, preset: str, overrides: list[str], settings: Settings, created: str | None = None) -> Settings:
        info = RunInfo(
            run_id=self.run_id,
            created=created or now(),
            preset=preset,
            overrides=overrides,
            settings=settings.model_dump(mode="json"),
        )
        self._write_run(info.model_dump_json(indent=1))
        return settings


def now() -> str:
    """Returns the current time, UTC, ISO 8601, to the millisecond: finer than two attempts at a step can follow."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
