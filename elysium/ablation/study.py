"""The whole table: plans the cells, runs what is missing, keeps every result as it comes."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from elysium.ablation.cell import Cell, Scale, run_cell
from elysium.ablation.scenes import Scenes, draw_scenes, load_scenes, save_scenes
from elysium.ablation.tower import pretrain_tower, tower_features
from elysium.config import ModelSettings
from elysium.errors import ElysiumError, UsageError
from elysium.model import SELECTORS, build_model
from elysium.pipeline.workspace import write_atomic

logger = logging.getLogger(__name__)

# Reduced: one object a frame, so that an hour of a laptop's CPU is enough to learn to point at all.
SCALES = {
    "reduced": Scale(
        steps=400, batch=32, questions=1, describe_share=0.0, tower_steps=400, train_frames=4000, held_out_frames=300,
        max_objects=1,
    ),
    "full": Scale(
        steps=20_000, batch=64, questions=3, describe_share=0.3, tower_steps=4000, train_frames=50_000,
        held_out_frames=2000, max_objects=5,
    ),
}  # fmt: skip
_TRAIN_SEED, _HELD_OUT_SEED = 1_000_000, 0
_TOWER, _RESULTS, _PLAN = "tower.safetensors", "results.jsonl", "study.json"
_SPLITS = ("train", "held-out")


@dataclass(frozen=True)
class Study:
    """What is to be measured.

    Attributes:
        settings: Of the model.
        scale: How much of everything.
        cells: In the order they are run in.
    """

    settings: ModelSettings
    scale: Scale
    cells: tuple[Cell, ...]

    def plain(self) -> dict[str, Any]:
        """Returns what two runs of one study have in common."""
        return {"model": self.settings.model_dump(mode="json"), "scale": asdict(self.scale)}


def plan_cells(
    settings: ModelSettings, selectors: Sequence[str], shares: Sequence[float], seeds: int, positions: Sequence[str]
) -> tuple[Cell, ...]:
    """Returns the cells of a table, all seeds of the first one first.

    Args:
        settings: Of the model; how many patches a frame has.
        selectors: Names.
        shares: Of the patches that are kept, in (0, 1].
        seeds: How many, from 0 on.
        positions: `packed`, `grid` or both.

    Raises:
        UsageError: If a name or share is impossible.
    """
    unknown = [name for name in selectors if name not in SELECTORS]
    if unknown:
        raise UsageError(f"there is no selector {unknown[0]!r}; the selectors are {', '.join(SELECTORS)}")
    if any(not 0 < share <= 1 for share in shares) or not shares:
        raise UsageError(f"shares of the tokens lie above 0 and up to 1, got {list(shares)}")
    patches = (settings.vision.image_size // settings.vision.patch_size) ** 2
    kept = sorted({max(round(share * patches), 1) for share in shares})
    cells = []
    for name in selectors:
        # Where every token is kept, packed and grid are the same.
        budgets = [patches] if name == "none" else kept
        places = ["packed"] if name == "none" else positions
        cells += [Cell(name, count, place, seed) for count in budgets for place in places for seed in range(seeds)]
    return tuple(cells)


def run_study(study: Study, folder: Path, jobs: int) -> list[dict[str, Any]]:
    """Runs the cells that `folder` has no result of yet, and returns all results.

    Every result is written when it is there; a run that was killed goes on with what is missing.

    Args:
        study: What is to be measured.
        folder: For results and the vision tower.
        jobs: Cells at a time, each in a process of its own with its share of the CPU.

    Raises:
        UsageError: If the folder holds results of another model or scale.
        ElysiumError: If a cell failed; the others' results are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _claim(study, folder)
    threads = max((os.cpu_count() or 1) // jobs, 1)
    torch.set_num_threads(os.cpu_count() or 1)
    _prepare(study, folder)
    done = {_key(result): result for result in read_results(folder)}
    missing = [cell for cell in study.cells if cell.key not in done]
    logger.info("%d of %d cells are done, %d at a time", len(study.cells) - len(missing), len(study.cells), jobs)
    for result in _results(study, folder, missing, jobs, threads):
        done[_key(result)] = result
        with (folder / _RESULTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
            file.flush()
            os.fsync(file.fileno())
        logger.info(
            "%s, %d tokens, %s, seed %d: Acc@0.5 %.1f %%, IoU %.3f, %.0f s", result["selector"], result["kept"],
            result["position_ids"], result["seed"], result["accuracy"], result["mean_iou"], result["seconds"],
        )  # fmt: skip
    return [done[cell.key] for cell in study.cells]


def read_results(folder: Path) -> Iterator[dict[str, Any]]:
    """Yields the results in a folder; a last line that was cut short is left out."""
    path = folder / _RESULTS
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            yield json.loads(line)
        except ValueError:
            logger.warning("%s has a line that was cut short; its cell is run again", path)


def _key(result: dict[str, Any]) -> str:
    return Cell(*(result[name] for name in ("selector", "kept", "position_ids", "seed"))).key


def _claim(study: Study, folder: Path) -> None:
    path, plain = folder / _PLAN, json.loads(json.dumps(study.plain()))
    if not path.is_file():
        if (folder / _RESULTS).exists():
            raise UsageError(f"{folder} holds results without {_PLAN}; name another folder")
        write_atomic(path, json.dumps(plain, indent=1))
    elif json.loads(path.read_text(encoding="utf-8")) != plain:
        raise UsageError(
            f"{folder} holds results of another model or scale ({_PLAN}); name another folder, or give the same "
            "settings"
        )
    # A line that was cut short would swallow the next one.
    results = folder / _RESULTS
    if results.is_file():
        write_atomic(results, "".join(json.dumps(result) + "\n" for result in read_results(folder)))


def _prepare(study: Study, folder: Path) -> None:
    """Draws the frames, trains the tower and computes its features, where that is not done yet."""
    settings, scale = study.settings, study.scale
    model, processor = build_model(settings, seed=0)
    plan = {_SPLITS[0]: (scale.train_frames, _TRAIN_SEED), _SPLITS[1]: (scale.held_out_frames, _HELD_OUT_SEED)}
    scenes = {}
    for split, (count, seed) in plan.items():
        if not (folder / f"{split}.npz").is_file():
            drawn = draw_scenes(count, seed, settings.vision.image_size, scale.max_objects)
            with _new_file(folder / f"{split}.npz") as scratch:
                save_scenes(drawn, scratch)
        scenes[split] = load_scenes(folder / f"{split}.npz")
    if not (folder / _TOWER).is_file():
        pretrain_tower(model, processor, scenes[_SPLITS[0]], scale.tower_steps, seed=0)
        with _new_file(folder / _TOWER) as scratch:
            save_file(model.vision_tower.state_dict(), scratch)
    model.vision_tower.load_state_dict(load_file(folder / _TOWER))
    model.eval()
    for split in plan:
        if not (folder / f"{split}.safetensors").is_file():
            with _new_file(folder / f"{split}.safetensors") as scratch:
                save_file({"features": tower_features(model, processor, scenes[split])}, scratch)


@contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """Yields where to write a file that is to be there whole or not at all."""
    scratch = path.with_name(f".partial-{path.name}")
    yield scratch
    scratch.replace(path)


def _results(study: Study, folder: Path, cells: Sequence[Cell], jobs: int, threads: int) -> Iterator[dict[str, Any]]:
    if jobs == 1:
        for cell in cells:
            yield _run(study, folder, cell, threads)
        return
    # A new interpreter each: a forked one inherits torch's threads half alive.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        running = [pool.submit(_run, study, folder, cell, threads) for cell in cells]
        try:
            for finished in as_completed(running):
                yield finished.result()
        except Exception as error:
            pool.shutdown(wait=False, cancel_futures=True)
            raise ElysiumError(f"a cell failed: {error}; what is done is kept, run it again to go on") from error


def _run(study: Study, folder: Path, cell: Cell, threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    train, held_out = _data(folder)
    return run_cell(study.settings, study.scale, cell, load_file(folder / _TOWER), train, held_out, device).as_json()


@lru_cache(maxsize=1)
def _data(folder: Path) -> tuple[tuple[Scenes, Tensor], ...]:
    """Returns frames and their features, to train on and held out; read once a process."""
    return tuple(
        (load_scenes(folder / f"{split}.npz"), load_file(folder / f"{split}.safetensors")["features"])
        for split in _SPLITS
    )
