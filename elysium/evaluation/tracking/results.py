"""Trackers' result files: where they lie, in folders or archives, and which sequence each belongs to."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from elysium.errors import UsageError
from elysium.evaluation.tracking.rows import read_bytes

_TARGET = re.compile(r"groundtruth_rect\.(\d+)\.txt")
# GOT-10k's `<sequence>/<sequence>_001.txt` and its further repetitions.
_REPETITION = re.compile(r"(.+)_(\d{3})")
_TIMES = ("_time", "_times", "_confidence", "_object_presence_scores")
# pytracking calls the sequences of these sets so.
_PREFIXES = ("uav_", "nfs_")
_MAX_MEMBER = 1 << 28


@dataclass(frozen=True)
class ResultFile:
    """One file of boxes.

    Attributes:
        where: Its path, for messages; of a member of an archive both names.
        path: The file, or the archive.
        member: Name in the archive.
    """

    where: str
    path: Path
    member: str | None = None

    def read(self) -> bytes:
        """Returns the content.

        Raises:
            UsageError: If it cannot be read.
        """
        if self.member is None:
            return read_bytes(self.path)
        try:
            with zipfile.ZipFile(self.path) as archive:
                if archive.getinfo(self.member).file_size > _MAX_MEMBER:
                    raise UsageError(f"{self.where} is no result file: it is larger than {_MAX_MEMBER >> 20} MiB")
                return archive.read(self.member)
        except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise UsageError(f"{self.where} cannot be read: {error}") from error


def find_files(place: Path) -> dict[str, ResultFile]:
    """Returns sequence name to file, for flat folders, the sets' own layouts, GOT-10k's results and zip archives.

    Args:
        place: A folder with `<sequence>.txt`; `<sequence>/groundtruth.txt` or `<sequence>/groundtruth_rect.txt`, also
            below a class folder (of two targets `groundtruth_rect.1.txt` and `groundtruth_rect.2.txt`, which are the
            sequences `<sequence>-1` and `<sequence>-2`); or `<sequence>/<sequence>_001.txt`; or an archive of such.

    Raises:
        UsageError: If it is neither a folder nor an archive, or holds a sequence twice.
    """
    found: dict[str, ResultFile] = {}
    for name, file in _named(place):
        if name in found:
            raise UsageError(f"{place} holds the sequence {name} twice: {found[name].where} and {file.where}")
        found[name] = file
    return found


def find_below(folder: Path, pattern: str) -> list[Path]:
    """Returns the files of a set's annotations: as deep as sets have them, and only if there are none, anywhere."""
    # Sets hold their images a level below; looking through them takes longer than all else.
    found = [path for depth in ("", "*/", "*/*/") for path in folder.glob(depth + pattern)]
    return sorted(found) or sorted(folder.rglob(pattern))


def match_names(
    files: dict[str, ResultFile], sequences: Collection[str], loose: bool
) -> tuple[dict[str, ResultFile], tuple[str, ...]]:
    """Returns the files under the sequences' own names, and the names of files that belong to none.

    Args:
        files: By the names they have.
        sequences: Names of the set.
        loose: Whether case, `_` or `-`, and pytracking's prefixes do not matter, as trackers write names as they like
            (`skating2_1` for `Skating2-1`).

    Raises:
        UsageError: If two files belong to one sequence.
    """
    spelling = {_key(name): name for name in sequences} if loose else {}
    if loose:
        # Human4 of OTB has two truth files, of which the first is empty.
        spelling.setdefault("human4-2" if "human4" in spelling else "human4", spelling.get("human4", "Human4-2"))
    matched: dict[str, ResultFile] = {}
    unused = []
    for name, file in files.items():
        spelled = name if name in sequences else spelling.get(_key(name), name)
        if spelled not in sequences:
            unused.append(name)
        elif spelled in matched:
            raise UsageError(f"{file.where} and {matched[spelled].where} are both results of the sequence {spelled}")
        else:
            matched[spelled] = file
    return matched, tuple(sorted(unused))


def _named(place: Path) -> Iterable[tuple[str, ResultFile]]:
    files = _archive_files(place) if place.is_file() else _folder_files(place)
    names = {path for path, _ in files}
    # A single sequence's own folder holds flags and sentences beside its truth.
    alone = any(len(path.parts) == 1 and path.stem.startswith("groundtruth") for path in names)
    for path, file in files:
        folder, stem = path.parent.name or place.resolve().name, path.stem
        target = _TARGET.fullmatch(path.name)
        if target:
            yield f"{folder}-{target[1]}", file
        elif stem.startswith("groundtruth"):
            yield folder, file
        elif _is_time(path, names):
            continue
        elif (repetition := _REPETITION.fullmatch(stem)) and repetition[1] == folder:
            if repetition[2] == "001":
                yield folder, file
        elif not alone and (len(path.parts) == 1 or place.is_file()):
            yield stem, file


def _is_time(path: PurePosixPath, names: Collection[PurePosixPath]) -> bool:
    """Returns whether a file holds the times or confidences of a result file beside it."""
    for ending in _TIMES:
        if path.stem.endswith(ending):
            base = path.stem.removesuffix(ending)
            return any(path.with_name(f"{base}{tail}.txt") in names for tail in ("", "_001"))
    return False


def _folder_files(folder: Path) -> list[tuple[PurePosixPath, ResultFile]]:
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    wanted = {*find_below(folder, "groundtruth*.txt"), *folder.glob("*.txt"), *folder.glob("*/*_[0-9][0-9][0-9].txt")}
    return [
        (PurePosixPath(path.relative_to(folder)), ResultFile(str(path), path))
        for path in sorted(wanted)
        if not (_TARGET.fullmatch(path.name) and not path.stat().st_size) and not path.name.startswith(".")
    ]


def _archive_files(path: Path) -> list[tuple[PurePosixPath, ResultFile]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.endswith(".txt") and "__MACOSX" not in name]
    except (OSError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} is neither a folder nor a zip archive: {error}") from error
    return [(PurePosixPath(name), ResultFile(f"{path}:{name}", path, name)) for name in sorted(members)]


def _key(name: str) -> str:
    key = name.casefold()
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    return key.replace("_", "-")
