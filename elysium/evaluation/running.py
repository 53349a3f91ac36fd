"""Running a task item by item: divided among processes, every result kept as it lands, gone on with after any stop."""

from __future__ import annotations

import heapq
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from elysium.errors import ElysiumError, UsageError
from elysium.evaluation.results import ItemResult, TaskFigures, summarise
from elysium.evaluation.tasks.work import Work, device_name
from elysium.inference import Engine
from elysium.pipeline.workspace import digest_of, write_atomic

logger = logging.getLogger(__name__)

_FACTS = "facts.json"
# An engine that could answer none of so many items is broken, not bad.
_MOST_CRASHED = 16


@dataclass(frozen=True)
class Shard:
    """A share of the items.

    Attributes:
        index: From 0.
        count: Shares that there are.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise UsageError(f"a shard is INDEX/COUNT with INDEX from 0 to COUNT - 1, got {self.index}/{self.count}")

    def of(self, sizes: Mapping[str, int]) -> list[str]:
        """Returns the ids of this share, in their order; all shares together take about equally many frames.

        Example:
            >>> Shard(1, 2).of({"long": 900, "a": 300, "b": 300, "c": 200})
            ['a', 'b', 'c']
        """
        loads = [(0, number) for number in range(self.count)]
        mine = set()
        for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
            load, number = heapq.heappop(loads)
            heapq.heappush(loads, (load + sizes[name], number))
            if number == self.index:
                mine.add(name)
        return [name for name in sizes if name in mine]


def measure(
    work: Work,
    engine: Callable[[], Engine],
    folder: Path,
    *,
    shard: Shard = Shard(),
    facts: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Measures what a share of the items still lacks; each result is on the disk when it is there.

    Args:
        work: What to measure.
        engine: Loads the model; it is not called where nothing is left to measure.
        folder: Of the task, for results of all shares.
        shard: Which share is this process's.
        facts: What decides the answers beside the work's own facts: the model, say.
        progress: Is told how many items have landed, those of earlier attempts included.

    Raises:
        UsageError: If the folder holds results of something else.
        ElysiumError: If the model can answer nothing at all.
    """
    _claim(folder, {**work.facts, **(facts or {}), "items": digest_of(dict(work.sizes))})
    done = {item.id for item in read_items(folder)}
    mine = shard.of(work.sizes)
    missing = [name for name in mine if name not in done]
    landed = len(mine) - len(missing)
    progress(landed)
    if not missing:
        return
    model = engine()
    held: list[ItemResult] = []
    # No word is taken for it before something was answered: else a broken engine would be a figure.
    answers = False
    with _Lines(folder / f"shard-{shard.index}-of-{shard.count}.jsonl") as lines:
        for results in work.measure(model, missing):
            held += results
            answers = answers or not all(item.failures.get("crashed") for item in held)
            if answers:
                lines.write(held)
                landed += len(held)
                held = []
                progress(landed)
            elif _is_broken(held, missing, resumed=bool(done)):
                raise ElysiumError(
                    f"{work.name}: the model could answer none of {len(held)} items; the last one failed with: "
                    f"{held[-1].prediction.get('error', 'no message')}"
                )
        # What is left of a measurement that was gone on with: items that an earlier attempt stopped at, say.
        lines.write(held)
        progress(landed + len(held))


def _is_broken(crashed: Sequence[ItemResult], missing: Sequence[str], *, resumed: bool) -> bool:
    """Tells whether the engine is to blame for items of which none was answered."""
    if not resumed:
        return len(crashed) >= min(_MOST_CRASHED, len(missing))
    # An earlier attempt was answered. One video may be all that is left, and cannot be asked about.
    videos = {item.video for item in crashed}
    return len(crashed) >= _MOST_CRASHED and len(videos) >= _MOST_CRASHED // 2


def read_items(folder: Path) -> Iterator[ItemResult]:
    """Yields the results of all shares in a task's folder; a line that a kill cut short is left out, an item once."""
    seen = set()
    for path in sorted(folder.glob("shard-*.jsonl")):
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    item = ItemResult.model_validate_json(line)
                except ValidationError:
                    if line.endswith(b"\n") and line.strip():
                        logger.warning("%s, line %d is damaged; its item is measured again", path, number)
                    continue
                if item.id not in seen:
                    seen.add(item.id)
                    yield item


def num_missing(work: Work, folder: Path) -> int:
    """Returns how many items no shard has measured yet."""
    done = {item.id for item in read_items(folder)}
    return sum(name not in done for name in work.sizes)


def figures_of(work: Work, folder: Path, *, samples: int, seed: int) -> tuple[TaskFigures, Sequence[ItemResult]]:
    """Returns the figures of a task whose items are all measured, and the items in the order of asking.

    Raises:
        ElysiumError: If some are missing.
    """
    found = {item.id: item for item in read_items(folder)}
    missing = [name for name in work.sizes if name not in found]
    if missing:
        raise ElysiumError(
            f"{work.name}: {len(missing)} of {len(work.sizes)} items are not measured yet, {missing[0]} for one; "
            "run the missing shards, or the same command without --shard"
        )
    finished = work.finish([found[name] for name in work.sizes], folder)
    figures = summarise(
        finished.items,
        samples=samples,
        seed=seed,
        corpus=finished.corpus,
        protocol=finished.protocol,
        notes=finished.notes,
        device=_device(folder),
    )
    return figures, finished.items


def _claim(folder: Path, facts: Mapping[str, Any]) -> None:
    """Makes a task's folder this measurement's, or raises UsageError if it is another's."""
    plain = json.loads(json.dumps(facts))
    path = folder / _FACTS
    if path.is_file():
        known = json.loads(path.read_text(encoding="utf-8"))
        known.pop("device", None)
        if known != plain:
            changed = sorted(key for key in {*known, *plain} if known.get(key) != plain.get(key))
            raise UsageError(
                f"{folder} holds results of another measurement ({', '.join(changed)} differ); name another --output, "
                "or delete it"
            )
        return
    write_atomic(path, json.dumps({**plain, "device": device_name()}, indent=1))


def _device(folder: Path) -> str:
    return str(json.loads((folder / _FACTS).read_text(encoding="utf-8")).get("device", ""))


class _Lines:
    """A file of results, of which a kill at any moment costs what was being written at most."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> _Lines:
        self._file = self._path.open("ab")
        if self._file.tell():
            # Ends a line that was cut short, which would swallow the next one.
            self._file.write(b"\n")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, items: Sequence[ItemResult]) -> None:
        """Adds results; when it returns, they outlast a power cut."""
        try:
            self._file.write(b"".join(item.model_dump_json().encode() + b"\n" for item in items))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise ElysiumError(f"{self._path} cannot be written: {error.strerror}; run it again to go on") from error
