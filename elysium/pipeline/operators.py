"""The Airflow operators: a step or another `elysium` command, as a process here or as Jobs on a cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from elysium.errors import ElysiumError, GateRefused, UsageError
from elysium.pipeline.dag_runs import RunPlace, place_of
from elysium.pipeline.runner import failure_lines, run_process, step_command
from elysium.pipeline.seconds import seconds_of
from elysium.pipeline.steps import Resources, Role, step
from elysium.pipeline.workspace import open_workspace

if TYPE_CHECKING:
    from elysium.pipeline.jobs import Cluster, JobEnd, JobPlace
    from elysium.pipeline.manifest import Manifest

# Lines with this mark are for the person at the terminal; `run_dag` picks them out of Airflow's own.
MARK = "[elysium] "
CLUSTER = "kubernetes_default"
# What no second attempt can mend; a refusal is no failure at all.
_FINAL = (UsageError.exit_code,)
_SHOWN = 20


class CommandOperator(BaseOperator):
    """Runs an `elysium` command that is no step; the DAG run's params say for which run, and where.

    The command ends by printing one JSON object (`--json`), which is the task's result.

    Args:
        command: Arguments of `elysium`; `{workspace}` stands for the run's.
        role: Which image carries its needs.
        needs: What it asks of a cluster.
        deferrable: Whether the task leaves its worker while a Job runs.
        connection: Airflow's connection to the cluster.
        **kwargs: Of every operator.
    """

    template_fields = ("command",)

    def __init__(
        self,
        *,
        command: Sequence[str] = (),
        role: Role = "trainer",
        needs: Resources | None = None,
        deferrable: bool = True,
        connection: str = CLUSTER,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.command, self.role, self.needs = list(command), role, needs or Resources()
        self.deferrable, self.connection = deferrable, connection
        self._process: subprocess.Popen[str] | None = None
        self._jobs: tuple[Cluster, JobPlace] | None = None

    def execute(self, context: Any) -> dict[str, Any]:
        """Runs the command and returns what it says of its result.

        Raises:
            AirflowSkipException: If a gate said no.
            AirflowFailException: If another attempt cannot help.
            AirflowException: If it may.
        """
        place = place_of(context)
        return self._on_kubernetes(place) if place.runner == "kubernetes" else self._here(place)

    def resume(self, context: Any, event: dict[str, Any], phase: int = 0) -> dict[str, Any]:
        """Goes on when the Jobs of a phase have ended; see `execute`."""
        from elysium.pipeline.jobs import JobEnd

        place = place_of(context)
        end = JobEnd(**{**event, "tail": tuple(event["tail"])})
        phases = len(self._phases(place))
        result = self._result(place, end, last=phase + 1 >= phases)
        return result if phase + 1 >= phases else self._on_kubernetes(place, phase + 1)

    def on_kill(self) -> None:
        """Stops the work when its task is stopped: a process saves what it has, Jobs are removed."""
        if self._process is not None:
            self._process.terminate()
        if self._jobs is not None:
            cluster, jobs = self._jobs
            cluster.delete(jobs)

    def _here(self, place: RunPlace) -> dict[str, Any]:
        command = [sys.executable, "-m", "elysium.cli", *self._arguments(place.workspace)]
        log = open_workspace(place.workspace).log_path(self.task_id)
        code, tail = run_process(command, log, say=self.log.info, started=self._keep)
        return self._judged(code, tail)

    def _judged(self, code: int, tail: Sequence[str]) -> dict[str, Any]:
        said, rest = _said(tail)
        summary = str(said.get("summary") or (rest[-1] if rest else "it printed nothing"))
        if code == GateRefused.exit_code:
            raise AirflowSkipException(f"{self.task_id} refused: {summary}")
        if code:
            failure = AirflowFailException if code in _FINAL else AirflowException
            raise failure(f"{self.task_id} failed with exit code {code}: {summary}")
        if not said:
            raise AirflowException(
                f"{self.task_id} ended well without its result, the JSON object of --json: {summary}"
            )
        return said

    def _keep(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def _arguments(self, workspace: str) -> list[str]:
        return [part.replace("{workspace}", workspace) for part in self.command if part]

    def _phases(self, place: RunPlace) -> list[list[dict[str, Any]]]:
        """Returns the manifests of the Jobs that run one after the other."""
        from elysium.pipeline.kubernetes import Work, render_work

        command = ("elysium", *self._arguments(place.workspace))
        return [render_work(Work(self.task_id, self.role, self.needs, command), place.job_request())]

    def _on_kubernetes(self, place: RunPlace, phase: int = 0) -> dict[str, Any]:
        from elysium.pipeline.job_watch import run_job
        from elysium.pipeline.jobs import JobPlace, Unreachable
        from elysium.pipeline.trigger import JobTrigger, cluster_of

        try:
            # Before any Job is made: what is wrong here must leave none behind.
            patience = seconds_of("ELYSIUM_START_PATIENCE", 180, zero=True)
            cluster = cluster_of(self.connection, self.log.info, seconds_of("ELYSIUM_LOOK_SECONDS", 5))
            phases = self._phases(place)
            while True:
                self._jobs = cluster, JobPlace.of(phases[phase])
                if self.deferrable:
                    jobs = cluster.submit(phases[phase])
                    break
                end = run_job(cluster, phases[phase], patience=patience)
                phase += 1
                result = self._result(place, end, last=phase >= len(phases))
                if phase >= len(phases):
                    return result
        except Unreachable as error:
            raise AirflowException(f"{self.task_id}: {error}") from None
        except ElysiumError as error:
            raise AirflowFailException(f"{self.task_id}: {error}") from None
        trigger = JobTrigger(
            jobs.namespace, list(jobs.jobs), list(jobs.services), self.connection, cluster.seconds, patience
        )
        self.defer(trigger=trigger, method_name="resume", kwargs={"phase": phase})
        raise AssertionError("defer raises")

    def _result(self, place: RunPlace, end: JobEnd, *, last: bool) -> dict[str, Any]:
        """Returns what the work says of its result, or raises why there is none.

        Args:
            place: The run.
            end: Of the Jobs of one phase.
            last: Whether the work is done with it; a phase before publishes nothing.
        """
        said, rest = _said(end.tail)
        if end.complete:
            result = self._checked(place, said) if last else {"summary": end.reason}
            self.log.info("%s", result.get("summary") or end.reason)
            return result
        if end.exit_code == GateRefused.exit_code:
            raise AirflowSkipException(f"{self.task_id} refused: {said.get('summary') or end.reason}")
        if rest:
            self.log.error("the last lines of %s:", self.task_id)
        for line in rest[-_SHOWN:]:
            self.log.error("    %s", line)
        # A Job has had its retries by the template; a second one would only have them again.
        raise (AirflowException if end.again else AirflowFailException)(f"{self.task_id} failed: {end.reason}")

    def _checked(self, place: RunPlace, said: dict[str, Any]) -> dict[str, Any]:
        """Returns the result of work whose Jobs are complete; tasks that build on it must not find it empty.

        Args:
            place: The run.
            said: What the work printed of its result; empty where its last lines could not be read.
        """
        if not said:
            raise AirflowException(
                f"the Job of {self.task_id} is complete, but its result, its last line, is not known"
            )
        return said


class StepOperator(CommandOperator):
    """Runs one step of the table, or one of the parts that it can be done in.

    Args:
        step: Name of the step.
        shard: `I/N`: only that part, which publishes nothing.
        divided: Whether the parts that the job profile asks for are done first, by Jobs side by side.
        **kwargs: Of `CommandOperator`.
    """

    template_fields = ("shard",)

    def __init__(self, *, step: str, shard: str | None = None, divided: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step, self.shard, self.divided = step, shard, divided

    def _here(self, place: RunPlace) -> dict[str, Any]:
        row, home = step(self.step), open_workspace(place.workspace)
        settings = [part for override in place.overrides for part in ("--set", override)]
        command = [*step_command(row, home), "--preset", place.preset, *settings]
        name = row.name
        if self.shard is not None:
            name = f"{row.name}-{self.shard.replace('/', '-of-')}"
            command += ["--shard", self.shard]
        print(f"{MARK}{name:<16} …", flush=True)
        code, tail = run_process(command, home.log_path(name), say=self.log.info, started=self._keep)
        if code == 0 and self.shard is not None:
            return {"summary": tail[-1] if tail else name}
        manifest = home.manifest(row)
        if code == 0 and manifest is not None:
            print(
                f"{MARK}        {manifest.seconds:6.1f} s  {manifest.peak_mib:6.0f} MiB  {manifest.summary}", flush=True
            )
            return _shown(manifest)
        for line in failure_lines(home, row, code, tail):
            print(f"{MARK}{line}", flush=True)
        if code == GateRefused.exit_code and manifest is not None:
            raise AirflowSkipException(f"{row.name} refused: {manifest.summary}")
        return self._judged(code or 1, tail)

    def _checked(self, place: RunPlace, said: dict[str, Any]) -> dict[str, Any]:
        """Returns the step's result; where the workspace can be seen from here, its manifest decides."""
        if self.shard is not None:
            return said or {"summary": f"part {self.shard} of {self.step} is done"}
        if not place.workspace.startswith("s3://") and not Path(place.workspace).is_dir():
            return super()._checked(place, said)
        manifest = open_workspace(place.workspace).manifest(step(self.step))
        if manifest is None or manifest.status != "done" or (said and manifest.digest != said.get("digest")):
            raise AirflowException(f"the Job of {self.step} is complete, but its manifest is not in {place.workspace}")
        return said or _shown(manifest)

    def _phases(self, place: RunPlace) -> list[list[dict[str, Any]]]:
        from dataclasses import replace

        from elysium.pipeline.kubernetes import Work, render_part, render_work

        row, request = step(self.step), place.job_request()
        if self.shard is not None:
            index, count = (int(number) for number in self.shard.split("/"))
            return [[render_part(Work.parts_of(row, request, count), request, index)]]
        whole = Work.of(row, request)
        phases = [render_work(replace(whole, command=(*whole.command, "--json")), request)]
        if self.divided and row.share and request.profile.shards > 1:
            phases.insert(0, render_work(Work.parts_of(row, request), request))
        return phases


def _shown(manifest: Manifest) -> dict[str, Any]:
    """Returns what tasks hand on of a finished step."""
    return manifest.model_dump(mode="json", include={"summary", "digest", "metrics"})


def _said(tail: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Returns the JSON object that a command ended with, empty where it did not, and its other lines."""
    lines = [line for line in tail if line.strip()]
    # Standard output and error come by two ways, so it need not be the very last.
    for number, line in reversed(list(enumerate(lines))):
        if line.startswith("{"):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            # An XCom is no place for megabytes.
            said = {key: value for key, value in found.items() if key not in ("files", "folder")}
            return said, lines[:number] + lines[number + 1 :]
    return {}, lines
