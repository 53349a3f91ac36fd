"""What the commands do: a whole run from its source, a trial with an estimate, and finding a run's videos again."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from elysium.config import Settings, load_settings
from elysium.curation.basis import PAPER_SECONDS
from elysium.curation.curation import TaskList, curate
from elysium.curation.engine import Listing as AnyListing
from elysium.curation.explain import draw_explanation, frames_shown
from elysium.curation.fetcher import Fetcher
from elysium.curation.filters.registry import check_filters
from elysium.curation.locating import Curation
from elysium.curation.pieces import WORKING_SIDE
from elysium.curation.registry import check_names
from elysium.curation.sharing import is_held
from elysium.curation.sources.listing import FOLDER, Listing, make_listing
from elysium.curation.timing import StageClock
from elysium.data.decoding import decode_file
from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.execute import NO_SPACE
from elysium.stopping import stoppable

_TRIAL = "dry-run-"
_CANDIDATES = 20  # for each video that is held out
# What is wrong with the place, where time mends nothing.
_NOT_A_PLACE = frozenset(
    {
        *(errno.ENOTDIR, errno.EEXIST, errno.EACCES, errno.EPERM, errno.EROFS),
        *(errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL),
    }
)


def run(
    root: Path, settings: Settings, share: tuple[int, int] = (0, 1), *, retry_failed: bool = False
) -> dict[str, Any] | None:
    """Does what is left to do of a curation of `settings.ingest.source`; see `curation.curate`.

    Raises:
        UsageError: If source, settings or output cannot work.
        ElysiumError: If the disk is full, a server fails, or another process does the same.
        Stopped: After SIGINT or SIGTERM.
    """
    with stoppable(), _told(root):
        listing = _begin(root, settings)
        settings = with_candidates(settings, listing.num_videos)
        return curate(root, settings, listing, digest=listing.digest, share=share, retry_failed=retry_failed)


def with_candidates(settings: Settings, num_videos: int) -> Settings:
    """Returns the settings with fewer candidates for evaluation where a source is so large that few of them are needed.

    Candidates are cut into short pieces, also those that end up in training: of very many videos `evaluation_share`
    would cut up a third for 500 that are held out. Twenty candidates for each, where a twentieth of the videos gives
    tracks, are enough.
    """
    enough = _CANDIDATES * settings.curate.num_evaluation_videos / max(num_videos, 1)
    if settings.curate.split_by == "time" or enough >= settings.curate.evaluation_share:
        return settings
    fewer = settings.curate.model_copy(update={"evaluation_share": enough})
    return settings.model_copy(update={"curate": fewer})


def estimate(root: Path, settings: Settings, num_videos: int, price: float | None = None) -> dict[str, Any]:
    """Tries the first videos in a folder below `root`, and returns what all of them would take and give.

    Args:
        root: The curation's folder; the listing that is made there serves the run itself.
        settings: Of the run.
        num_videos: How many to try.
        price: Of one machine-hour.

    Raises:
        UsageError, ElysiumError, Stopped: As `run`.
    """
    with stoppable(), _told(root):
        return _estimate(root, settings, num_videos, price)


def _estimate(root: Path, settings: Settings, num_videos: int, price: float | None) -> dict[str, Any]:
    listing = _begin(root, settings)
    settings = with_candidates(settings, listing.num_videos)
    tasks = TaskList(listing.tasks(0, min(num_videos, listing.num_videos)), settings.curate.shard_videos)
    for left in root.glob(f"{_TRIAL}*"):
        if not is_held(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_TRIAL, dir=root))
    begun, clock = time.perf_counter(), StageClock()
    try:
        stats = curate(folder, settings, tasks, digest=tasks.digest, clock=clock)
        seconds = time.perf_counter() - begun
        stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if stats is None:
        raise ElysiumError(f"the trial in {folder} lacks shards; run it again")
    factor = listing.num_videos / tasks.num_videos
    hours = seconds * factor / 3600
    tracks = stats["num_records"]
    return {
        "videos_tried": tasks.num_videos,
        "videos": listing.num_videos,
        "seconds": round(seconds, 3),
        "videos_per_second": round(tasks.num_videos / seconds, 3),
        "seconds_of_video": stats["seconds"],
        "tracks": tracks,
        "tracks_per_video": round(tracks / tasks.num_videos, 3),
        "seconds_per_track": round(seconds / tracks, 3) if tracks else None,
        "stage_seconds": {stage: round(spent, 3) for stage, spent in clock.seconds.items()} or None,
        "frames": stats["num_frames"],
        "stored_bytes": stored,
        "device": _device(settings),
        "outcomes": stats["outcomes"],
        "failures": stats["failures"],
        "rejects": stats["rejects"],
        "whole": {
            "hours": round(hours, 3),
            "tracks": round(tracks * factor),
            "gibibytes": round(stored * factor / 2**30, 3),
            "price": None if price is None else round(hours * price, 2),
        },
    }


def _device(settings: Settings) -> str:
    """Returns the name of the GPU that the models were on, or `cpu`; those of OpenCV know none."""
    torch = sys.modules.get("torch")
    if torch is None or settings.curate.device == "cpu" or not torch.cuda.is_available():
        return "cpu"
    return str(torch.cuda.get_device_name())


def format_estimate(tried: dict[str, Any]) -> str:
    """Returns an estimate as text."""
    whole = tried["whole"]
    outcomes = ", ".join(f"{name} {count}" for name, count in tried["outcomes"].items())
    lines = [
        f"tried the first {tried['videos_tried']} of {tried['videos']} videos in {tried['seconds']:.1f} s "
        f"({tried['videos_per_second']:.2f} videos/s): {outcomes}",
        f"{tried['tracks']} tracks, {tried['tracks_per_video']:.2f} a video",
    ]
    if tried["seconds_per_track"] is not None:
        lines[-1] += f", {tried['seconds_per_track']:.1f} s each (the paper spent {PAPER_SECONDS} GPU-seconds)"
    for stage, reasons in tried["rejects"].items():
        lines.append(f"  rejected at {stage}: " + ", ".join(f"{name} {count}" for name, count in reasons.items()))
    lines.append(
        f"all of them on one machine like this: {whole['hours']:.1f} hours, about {whole['tracks']} tracks, "
        f"{whole['gibibytes']:.1f} GiB" + ("" if whole["price"] is None else f", {whole['price']:.2f} at that price")
    )
    return "\n".join(lines)


def _begin(root: Path, settings: Settings) -> Listing:
    """Returns the listing, after all that can be seen at once has been looked at."""
    check_names(settings.curate)
    check_filters(settings.curate)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        if error.errno not in _NOT_A_PLACE:
            raise
        raise UsageError(
            f"--output: {root} cannot be made or not be written ({error.strerror}); "
            "name a folder, new or not, in a place that may be written"
        ) from error
    return make_listing(settings.ingest, root, shard_videos=settings.curate.shard_videos)


@contextlib.contextmanager
def _told(root: Path) -> Iterator[None]:
    """Makes what a disk refuses an error for people."""
    try:
        yield
    except OSError as error:
        what = "no space is left" if error.errno in NO_SPACE else "cannot be read or written"
        raise ElysiumError(
            f"{error.filename or root}: {what} ({error.strerror or error}); mend that and run the same command again: "
            "what is finished is kept"
        ) from error


def settings_of(curation: Curation, overrides: Sequence[str] = ()) -> Settings:
    """Returns the settings a curation was made with, with overrides."""
    kept = [f"curate.{name}={json.dumps(value)}" for name, value in curation.plan.curate.items()]
    return load_settings("nano", [*kept, f"seed={curation.plan.seed}", *overrides])


def open_listing(curation: Curation, folder: Path) -> AnyListing | None:
    """Returns what lists a curation's videos: its own listing, or the raw clips of a run's workspace."""
    if (curation.root / FOLDER).is_dir():
        return Listing(curation.root)
    from elysium.curation.step import list_raw
    from elysium.pipeline.steps import step
    from elysium.pipeline.workspace import Workspace

    raw = Workspace.at(folder).folder(step("ingest"))
    return list_raw(raw, curation.settings) if (raw / "manifest.jsonl").is_file() else None


def draw_video(curation: Curation, folder: Path, video: str, path: Path) -> None:
    """Draws one video's way into a PNG; frames come from the video itself, if it can still be had.

    Raises:
        ElysiumError: If the video cannot be fetched or read.
    """
    shard, row = curation.find(video)
    wanted = {number for piece in row.pieces for number in frames_shown(piece)}
    images: dict[int, Any] = {}
    listing = open_listing(curation, folder)
    task = next((task for task in listing.shard(shard) if task.id == video), None) if listing else None
    if wanted and task is not None:
        with Fetcher(settings_of(curation)) as fetcher, fetcher.fetch(task) as fetched:
            for decoded in decode_file(fetched.path):
                if decoded.number in wanted:
                    images[decoded.number] = decoded.image(WORKING_SIDE)
                if decoded.number >= max(wanted):
                    break
    draw_explanation(row, images, path)
