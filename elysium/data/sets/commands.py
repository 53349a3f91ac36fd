"""`elysium data import` and `elysium data sets`."""

from __future__ import annotations

from pathlib import Path

import click

from elysium.cli import print_json
from elysium.options import json_option


@click.command("import")
@click.argument("name", metavar="NAME")
@click.option(
    "--annotations",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="A file or folder of the set's annotations; may be given several times.",
)
@click.option("--images", required=True, metavar="DIR", help="The folder that the annotations' paths are relative to.")
@click.option(
    "--output", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Where to."
)
@click.option("--split", default="train", show_default=True, help="The part that is taken, or `all`.")
@click.option(
    "--max-skipped",
    type=click.FloatRange(0, 1),
    default=0.05,
    show_default=True,
    metavar="SHARE",
    help="Of the samples that may be broken; with more, nothing is written.",
)
@click.option(
    "--check-images/--no-check-images",
    default=True,
    show_default=True,
    help="Skip samples whose image or video is not there; without, no image is looked for.",
)
@json_option
def import_command(
    name: str,
    annotations: tuple[Path, ...],
    images: str,
    output: Path,
    split: str,
    max_skipped: float,
    check_images: bool,
    as_json: bool,
) -> None:
    """Import the public set NAME from its published files into one Parquet file.

    \b
    DIR/data.parquet holds the records, DIR/report.json what was kept, and what was skipped and why.
    `elysium data sets` lists the names, and where to get the files.

    \b
    Examples:
      elysium data import llava-558k --annotations blip_laion_cc_sbu_558k.json --images images/ --output sets/llava
      elysium data import refcoco --annotations 'refs(unc).p' --annotations instances.json --images coco/ \\
        --output sets/refcoco
    """
    from elysium.data.sets.importing import import_set

    report = import_set(
        name, annotations, images, output, split=split, max_skipped=max_skipped, check_images=check_images
    )
    click.echo(
        f"{report.num_kept} records of {report.dataset} in {output}; {report.num_skipped} samples skipped, "
        f"{report.num_duplicates} of an id that came before, {sum(report.passed_over.values())} of other parts",
        err=True,
    )
    for reason, found in report.skipped.items():
        click.echo(f"  skipped {found.count}: {reason} (first {', '.join(found.first)})", err=True)
    for reason, count in report.dropped.items():
        click.echo(f"  left out of samples {count}: {reason}", err=True)
    if as_json:
        print_json({"output": str(output), **report.as_dict()})


@click.command("sets")
@json_option
def sets_command(as_json: bool) -> None:
    """List the public sets that can be imported, and where to get them.

    \b
    Example:
      elysium data sets
    """
    from elysium.data.sets.readers import SETS

    for known in SETS.values():
        click.echo(f"{known.name:<20}{known.title}: {known.page}", err=as_json)
        click.echo(f"{'':<20}annotations: {known.annotations}; images: {known.images}", err=as_json)
    if as_json:
        fields = ("name", "title", "page", "annotations", "images")
        print_json({"sets": [{name: getattr(known, name) for name in fields} for known in SETS.values()]})
