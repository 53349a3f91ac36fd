"""The data set's card: a README that the Hugging Face Hub reads, too; what it states is counted from the data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import metadata as packages
from pathlib import Path
from typing import Any

from elysium.config import CurateSettings
from elysium.curation.dataset.census import Census, Tally, quantiles, take_census
from elysium.curation.dataset.columns import FOLDER
from elysium.curation.dataset.funnel import draw_funnel
from elysium.curation.dataset.publish import SPLITS
from elysium.curation.dataset.reviews import judge, read_reviews, summarise_reviews
from elysium.curation.outcome import STAGES
from elysium.data.records import Split
from elysium.data.track_set import TrackSet
from elysium.errors import ElysiumError
from elysium.pipeline.workspace import write_atomic

NAME, FUNNEL = "README.md", "funnel.svg"
_CLASSES, _LISTED = 50, 25
# Identifiers of the Hub for the SPDX ones that video comes under; all others are `other` there.
_HUB_LICENCES = {
    name.lower(): name.lower()
    for name in ("Apache-2.0", "MIT", "CC0-1.0", "CC-BY-2.0", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0",
                 "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "CC-BY-ND-4.0")
}  # fmt: skip
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
_PACKAGES = ("elysium", "av", "opencv-contrib-python-headless", "numpy", "spacy", "torch", "transformers")


def write_card(
    root: Path,
    settings: CurateSettings,
    *,
    title: str = "ElysiumTrack",
    versions: Mapping[str, str] | None = None,
    reviews: Path | None = None,
) -> Path:
    """Writes `README.md` and `funnel.svg` into a data set's folder and returns the card's path.

    Args:
        root: With the records and `stats.json`; they are read once.
        settings: Those it was made with: parts, filters and thresholds are stated from them.
        title: Of the data set.
        versions: Of the decoder and the models; by default those of the packages that are installed.
        reviews: What was found by hand, to be summed up; by default `reviews.jsonl` of the folder, if it is there.

    Raises:
        ElysiumError: If records or statistics cannot be read, or the card cannot be written.
    """
    stats = _stats(root / "stats.json")
    censuses: dict[Split, Census] = {split: take_census(TrackSet(root, split)) for split in SPLITS}
    found = summarise_reviews((), judge([]))
    file = reviews or root / "reviews.jsonl"
    if file.is_file():
        judged = judge(read_reviews(file))
        sets = [TrackSet(root, split) for split in SPLITS]
        found = summarise_reviews((one[number] for one in sets for number in range(len(one))), judged)
    write_atomic(root / FUNNEL, draw_funnel(stats))
    card = render_card(
        censuses, stats, settings, title, versions or installed(), found, parquet=(root / FOLDER).is_dir()
    )
    write_atomic(root / NAME, card)
    return root / NAME


def render_card(
    censuses: Mapping[Split, Census],
    stats: Mapping[str, Any],
    settings: CurateSettings,
    title: str,
    versions: Mapping[str, str],
    found: Mapping[str, Any],
    *,
    parquet: bool = True,
) -> str:
    """Returns the card as Markdown.

    Args:
        censuses: Counts of each split.
        stats: Content of `stats.json`.
        settings: See `write_card`.
        title: Likewise.
        versions: Likewise.
        found: What `summarise_reviews` says.
        parquet: Whether there are Parquet files.
    """
    whole = list(censuses.values())
    tallies = {name: _joined(whole, name) for name in _TALLIES}
    page: str = _template().render(
        header=_header(title, tallies["licences"], sum(one.records for one in whole), parquet=parquet),
        parquet=parquet,
        title=title,
        censuses=censuses,
        total={
            name: sum(getattr(one, name) for one in whole) for name in ("records", "sequences", "frames", "checked")
        },
        num_videos=sum(one.videos for one in whole) - whole[0].shared_with(whole[1]),
        shared=whole[0].shared_with(whole[1]),
        tallies=tallies,
        num_classes=_CLASSES,
        num_listed=_LISTED,
        spreads=_spreads(whole),
        stats=stats,
        stages=STAGES,
        settings=_settings(settings),
        store=settings.store,
        max_side=settings.max_side,
        split_by=settings.split_by,
        num_evaluation_videos=settings.num_evaluation_videos,
        versions=versions,
        found=found,
    )
    return page


def installed() -> dict[str, str]:
    """Returns the versions of the packages that make records, of those that are installed here."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = packages.version(name)
        except packages.PackageNotFoundError:
            continue
    return found


_TALLIES = ("classes", "kinds", "sizes", "frame_sizes", "licences", "sources", "decoders")
_SPREADS = {
    "seconds": "Duration of a track (s)",
    "lengths": "Frames of a track",
    "rates": "Frames a second",
    "words": "Words of an expression",
    "sides": "Box side (share of the frame's)",
}


def _header(title: str, licences: Tally, records: int, *, parquet: bool) -> str:
    import yaml

    names = list(licences)
    known = _HUB_LICENCES.get(names[0].lower()) if len(names) == 1 else None
    licence = {"license": known} if known else {"license": "other", "license_name": "see-licences-and-sources"}
    files = [
        {"split": split, "path": f"parquet/{split}-*.parquet" if parquet else f"{split}.jsonl"} for split in SPLITS
    ]
    content = {
        "pretty_name": title,
        **licence,
        "language": ["en"],
        "task_categories": ["object-detection", "video-text-to-text"],
        "tags": ["referring-object-tracking", "video", "tracking", "visual-grounding"],
        "size_categories": [next((name for bound, name in _SIZES if records < bound), "n>10M")],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True)).rstrip()


def _joined(censuses: Iterable[Census], name: str) -> Tally:
    joined = Tally()
    for census in censuses:
        joined.update(getattr(census, name))
    return joined


def _spreads(censuses: Sequence[Census]) -> list[tuple[str, list[str]]]:
    """Returns what is measured of a track, with its quantiles in words."""
    rows = []
    for name, words in _SPREADS.items():
        values = [value for census in censuses for value in getattr(census, name)]
        rows.append((words, [f"{value:,.4g}" for value in quantiles(values)]))
    return rows


def _settings(settings: CurateSettings) -> list[tuple[str, str, str]]:
    fields = type(settings).model_fields
    return [
        (name, json.dumps(value), fields[name].description or "")
        for name, value in settings.model_dump(mode="json").items()
    ]


def _stats(path: Path) -> dict[str, Any]:
    try:
        stats: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ElysiumError(f"{path} does not exist; run `elysium curate run` first") from error
    except ValueError as error:
        raise ElysiumError(f"{path} is cut short or damaged: {error}; run `elysium curate run` again") from error
    return stats


def _cell(text: object) -> str:
    """Returns text that is a table's cell and nothing else, for Markdown and for the HTML that is made of it."""
    plain = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for sign in "\\`*_[]|":
        plain = plain.replace(sign, f"\\{sign}")
    return plain


@cache
def _template() -> Any:
    from importlib import resources

    from jinja2 import Environment, StrictUndefined

    text = (resources.files("elysium.curation.dataset") / "card.md.j2").read_text(encoding="utf-8")
    # Markdown; every word of the data goes through `cell`.
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701
    environment.filters["cell"] = _cell
    environment.filters["count"] = "{:,}".format
    return environment.from_string(text)
