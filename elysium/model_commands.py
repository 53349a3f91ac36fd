"""The commands `elysium model` and `elysium convert`; outside of `elysium.model`, whose import takes seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from elysium.cli import print_json
from elysium.errors import UsageError
from elysium.options import json_option

_EXISTING = click.Path(path_type=Path, exists=True)
_GIB, _MIB = 2**30, 2**20


@click.group()
def model() -> None:
    """Say what a model is made of."""


@model.command("describe")
@click.argument("preset")
@json_option
def describe_command(preset: str, as_json: bool) -> None:
    """State parameters, memory and arithmetic of PRESET: a preset's name, its YAML file, or a checkpoint folder.

    Nothing is downloaded or loaded; the figures follow from the configuration.

    \b
    Example:
      elysium model describe vicuna-7b
    """
    from elysium.model.describe import describe

    found = describe(preset)
    rows = [(f"parameters, {part}", _count(number)) for part, number in found.parameters.items()]
    rows += [(f"weights in {kind}", _size(size)) for kind, size in found.weight_bytes.items()]
    rows += [(f"training {what}, AdamW, mixed precision", _size(size)) for what, size in found.training_bytes.items()]
    rows += [
        ("key-value cache a token, bfloat16", _size(found.cache_bytes_per_token)),
        ("key-value cache a frame, bfloat16", _size(found.cache_bytes_per_frame)),
        ("operations, encoding a frame", _operations(found.encode_flops_per_frame)),
        ("operations, reading a clip of 8 frames", _operations(found.prefill_flops_per_clip)),
        ("operations, writing a token behind it", _operations(found.decode_flops_per_token)),
        (
            "frame",
            f"{found.image_size}x{found.image_size} pixels, {found.visual_tokens} of {found.patches} tokens kept",
        ),
        ("context", f"{found.context} positions, about {found.frames} frames"),
    ]
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(f"{name:<{width}}  {text}", err=as_json)
    if as_json:
        print_json(found.as_json())


@model.command("average")
@click.argument("checkpoints", nargs=-1, required=True, metavar="CHECKPOINT CHECKPOINT...")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="For the new one.")
@click.option(
    "--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True, help="It is stored in."
)
@json_option
def average_command(checkpoints: tuple[str, ...], output: Path, dtype: str, as_json: bool) -> None:
    """Write a checkpoint whose weights are the mean of others, which were trained on from one another.

    \b
    Example:
      elysium model average first/model second/model third/model --output mean
    """
    import torch

    from elysium.model.average import average_checkpoints

    if output.exists():
        raise UsageError(f"{output} is there already; name another folder")
    count = average_checkpoints(checkpoints, output, getattr(torch, dtype))
    click.echo(f"the mean of {len(checkpoints)} checkpoints, {_count(count)} parameters, is in {output}", err=True)
    if as_json:
        print_json({"model": str(output), "parameters": count})


def _count(number: int) -> str:
    if number < 1e6:
        return f"{number:,}"
    return f"{number / 1e9:.2f} B" if number >= 1e9 else f"{number / 1e6:.2f} M"


def _size(size: int) -> str:
    return f"{size / _GIB:.1f} GiB" if size >= _GIB else f"{size / _MIB:.3g} MiB"


def _operations(number: int) -> str:
    unit, size = next(((unit, size) for unit, size in (("T", 1e12), ("G", 1e9)) if number >= size), ("M", 1e6))
    return f"{number / size:.3g} {unit}FLOP"


@click.command("convert")
@click.option("--from", "origin", type=click.Choice(["release"]), default=None, help="Read a checkpoint of this form.")
@click.option("--to", "target", type=click.Choice(["release"]), default=None, help="Write a checkpoint of this form.")
@click.option(
    "--vision-config", type=_EXISTING, metavar="PATH", help="config.json of the CLIP tower, where SRC does not tell."
)
@click.option(
    "--text-config", type=_EXISTING, metavar="PATH", help="config.json of the language model, where SRC does not tell."
)
@click.option("--tokenizer", type=_EXISTING, metavar="PATH", help="Tokenizer file or folder, where SRC has none.")
@click.option(
    "--max-shard-size",
    type=float,
    default=None,
    metavar="GB",
    help="Largest weight file in GB (10^9 bytes); by default they are divided as in SRC.",
)
@json_option
@click.argument("source", type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="SRC")
@click.argument("destination", type=click.Path(path_type=Path), metavar="DST")
def convert(
    origin: str | None,
    target: str | None,
    vision_config: Path | None,
    text_config: Path | None,
    tokenizer: Path | None,
    max_shard_size: float | None,
    as_json: bool,
    source: Path,
    destination: Path,
) -> None:
    """Convert a checkpoint of the official release, or make one of it.

    SRC is a folder with a checkpoint, DST a new folder. The published checkpoint holds no tokenizer: give that of its
    language model, Vicuna. Nothing is written before every tensor is accounted for.

    \b
    Example:
      elysium convert --from release elysium_7b models/elysium-7b --tokenizer vicuna-7b-v1.5/tokenizer.model
      elysium convert --to release models/elysium-7b elysium_7b_again
    """
    if (origin is None) == (target is None):
        raise UsageError("give exactly one of --from release and --to release")
    if target is not None and any((vision_config, text_config, tokenizer)):
        raise UsageError("--vision-config, --text-config and --tokenizer belong to --from release; SRC holds its own")
    if max_shard_size is not None and not max_shard_size > 0:
        raise UsageError(f"--max-shard-size must be above 0 GB, got {max_shard_size}")
    from elysium.model.release.convert import convert_from_release, convert_to_release

    max_shard_bytes = None if max_shard_size is None else int(max_shard_size * 1e9)
    with _shown() as progress:
        if origin is not None:
            done = convert_from_release(
                source,
                destination,
                vision_config=vision_config,
                text_config=text_config,
                tokenizer=tokenizer,
                max_shard_bytes=max_shard_bytes,
                progress=progress,
            )
        else:
            done = convert_to_release(source, destination, max_shard_bytes=max_shard_bytes, progress=progress)
    kinds = ", ".join(f"{count} {dtype}" for dtype, count in done.dtypes.items())
    click.echo(
        f"{done.destination}: {done.num_tensors} tensors ({kinds}), {done.num_bytes / 1e9:.2f} GB in {len(done.files)} "
        f"file{'s' if len(done.files) > 1 else ''}, {done.seconds:.1f} s",
        err=True,
    )
    if done.dropped:
        click.echo(f"left out, computed where needed ({len(done.dropped)}): {', '.join(done.dropped)}", err=True)
    for note in done.notes:
        click.echo(f"note: {note}", err=True)
    if as_json:
        print_json(done.to_dict())


@contextmanager
def _shown() -> Iterator[Callable[[int, int], None]]:
    """Yields what shows progress: a bar on a terminal, a line every tenth in a log."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("converting", total=None)
            yield lambda written, total: bar.update(task, completed=written, total=total)
        return
    tenth = 0

    def line(written: int, total: int) -> None:
        nonlocal tenth
        if total and written * 10 // total > tenth:
            tenth = written * 10 // total
            click.echo(f"{written / 1e9:.2f} of {total / 1e9:.2f} GB written", err=True)

    yield line
