"""Measuring a checkpoint: in this process, or in several that share the items.

Each process writes the results of its own items as they land (`elysium.evaluation.running`). What any of them has
written counts for all, whatever the number of processes, so that every attempt goes on from what is there.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from elysium.errors import ElysiumError
from elysium.evaluation.leaks import Leaks, guard
from elysium.evaluation.leaks.index import TrainingIndex
from elysium.evaluation.opening import open_works
from elysium.evaluation.report import render_evaluations
from elysium.evaluation.report.scenes import draw_scenes
from elysium.evaluation.report.showing import scene_finder
from elysium.evaluation.report.tables import write_tables
from elysium.evaluation.request import EvaluationRequest
from elysium.evaluation.results import (
    METRICS_FILE,
    PREDICTIONS_FILE,
    REPORT_FILE,
    Evaluation,
    ItemResult,
    TaskFigures,
    prediction_lines,
)
from elysium.evaluation.running import Shard, figures_of, measure, num_missing
from elysium.evaluation.tasks.work import Work
from elysium.pipeline.workspace import digest_of, scan, write_atomic

logger = logging.getLogger(__name__)

LEAKS_FILE = "leaks.jsonl"
# Beside the runs: one index serves all evaluations of models that were trained on the same data.
LEAK_CACHE = "leak-index"
_WORKER = "elysium.evaluation.worker"
_SECONDS_BETWEEN_LINES = 10.0


@dataclass(frozen=True)
class Outcome:
    """What became of a measurement.

    Attributes:
        evaluation: The figures; None while items of other shards are missing.
        missing: Task to the number of items that are not measured yet.
    """

    evaluation: Evaluation | None
    missing: dict[str, int]


def evaluate_into(request: EvaluationRequest, output: Path, shard: Shard | None = None) -> Outcome:
    """Measures, and writes figures, predictions, clips, tables and the report once every item is there.

    Args:
        request: What to measure.
        output: For results; a later call with the same request goes on with what is there.
        shard: See `measure_all`.

    Raises:
        ElysiumError: As `measure_all`, or if the folder cannot be written.
    """
    try:
        return _evaluate_into(request, output, shard)
    except OSError as error:
        raise ElysiumError(
            f"{error.filename or output}: {error.strerror or error}; what is measured is kept in {output}, and the "
            "same command goes on"
        ) from error


def _evaluate_into(request: EvaluationRequest, output: Path, shard: Shard | None) -> Outcome:
    parts = output / "parts"
    works = open_works(request)
    leaks = None if shard is not None and shard.index else look_for_leaks(works, request, output)
    measure_all(works, request, parts, shard)
    missing = {work.name: num_missing(work, parts / work.name) for work in works}
    if any(missing.values()):
        return Outcome(None, missing)
    # Whichever share ends last makes the figures.
    leaks = leaks or look_for_leaks(works, request, output)
    found = collect(works, parts, request)
    evaluation = Evaluation(
        tasks={name: entry for name, (entry, _) in found.items()}, checkpoint=request.name, **told(leaks)
    )
    # Figures first: whatever cannot be drawn, they are there.
    evaluation.write(output / METRICS_FILE)
    items = {name: measured for name, (_, measured) in found.items()}
    write_atomic(output / PREDICTIONS_FILE, prediction_lines(items))
    draw_scenes(output / "clips", evaluation.tasks, scene_finder(works, items))
    samples, seed = request.settings.bootstrap_samples, request.seed
    write_tables({request.name or output.name: evaluation}, output, samples=samples, seed=seed)
    page = render_evaluations([output], [request.name or output.name], samples=samples, seed=seed)
    write_atomic(output / REPORT_FILE, page)
    return Outcome(evaluation, missing)


def look_for_leaks(
    works: Sequence[Work],
    request: EvaluationRequest,
    output: Path,
    training: Sequence[TrainingIndex] = (),
) -> Leaks:
    """Looks for the items in the data that the model was trained on, and writes `leaks.jsonl`.

    Args:
        works: The tasks.
        request: Names training data, and says whether leaks are allowed.
        output: For the list.
        training: Indexes of further training data.

    Raises:
        GateRefused: If items are in training.
    """
    clips = {(clip.dataset, clip.id): clip for work in works for clip in work.clips()}
    return guard(
        list(clips.values()),
        [*training, *request.training],
        output / LEAKS_FILE,
        cache=request.leak_cache,
        allow=request.settings.allow_leaks,
    )


def told(leaks: Leaks) -> dict[str, Any]:
    """Returns the fields of `Evaluation` that say what was found."""
    summary = leaks.summary()
    return {"leaks": summary["num_leaked"] if summary["checked"] else None, "leak_check": summary}


def measure_all(
    works: Sequence[Work], request: EvaluationRequest, folder: Path, shard: Shard | None = None, *, check: bool = True
) -> None:
    """Measures what is still missing of every task.

    Args:
        works: The tasks, as `open_works` gives them.
        request: What they were made from.
        folder: For results, a folder a task.
        shard: The share of this process; None is everything, in as many processes as the settings say.
        check: Looks first for what is needed later; not for one of several processes, whose parent has looked.

    Raises:
        ElysiumError: If the data cannot be read, the folder is another measurement's, or the model answers nothing.
    """
    facts = {"checkpoint": checkpoint_digest(request.checkpoint), "dtype": request.settings.dtype}
    processes = 1 if shard is not None else num_processes(request)
    unfinished = [work for work in works if num_missing(work, folder / work.name)]
    for work in unfinished if check else ():
        work.check()
    if processes > 1 and unfinished:
        _in_processes(request, folder, processes)
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    engine = cache(request.engine)
    for work in works:
        # After several processes: nothing is left, or what one of them could not do is told here.
        measure(work, engine, folder / work.name, shard=shard or Shard(), facts=facts, progress=_Progress(work, shard))


def collect(
    works: Sequence[Work], folder: Path, request: EvaluationRequest
) -> dict[str, tuple[TaskFigures, Sequence[ItemResult]]]:
    """Returns each task's figures, and its items in the order of asking.

    Raises:
        ElysiumError: If items are missing.
    """
    samples = request.settings.bootstrap_samples
    return {work.name: figures_of(work, folder / work.name, samples=samples, seed=request.seed) for work in works}


def num_processes(request: EvaluationRequest) -> int:
    """Returns how many processes share the items."""
    if request.settings.processes != "auto":
        return request.settings.processes
    return max(torch.cuda.device_count(), 1) if request.settings.device == "auto" else 1


def _in_processes(request: EvaluationRequest, folder: Path, count: int) -> None:
    """Runs one worker a shard, and returns when all have ended.

    Raises:
        ElysiumError: If one failed: what it printed says why, and what all have measured is kept.
    """
    logger.info("measuring in %d processes", count)
    with tempfile.TemporaryDirectory(prefix="elysium-") as scratch:
        path = Path(scratch) / "request.json"
        path.write_text(request.model_dump_json(), encoding="utf-8")
        workers = []
        try:
            for index in range(count):
                command = [sys.executable, "-m", _WORKER, str(path), str(folder), str(index), str(count)]
                # A worker whose standard input ends knows that this process is gone.
                workers.append(
                    subprocess.Popen(command, stdin=subprocess.PIPE, stdout=2, env=_environment(index, count))
                )
            codes = [worker.wait() for worker in workers]
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
                if worker.stdin is not None:
                    worker.stdin.close()
    failed = [f"{index} (exit code {code})" for index, code in enumerate(codes) if code]
    if failed:
        raise ElysiumError(
            f"{len(failed)} of {count} processes failed: {', '.join(failed)}; what they printed says why, and the same "
            "command goes on from what all have measured"
        )


def _environment(index: int, count: int) -> dict[str, str]:
    found = dict(os.environ)
    gpus = torch.cuda.device_count()
    if gpus:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))
        found["CUDA_VISIBLE_DEVICES"] = seen.split(",")[index % gpus]
    else:
        found.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // count, 1)))
    return found


@cache
def checkpoint_digest(checkpoint: Path) -> str:
    """Returns what tells a checkpoint's files from others."""
    return digest_of({name: entry.sha256 for name, entry in scan(checkpoint).items()})


class _Progress:
    """Tells how far a task is, not more often than people read."""

    def __init__(self, work: Work, shard: Shard | None) -> None:
        sizes: Mapping[str, Any] = work.sizes
        self._name = work.name + (f" (shard {shard.index} of {shard.count})" if shard else "")
        self._total = len((shard or Shard()).of(sizes))
        self._told = time.monotonic()
        self._first = True

    def __call__(self, landed: int) -> None:
        if self._first and landed:
            logger.info("%s: %d of %d items are measured already", self._name, landed, self._total)
        self._first = False
        now = time.monotonic()
        if landed and (now - self._told >= _SECONDS_BETWEEN_LINES):
            logger.info("%s: %d of %d items", self._name, landed, self._total)
            self._told = now
