"""The champion on fresh data, compared with what it was promoted with: has the world moved away from it?

Both figures come from other videos, so nothing can be paired. What is compared are the means, with the interval of
their difference by resampling the videos of each side by itself (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, §8.3 and §16.2).
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elysium.config import Settings
from elysium.errors import ElysiumError, GateRefused
from elysium.evaluation.evaluating import LEAK_CACHE, collect, measure_all
from elysium.evaluation.opening import open_works
from elysium.evaluation.request import EvaluationRequest, HeldOutRequest
from elysium.evaluation.results import METRICS_FILE, Evaluation
from elysium.evaluation.statistics import CONFIDENCE, MIN_VIDEOS
from elysium.pipeline.steps import step
from elysium.pipeline.workspace import Workspace, write_atomic
from elysium.registry.policy import Compared, Regression, load_policy
from elysium.registry.tracking import champion

if TYPE_CHECKING:
    from elysium.pipeline.remote import RemoteWorkspace

logger = logging.getLogger(__name__)

DRIFT_FILE = "drift.json"
# Of a workspace; no step's artifact, since the champion may change between two runs.
FOLDER = "champion"


def measure_champion(place: Workspace | RemoteWorkspace, settings: Settings) -> dict[str, Any]:
    """Measures the champion on a workspace's snapshot and returns how that compares with when it was promoted.

    Args:
        place: A run with a finished snapshot.
        settings: The run's.

    Returns:
        `version` (None where there is no champion), `summary`, and `metrics`: for each compared figure `now`, `then`,
        `difference`, `low` and `high` (percent points) and `worse`.

    Raises:
        GateRefused: If a figure dropped beyond the policy's tolerance.
        ElysiumError: If the snapshot is missing.
    """
    row = step("evaluate")
    settings = place.adapted(settings, row)
    best = champion(settings, place.home)
    if best is None:
        return {"version": None, "summary": "there is no champion yet", "metrics": {}}
    snapshot = _snapshot(place)
    data_hash = json.loads((snapshot / "lineage.json").read_text(encoding="utf-8"))["data_hash"]
    name = f"{FOLDER}/{best.version}-{data_hash[:12]}"
    output = snapshot.parent / name
    request = EvaluationRequest(
        checkpoint=best.model,
        sets=(HeldOutRequest(data=snapshot / "data"),),
        settings=settings.evaluate,
        leak_cache=place.home / LEAK_CACHE,
        seed=settings.seed,
        threads=settings.training.threads,
    )
    works = open_works(request)
    measure_all(works, request, output / "parts")
    figures = {task: entry for task, (entry, _) in collect(works, output / "parts", request).items()}
    measured = Evaluation(data_hash=data_hash, version=best.version, tasks=figures)
    measured.write(output / METRICS_FILE)
    now = json.loads((output / METRICS_FILE).read_text(encoding="utf-8"))
    rule = load_policy(settings.promote.policy).regression
    samples, seed = settings.evaluate.bootstrap_samples, settings.seed
    found = {
        f"{pair.task} {pair.metric}": compared
        for pair in rule.metrics
        if (compared := compare(now, best.metrics, pair, rule, samples=samples, seed=seed)) is not None
    }
    drift = {"version": best.version, "summary": _summary(best.version, found), "metrics": found}
    write_atomic(output / DRIFT_FILE, json.dumps(drift, indent=1))
    if not isinstance(place, Workspace):
        for file in (METRICS_FILE, DRIFT_FILE):
            place.store.write(f"{name}/{file}", (output / file).read_bytes())
    if any(entry["worse"] for entry in found.values()):
        raise GateRefused(drift["summary"])
    return drift


def compare(
    now: dict[str, Any], then: dict[str, Any], pair: Compared, rule: Regression, *, samples: int, seed: int
) -> dict[str, Any] | None:
    """Returns one figure now and then; None where it was not measured both times.

    Worse is what is proven to be so (at least 6 videos a side, the whole 95 % interval of the difference below
    `-tolerance`), and, whatever can be proven, a mean that dropped by more than `max_drop`.

    Args:
        now: `metrics.json` of today.
        then: `metrics.json` of when the model was promoted.
        pair: The figure.
        rule: The policy's tolerance.
        samples: Bootstrap samples.
        seed: Of the bootstrap.
    """
    new, old = _by_video(now, pair), _by_video(then, pair)
    if not len(new) or not len(old):
        return None
    rng = np.random.default_rng(seed)
    differences = _resampled(new, samples, rng) - _resampled(old, samples, rng)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = (float(value) for value in np.percentile(differences, [tail, 100 - tail]))
    mean_now, mean_then = (float(side[:, 0].sum() / side[:, 1].sum()) for side in (new, old))
    proven = min(len(new), len(old)) >= MIN_VIDEOS and high < -rule.tolerance
    return {
        "now": round(mean_now, 4),
        "then": round(mean_then, 4),
        "difference": round(mean_now - mean_then, 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "worse": bool(proven or mean_now - mean_then < -rule.max_drop),
    }


def _snapshot(place: Workspace | RemoteWorkspace) -> Path:
    """Returns the folder of the finished snapshot, brought to this machine where it lies elsewhere."""
    row = step("snapshot")
    manifest = place.manifest(row)
    if manifest is None or manifest.status != "done":
        again = f"run `elysium step snapshot --workspace {place.uri}` first"
        raise ElysiumError(f"{place.location(row)} is not there; {again}")
    if not isinstance(place, Workspace):
        place.bring(row, manifest, reader="evaluate champion")
    return place.folder(row)


def _by_video(figures: dict[str, Any], pair: Compared) -> np.ndarray:
    """Returns sum of figures and number of items of every video, shape `(videos, 2)`."""
    task = figures.get("tasks", {}).get(pair.task, {})
    videos: dict[str, str] = task.get("videos", {})
    sums: dict[str, tuple[float, int]] = {}
    for name, entry in task.get("per_sequence", {}).items():
        value = entry["model"].get(pair.metric)
        if value is not None:
            total, count = sums.get(videos.get(name, name), (0.0, 0))
            sums[videos.get(name, name)] = (total + float(value), count + 1)
    return np.array(list(sums.values()), dtype=np.float64).reshape(-1, 2)


def _resampled(side: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Returns the means of `samples` draws of as many videos as there are, shape `(samples,)`."""
    drawn = rng.multinomial(len(side), np.full(len(side), 1 / len(side)), size=samples)
    means: np.ndarray = (drawn @ side[:, 0]) / (drawn @ side[:, 1])
    return means


def _summary(version: str, found: dict[str, dict[str, Any]]) -> str:
    worse = {name: entry for name, entry in found.items() if entry["worse"]}
    shown = [
        f"{name} {entry['now']:.1f}, when promoted {entry['then']:.1f} "
        f"(difference between {entry['low']:+.1f} and {entry['high']:+.1f})"
        for name, entry in (worse or found).items()
    ]
    verdict = "has become worse on fresh data" if worse else "holds on fresh data"
    return f"the champion, version {version}, {verdict}: {'; '.join(shown) or 'no figure was measured both times'}"
