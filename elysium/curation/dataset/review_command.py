"""`elysium curate review`: checking tracks by hand, and what follows from it for the data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from elysium.cli import print_json
from elysium.errors import ElysiumError, UsageError
from elysium.options import json_option, set_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from elysium.config import CurateSettings
    from elysium.data.records import TrackRecord

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("review")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--split", type=click.Choice(["evaluation", "train"]), default="evaluation", show_default=True)
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Only N records, drawn at random.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of --sample.")
@click.option("--reviews", type=_FILE, help="Where verdicts are kept.  [default: DIR/reviews.jsonl]")
@click.option("--reviewer", help="Your name, which stands beside each verdict.  [default: the user's]")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of the page; by default a free one.")
@click.option("--no-browser", is_flag=True, help="Only print the page's address.")
@click.option("--page", type=_FILE, help="Write the page with its pictures as one file, for somebody elsewhere.")
@click.option("--answers", type=_FILE, multiple=True, help="Take in what such a page gave.")
@click.option("--apply", "target", type=click.Path(path_type=Path, file_okay=False), metavar="OUTPUT",
              help="Write the data set without the records called wrong.")  # fmt: skip
@click.option("--summary", is_flag=True, help="Only say what was found so far.")
@set_option
@json_option
def review_command(
    folder: Path,
    split: str,
    sample: int | None,
    seed: int,
    reviews: Path | None,
    reviewer: str | None,
    port: int,
    no_browser: bool,
    page: Path | None,
    answers: tuple[Path, ...],
    target: Path | None,
    summary: bool,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Check tracks by hand: right, wrong box, wrong expression, not unique, or unsure.

    \b
    DIR is the output of `elysium curate run`, or a data set's folder. A page is served on this machine until Ctrl-C;
    each verdict is on the disk before the page goes on, so that the next start continues where this one ended.

    \b
    Examples:
      elysium curate review tracks
      elysium curate review tracks --split train --sample 200
      elysium curate review tracks --page check.html      # send it to somebody
      elysium curate review tracks --answers answers.json
      elysium curate review tracks --apply checked        # without what was called wrong
    """
    from elysium.curation.dataset.reviews import NAME, judge, read_reviews, summarise_reviews, take_in
    from elysium.data.track_set import TrackSet

    root = data_folder(folder)
    file = reviews or folder / NAME
    records = TrackSet(root, split)  # type: ignore[arg-type]  # click lets only splits pass
    chosen: Sequence[TrackRecord] = records
    if sample is not None:
        chosen = [records[number] for _, number in records.sample(sample, seed)]
    if answers:
        find = _finder(root)
        for path in answers:
            click.echo(f"{path}: {take_in(path, file, find)} new verdicts", err=True)
    if page is not None:
        _write_page(page, chosen, root, folder, reviewer or "")
        click.echo(f"{page}: {len(chosen)} tracks, {page.stat().st_size / 2**20:.1f} MiB", err=True)
    elif target is not None:
        counts = apply_reviews(root, file, target, overrides)
        click.echo(f"{target}: {counts['train']} train and {counts['evaluation']} evaluation records", err=True)
    elif not answers and not summary:
        _serve(chosen, root, file, folder, reviewer or _user(), port, no_browser)
    found = summarise_reviews(chosen, judge(read_reviews(file)))
    click.echo(format_summary(found), err=as_json)
    if as_json:
        print_json(found)


def data_folder(folder: Path) -> Path:
    """Returns the folder with the records: the one named, or `tracks` of a workspace.

    Raises:
        UsageError: If there are none.
    """
    for root in (folder, folder / "tracks", folder / "snapshot" / "data"):
        if (root / "evaluation.jsonl").is_file():
            return root
    raise UsageError(f"{folder} holds no evaluation.jsonl; name the output of `elysium curate run`")


def apply_reviews(root: Path, file: Path, target: Path, overrides: Sequence[str] = ()) -> dict[str, int]:
    """Writes the data set without the records called wrong, and returns the number of records by split.

    Frames are linked where the file system can, also those that only records called wrong name.

    Raises:
        UsageError: If the target is there already.
        ElysiumError: If something cannot be read or written.
    """
    import itertools

    from elysium.curation.dataset.publish import SPLITS, publish_dataset
    from elysium.curation.dataset.reviews import checked_records, judge, read_reviews
    from elysium.data.snapshot import MEDIA, link_tree
    from elysium.data.track_set import TrackSet

    if target.exists() and any(target.iterdir()):
        raise UsageError(f"{target} is not empty; name a new folder")
    judged = judge(read_reviews(file))
    records = list(itertools.chain.from_iterable(TrackSet(root, split) for split in SPLITS))
    settings = _settings_of(root, overrides)
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name in MEDIA:
            if (root / name).exists():
                link_tree(root / name, target / name)
        if file.is_file():
            (target / "reviews.jsonl").write_bytes(file.read_bytes())
    except OSError as error:
        raise ElysiumError(f"{target} cannot be written: {error}") from error
    # Last, so that a folder with records is whole.
    kept = list(checked_records(records, judged))
    published = publish_dataset(kept, target, settings)
    _write_account(root, target, settings, records, kept)
    return published.records


def _settings_of(root: Path, overrides: Sequence[str]) -> CurateSettings:
    """Returns what a data set was made with, or the defaults where it does not say."""
    from elysium.config import load_settings
    from elysium.curation.curation import read_plan

    plan = read_plan(root)
    kept = [] if plan is None else [f"curate.{name}={json.dumps(value)}" for name, value in plan.curate.items()]
    return load_settings("nano", [*kept, *overrides]).curate


def _write_account(
    root: Path, target: Path, settings: CurateSettings, records: Sequence[TrackRecord], kept: Sequence[TrackRecord]
) -> None:
    """Writes the rejects with those by hand, statistics that are counted anew, the card and the contact sheet."""
    from elysium.curation.dataset.card import write_card
    from elysium.curation.dataset.sheet import write_contact_sheet
    from elysium.curation.outcome import Reject
    from elysium.curation.summary import Counts
    from elysium.data.records import read_jsonl, write_jsonl
    from elysium.pipeline.workspace import write_atomic

    stays = {record.id for record in kept}
    by_hand = [
        Reject(
            clip=record.metadata.clip,
            shot=record.vid,
            expression=record.object_description,
            stage="dataset",
            filter="review",
            reason="called_wrong",
            value=1,
            threshold=0,
        )
        for record in records
        if record.id not in stays
    ]
    counts = Counts()
    before = root / "rejects.jsonl"
    rejects = list(read_jsonl(before, Reject, allow_empty=True)) if before.is_file() else []
    for reject in (*rejects, *by_hand):
        counts.add_reject(reject)
    for record in kept:
        counts.add_record(record)
    write_jsonl(target / "rejects.jsonl", [*rejects, *by_hand])
    stats = counts.as_stats()
    if (root / "stats.json").is_file():
        # What became of videos is as it was; only tracks were taken out.
        old = json.loads((root / "stats.json").read_text(encoding="utf-8"))
        same = ("num_clips", "outcomes", "failures", "num_unreadable", "num_pieces", "seconds")
        stats |= {name: old[name] for name in same if name in old}
    write_atomic(target / "stats.json", json.dumps(stats, indent=1))
    write_card(target, settings)
    if kept and settings.sheet_tracks:
        write_contact_sheet(target, settings.sheet_tracks)


def format_summary(found: dict[str, Any]) -> str:
    """Returns what was found as text."""
    verdicts = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in found["verdicts"].items())
    lines = [f"{found['checked']} of {found['records']} records checked: {verdicts}"]
    if found["right_share"] is not None:
        low, high = found["right_interval"]
        lines.append(
            f"right: {found['right_share']:.1%}, 95 % between {low:.1%} and {high:.1%} (Wilson), unsure ones left out"
        )
    if found["of_other_content"]:
        lines.append(
            f"{found['of_other_content']} verdicts do not count: the boxes or words of their records have changed since"
        )
    for conflict in found["conflicts"]:
        said = ", ".join(f"{who}: {verdict.replace('_', ' ')}" for who, verdict in conflict["verdicts"].items())
        lines.append(f"disagreement about {conflict['id']}: {said} (the last one counts)")
    return "\n".join(lines)


def _serve(
    chosen: Sequence[TrackRecord], root: Path, file: Path, folder: Path, reviewer: str, port: int, no_browser: bool
) -> None:
    import webbrowser

    from elysium.curation.dataset.pages import shortened
    from elysium.curation.dataset.review_server import ReviewServer

    with ReviewServer(chosen, root, file, shortened(folder), reviewer, port) as server:
        click.echo(f"{len(chosen)} tracks at {server.address}; Ctrl-C ends", err=True)
        if not no_browser:
            webbrowser.open(server.address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo(f"\n{server.num_ticks} verdicts in this session, kept in {file}", err=True)


def _write_page(page: Path, chosen: Sequence[TrackRecord], root: Path, folder: Path, reviewer: str) -> None:
    """Writes the page without what others said: who checks elsewhere judges alone."""
    from elysium.curation.dataset.pages import data_uri, shortened
    from elysium.curation.dataset.review_page import picture, review_page
    from elysium.pipeline.workspace import write_atomic

    content = review_page(
        chosen, shortened(folder), lambda number: data_uri(picture(chosen[number], root)), reviewer=reviewer
    )
    write_atomic(page, content)


def _finder(root: Path) -> Any:
    from elysium.curation.dataset.publish import SPLITS
    from elysium.data.track_set import TrackSet

    sets = [TrackSet(root, split) for split in SPLITS]

    def find(name: str) -> TrackRecord | None:
        for one in sets:
            try:
                return one.by_id(name)
            except KeyError:
                continue
        return None

    return find


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
