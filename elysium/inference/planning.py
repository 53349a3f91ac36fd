"""What a run of `elysium track` is to do: which videos, what to follow in them, and which files it writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from elysium.errors import UsageError
from elysium.inference.sources import SourceSpec, source_name
from elysium.inference.tracks import Target
from elysium.inference.writers import ending_of, format_of

STDOUT = Path("-")


@dataclass(frozen=True)
class Output:
    """One result file.

    Attributes:
        path: The file; `-` is standard output.
        format: One of `elysium.inference.writers.FORMATS`.
    """

    path: Path
    format: str


@dataclass(frozen=True)
class Job:
    """One video, what to follow in it, and where the results go.

    Attributes:
        name: Tells it from the other jobs of the run.
        uri: Of the source.
        targets: At least one.
        outputs: At least one.
    """

    name: str
    uri: str
    targets: tuple[Target, ...]
    outputs: tuple[Output, ...]


def plan(
    specs: Sequence[SourceSpec], targets: Sequence[Target], outputs: Sequence[Path], formats: Sequence[str]
) -> list[Job]:
    """Returns the jobs of a run, checked before any work.

    Args:
        specs: The videos; targets of their own come instead of the common ones.
        targets: What to follow in those without any of their own.
        outputs: Files for one video; one folder for several; none is standard output.
        formats: Of the outputs, in order, where suffixes do not tell; in a folder, the files that each video gets.

    Raises:
        UsageError: If there is nothing to follow in a video, or the outputs do not fit the videos.
    """
    if len(specs) > 1 or (len(outputs) == 1 and outputs[0].is_dir()):
        places = _in_folder(specs, outputs, formats)
    else:
        places = [tuple(_files(outputs or [STDOUT], formats))]
    jobs = []
    for spec, name, place in zip(specs, _names(specs), places, strict=True):
        own = [Target(box=box) for box in spec.boxes] + [Target(expression=text) for text in spec.expressions]
        chosen = tuple(own or targets)
        if not chosen:
            raise UsageError(f"{spec.uri}: nothing to follow; name objects with --expression TEXT or --box X1,Y1,X2,Y2")
        jobs.append(Job(name, spec.uri, chosen, place))
    return jobs


def _in_folder(
    specs: Sequence[SourceSpec], outputs: Sequence[Path], formats: Sequence[str]
) -> list[tuple[Output, ...]]:
    if len(outputs) != 1:
        shown = f"{len(specs)} videos" if len(specs) > 1 else "a folder"
        raise UsageError(f"{shown} take one --output, a folder for their result files; got {len(outputs)}")
    folder = outputs[0]
    if str(folder) == "-" or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"--output {folder} is no folder, and there are {len(specs)} videos to write files of")
    kinds = list(formats) or ["jsonl"]
    endings = [ending_of(format_of(folder / "x", kind)) for kind in kinds]
    if len(set(endings)) < len(endings):
        raise UsageError(f"--format {' and '.join(kinds)} have files of the same name; ask for them in two runs")
    return [
        tuple(Output(folder / f"{name}{ending}", kind) for kind, ending in zip(kinds, endings, strict=True))
        for name in _names(specs)
    ]


def _files(outputs: Sequence[Path], formats: Sequence[str]) -> Iterator[Output]:
    if len(formats) > len(outputs):
        raise UsageError(f"there are {len(formats)} --format for {len(outputs)} --output")
    if len(set(outputs)) < len(outputs):
        raise UsageError("two --output have the same name")
    for path, wanted in zip(outputs, [*formats, *[None] * (len(outputs) - len(formats))], strict=True):
        yield Output(path, format_of(path, wanted))


def _names(specs: Sequence[SourceSpec]) -> list[str]:
    """Returns names for the files of videos; equal ones are numbered."""
    seen: dict[str, int] = {}
    names = []
    for spec in specs:
        name = source_name(spec.uri)
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return names
