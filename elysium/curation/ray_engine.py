"""The graph of curation on Ray Data: actors that decode on CPUs, others with models on GPUs, a driver that publishes.

The functions are those of one process. A row of the data set is a block on its way in and a group of pieces between the
stages; frames travel through Ray's object store, which holds decoding back while the models are busy. Workers write
frames to the curation's folder, so all nodes must see it; the driver gets rows of figures only, and writes blocks and
shards down as `engine` does. When a worker or a node is lost, Ray does its blocks again; what was finished stays.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from elysium.config import Settings
from elysium.curation.blocks import (
    Block,
    BlockEnd,
    Group,
    GroupResult,
    decode_block,
    finish_block,
    ground_group,
    store_group,
    track_group,
)
from elysium.curation.engine import Job, Report
from elysium.curation.fetcher import Fetcher
from elysium.curation.memory import reuse_memory
from elysium.curation.registry import PartsShelf
from elysium.curation.shards import ShardStore
from elysium.errors import ElysiumError, UsageError
from elysium.stopping import own_signals

logger = logging.getLogger(__name__)

_Batch = dict[str, list[Any]]  # a column `item` with one pickled thing
_KIND = "item"
_ANSWER = 5.0  # seconds
_SHARDS = 64  # worked on at once: the driver holds their videos, and Ray a task for each of their blocks
_SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # an empty frame of HTTP/2: length, type 4, flags, stream


def run_on_ray(job: Job, report: Report) -> None:
    """Does the shards on the cluster that the settings name, or on one that is started here for the purpose.

    Raises:
        UsageError: If Ray is not installed, or no cluster answers at the address.
        ElysiumError: If something keeps every video from being worked on.
    """
    ray = _connected(job.settings)
    try:
        for first in range(0, len(job.shards), _SHARDS):
            _run(ray, replace(job, shards=job.shards[first : first + _SHARDS]), report)
    finally:
        if job.settings.engine.address is None:
            ray.shutdown()


def _connected(settings: Settings) -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise UsageError("engine.name=ray needs Ray: pip install 'elysium[ray]'") from error
    if not ray.is_initialized():
        _check_address(settings.engine.address)
        try:
            with own_signals():
                ray.init(
                    address=settings.engine.address or "local",
                    include_dashboard=False if settings.engine.address is None else None,
                    configure_logging=False,
                    log_to_driver=False,
                )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"engine.address: no Ray cluster answers at {settings.engine.address!r} ({error}); "
                "start one with `ray start --head`, or leave the address out"
            ) from error
    return ray


def _check_address(address: str | None) -> None:
    """Raises UsageError if no gRPC server answers at `host:port`; Ray itself would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER) as connection:
            if os.environ.get("RAY_USE_TLS", "0") != "1":
                _greet(connection)
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"engine.address: no Ray cluster answers at {address!r} ({getattr(error, 'strerror', None) or error}); "
            "start one with `ray start --head`, or leave the address out"
        ) from error


def _greet(connection: socket.socket) -> None:
    """Begins HTTP/2, which gRPC is spoken over, and waits for the other side to do the same (RFC 9113 §3.4)."""
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS)
    head = b""
    while len(head) < len(_SETTINGS):
        part = connection.recv(len(_SETTINGS) - len(head))
        if not part:
            raise ConnectionError("what listens there is no Ray")
        head += part
    if head[3] != _SETTINGS[3]:
        raise ConnectionError("what listens there is no Ray")


def _run(ray: Any, job: Job, report: Report) -> None:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    waiting: dict[int, dict[int, Block]] = {}
    for shard in job.shards:
        job.store.begin(shard)
        waiting[shard] = {b.number: b for b in job.blocks(shard) if job.store.read_block(b) is None}
    rows = [{"shard": shard, "block": number} for shard, blocks in waiting.items() for number in blocks]
    for shard in [shard for shard, blocks in waiting.items() if not blocks]:
        _publish(job, shard)
    if not rows:
        return
    groups: dict[str, list[GroupResult]] = {}
    ends: dict[str, BlockEnd] = {}
    try:
        for row in _data_set(ray, job, rows).iter_rows():
            item = pickle.loads(row[_KIND])  # noqa: S301  # written by our own workers
            # A worker that was lost after it had answered answers twice.
            if _number(item.block) not in waiting[item.shard]:
                continue
            if isinstance(item, BlockEnd):
                ends[item.block] = item
            else:
                groups[item.block] = [old for old in groups.get(item.block, []) if old.number != item.number] + [item]
            end = ends.get(item.block)
            if end is not None and len(groups.get(end.block, [])) == end.num_groups:
                _finish(job, waiting, end, groups.pop(end.block, []), report)
                del ends[end.block]
    except ray.exceptions.RayError as error:
        raise _cause(error) from error
    lost = [block.name for blocks in waiting.values() for block in blocks.values()]
    if lost:
        raise ElysiumError(f"Ray ended without the results of {len(lost)} blocks, {lost[0]} first; run it again")


def _number(block: str) -> int:
    """Returns a block's position in its shard, from its name."""
    return int(block.rpartition("-")[2])


def _data_set(ray: Any, job: Job, rows: list[dict[str, int]]) -> Any:
    engine = job.settings.engine
    models = {"num_cpus": 0 if engine.gpus_per_worker else 1, "num_gpus": engine.gpus_per_worker or None}
    one = {"batch_size": 1, "batch_format": "numpy", "zero_copy_batch": True}
    decoders = engine.decode_workers or (1, len(rows))
    return (
        ray.data.from_items(rows, override_num_blocks=len(rows))
        .map_batches(_Decode, fn_constructor_args=(job,), concurrency=decoders, num_cpus=1, **one)
        .map_batches(_Ground, fn_constructor_args=(job.settings,), concurrency=engine.model_workers, **models, **one)
        .map_batches(_Track, fn_constructor_args=(job.settings,), concurrency=engine.model_workers, **models, **one)
        .map_batches(_store, fn_args=(job.store.root, job.settings), num_cpus=0.25, **one)
    )


def _finish(
    job: Job, waiting: dict[int, dict[int, Block]], end: BlockEnd, results: list[GroupResult], report: Report
) -> None:
    block = waiting[end.shard].pop(_number(end.block))
    rows = finish_block(end, results)
    job.store.write_block(block, rows)
    report(len(rows), sum(c.kept for row in rows for piece in row.pieces for c in piece.candidates))
    if not waiting[end.shard]:
        _publish(job, end.shard)


def _publish(job: Job, shard: int) -> None:
    blocks = job.blocks(shard)
    rows = []
    for block in blocks:
        found = job.store.read_block(block)
        if found is None:
            raise ElysiumError(f"block {block.name} was written and cannot be read; do all nodes see {job.store.root}?")
        rows += found
    job.store.publish(shard, [task for block in blocks for task in block.tasks], rows)


def _cause(error: Any) -> Exception:
    """Returns what a worker ran into, as itself where it is an error for people."""
    cause = getattr(error, "cause", None)
    while cause is not None and not isinstance(cause, ElysiumError | OSError) and getattr(cause, "cause", None):
        cause = cause.cause
    if isinstance(cause, ElysiumError | OSError):
        return cause
    return ElysiumError(f"curation on Ray stopped: {str(error).strip().splitlines()[-1]}")


class _Decode:
    """Fetches and decodes blocks on a CPU."""

    def __init__(self, job: Job) -> None:
        reuse_memory()
        self._job, self._shelf = job, PartsShelf(job.settings.curate)
        self._fetcher = Fetcher(job.settings)

    def __call__(self, batch: _Batch) -> Iterator[_Batch]:
        for shard, number in zip(batch["shard"], batch["block"], strict=True):
            block = self._job.blocks(int(shard))[int(number)]
            for item in decode_block(
                block,
                self._shelf,
                self._fetcher,
                self._job.settings.curate,
                coming=block.tasks,
            ):
                yield _packed(item)


class _Ground:
    """Looks for phrases, on a GPU if there is one."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._shelf = settings.curate, PartsShelf(settings.curate)
        _ = self._shelf.grounder  # a model is loaded once, when its worker starts

    def __call__(self, batch: _Batch) -> _Batch:
        item = _unpacked(batch)
        return _packed(ground_group(item, self._shelf, self._settings)) if isinstance(item, Group) else batch


class _Track:
    """Follows what was found, on a GPU if there is one."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._shelf = settings.curate, PartsShelf(settings.curate)
        _ = self._shelf.tracker

    def __call__(self, batch: _Batch) -> _Batch:
        item = _unpacked(batch)
        return _packed(track_group(item, self._shelf, self._settings)) if isinstance(item, Group) else batch


def _store(batch: _Batch, root: Path, settings: Settings) -> _Batch:
    item = _unpacked(batch)
    if not isinstance(item, Group):
        return batch
    store = ShardStore(root, settings.curate)
    return _packed(store_group(item, store.media(item.shard), settings.curate))


def _packed(item: Any) -> _Batch:
    return {_KIND: [pickle.dumps(item, protocol=5)]}


def _unpacked(batch: _Batch) -> Any:
    return pickle.loads(batch[_KIND][0])  # noqa: S301  # written by our own workers
