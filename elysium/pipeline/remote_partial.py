"""Half-done work of a step on S3: copied there while the step runs, so that it can go on anywhere.

```
.partial/<step>/files-<part>.json    which files there were at one moment, and the objects that hold them
.partial/<step>/<part>/<sha256>      the objects; written before the list that names them
```
A part is what one process copies: `whole`, a share of the work, or a node. What is brought back is all parts' files; of
two of one name the newer list's. A list names objects of its own part alone, for nobody else knows when it needs them
no more; files that came from another part's list, and are still what they were, are left to that one.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from elysium.data.object_transfer import PART, download, inside, upload
from elysium.data.objects import Missing, ObjectStore
from elysium.errors import ElysiumError
from elysium.pipeline.remote_lease import WHOLE
from elysium.pipeline.workspace import KEY, MANIFEST, FileEntry, write_atomic

logger = logging.getLogger(__name__)

_LOOKS, _TRIES, _PAUSE = 20, 5, 0.1  # at a folder that changes, at lists that change, seconds between two
_CHUNK = 1 << 20
LIST, LEASE, _NODE = "files-", "lease-", "node-"

Concerns = Callable[[str], bool]


class PartialFile(BaseModel):
    """One file of half-done work, and the object that holds it, named below the step's place."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int
    sha256: str
    object: str


class Listing(BaseModel):
    """What one part consisted of at one moment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    key: str
    files: dict[str, PartialFile]


@dataclass(frozen=True)
class _Seen:
    """What tells whether a file is still the same."""

    inode: int
    size: int
    modified: int


class Partial:
    """The half-done work of one step, here and on S3, as one process sees it.

    Args:
        store: The workspace's.
        place: The step's place in it, ending in a slash.
        folder: The step's partial folder here.
        part: What this process copies.
        concerns: Which files concern this part; None is all.
    """

    def __init__(
        self, store: ObjectStore, place: str, folder: Path, part: str, concerns: Concerns | None = None
    ) -> None:
        self._store, self._place, self._folder, self._part = store, place, folder, part
        self._concerns = concerns
        self._there: dict[str, str] = {}  # checksum -> own object that holds it
        self._others: dict[str, str] = {}  # name -> checksum of what another part lists
        self._listed: dict[str, PartialFile] | None = None
        self._hashes: dict[str, tuple[_Seen, str]] = {}
        self._mine: set[str] = set()

    def bring(self, key: str, *, begun: bool) -> None:
        """Makes the folder what the newest lists say, unless it is that already or newer. Must come before `save`.

        Args:
            key: Of the step's settings and inputs; lists of another key are nobody's any more.
            begun: Whether the folder holds work of that key, left by an earlier attempt on this machine.

        Raises:
            ElysiumError: If S3 fails.
        """
        for left in reversed(range(_TRIES)):
            try:
                return self._bring(key, begun=begun, last=not left)
            except Missing as error:
                # Another node saves at this very moment, and has removed what it needs no more.
                if not left:
                    raise ElysiumError(
                        f"{error}: the saved work of this step changes all the time; run the step again"
                    ) from error
                threading.Event().wait(_PAUSE)

    def _bring(self, key: str, *, begun: bool, last: bool) -> None:
        names = self._store.listed(self._place)
        lists = {name: stored for name, stored in names.items() if name.startswith(f"{self._place}{LIST}")}
        found: dict[str, Listing] = {}
        for name in sorted(lists, key=lambda name: (lists[name].modified, name)):
            listing = _parsed(self._store.read(name))
            if listing is not None and listing.key == key:
                found[name] = listing
            elif self._owns(name.removeprefix(self._place)):
                self._store.remove([name])
        self._check_objects(found, names, last=last)
        self._take_note(names, found)
        known = self._known() if begun else {}
        newer = {name: listing for name, listing in found.items() if known.get(name) != listing.id}
        decisive = {self._list_name, *([] if self._concerns is None else [f"{self._place}{LIST}{WHOLE}.json"])}
        anew = not begun or not decisive.isdisjoint(newer)
        wanted: dict[str, PartialFile] = {}
        for listing in (found if anew else newer).values():
            wanted |= {name: file for name, file in listing.files.items() if self._is_ours(name)}
        if anew:
            # Another machine went on from what is here.
            self._remove_files(but=wanted)
        else:
            wanted = {name: file for name, file in wanted.items() if not (self._folder / name).exists()}
        if wanted:
            logger.info("going on with what was saved on %s: %d files", self._store.uri, len(wanted))
            self._fetch(wanted)
        self._remember({name: listing.id for name, listing in found.items()}, anew=not begun)

    def save(self, key: str) -> int | None:
        """Copies what is new in the folder.

        Returns:
            How many files are saved now; None if the folder changed while it was looked at, or is not there.

        Raises:
            ElysiumError: If S3 fails.
        """
        frozen = self._folder.with_name(f"{self._folder.name}.{self._part}.saving")
        shutil.rmtree(frozen, ignore_errors=True)
        try:
            taken = self._freeze(frozen)
            if taken is None:
                return None
            found = {name: self._file(name, seen, path) for name, (seen, path) in taken.items()}
            files = {name: file for name, file in found.items() if self._others.get(name) != file.sha256}
            if files == self._listed:
                return len(found)
            new = {
                f"{self._place}{file.object}": (taken[name][1], FileEntry(size=file.size, sha256=file.sha256))
                for name, file in files.items()
                if file.sha256 not in self._there
            }
            upload(self._store, new, {})
            for path, entry in new.values():
                # Only what is large was not read whole before it was sent: it may have been written again since.
                if entry.size > PART and _sha256(path, entry.size) != entry.sha256:
                    self._store.remove(name for name in new if name.endswith(entry.sha256))
                    return None
        except FileNotFoundError:
            return None
        finally:
            shutil.rmtree(frozen, ignore_errors=True)
        listing = Listing(id=uuid.uuid4().hex, key=key, files=files)
        self._store.write(self._list_name, listing.model_dump_json().encode())
        self._remember({self._list_name: listing.id})
        self._listed = files
        self._there |= {file.sha256: file.object for file in files.values()}
        self._mine |= {name.removeprefix(self._place) for name in new}
        self._remove_unlisted()
        return len(found)

    def _is_ours(self, name: str) -> bool:
        return self._concerns is None or self._concerns(name)

    def _owns(self, name: str) -> bool:
        """Returns whether a list or object, named below the place, is this process's to remove."""
        if self._part == WHOLE:
            # Who does the whole is alone, and takes shares over, but for the other nodes that train with it.
            return not name.startswith((LEASE, _NODE, f"{LIST}{_NODE}"))
        return name.startswith(f"{self._part}/") or name == f"{LIST}{self._part}.json"

    def _take_note(self, names: Mapping[str, object], found: dict[str, Listing]) -> None:
        """Notes which objects are there, and which of them are this process's to remove once it lists them no more."""
        own = found.get(self._list_name)
        self._listed = own.files if own is not None else None
        others = {name: listing for name, listing in found.items() if not self._owns(name.removeprefix(self._place))}
        self._others = {name: file.sha256 for listing in others.values() for name, file in listing.files.items()}
        objects = [name.removeprefix(self._place) for name in names]
        own_objects = [name for name in objects if self._owns(name) and not name.startswith(LIST)]
        self._there = {name.partition("/")[2]: name for name in own_objects}
        self._mine = set(own_objects) - {file.object for listing in others.values() for file in listing.files.values()}

    def _check_objects(self, found: dict[str, Listing], names: Container[str], *, last: bool) -> None:
        """Leaves out lists whose objects are not all there: nothing can go on from these.

        Raises:
            Missing: If there are such, and they may be there at another look.
        """
        for name, listing in list(found.items()):
            for file in listing.files.values():
                if f"{self._place}{file.object}" in names or self._store.exists(f"{self._place}{file.object}"):
                    continue
                if not last:
                    raise Missing(f"{self._store.uri}/{self._place}{file.object} does not exist")
                logger.warning("%s names what is not there, and is left out: %s", name, file.object)
                del found[name]
                break

    @property
    def _list_name(self) -> str:
        return f"{self._place}{LIST}{self._part}.json"

    @property
    def _notes(self) -> Path:
        return self._folder.with_name(f"{self._folder.name}.{self._part}.saved")

    def _known(self) -> dict[str, str]:
        """Returns by name the lists that this folder agreed with when this part last looked."""
        try:
            lines = self._notes.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return {}
        return {name: number for name, sign, number in (line.partition("\t") for line in lines) if sign}

    def _remember(self, lists: dict[str, str], *, anew: bool = False) -> None:
        known = ({} if anew else self._known()) | lists
        write_atomic(self._notes, "".join(f"{name}\t{number}\n" for name, number in sorted(known.items())))

    def _remove_files(self, but: Container[str]) -> None:
        for path in [path for path in self._folder.rglob("*") if path.is_file()]:
            name = path.relative_to(self._folder).as_posix()
            if name != KEY and name not in but and self._is_ours(name):
                path.unlink()

    def _fetch(self, wanted: dict[str, PartialFile]) -> None:
        by_object = {file.object: (inside(self._folder, name), file) for name, file in wanted.items()}
        download(self._store, {f"{self._place}{name}": item for name, item in by_object.items()})
        for name, file in wanted.items():
            source = by_object[file.object][0]
            if source != self._folder / name:
                (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, self._folder / name)

    def _freeze(self, frozen: Path) -> dict[str, tuple[_Seen, Path]] | None:
        """Returns the files that the folder holds at one moment, those that are new as links that nobody removes."""
        for _ in range(_LOOKS):
            before = self._look()
            taken = {}
            try:
                for name, seen in before.items():
                    known = self._hashes.get(name)
                    path = self._folder / name
                    if known is None or known[0] != seen:
                        path = _link(path, frozen / name)
                    taken[name] = (seen, path)
            except FileNotFoundError:
                pass
            else:
                after = self._look()
                if {name: seen.inode for name, seen in before.items()} == {n: s.inode for n, s in after.items()}:
                    return taken
            shutil.rmtree(frozen, ignore_errors=True)
            threading.Event().wait(_PAUSE)
        return None

    def _look(self) -> dict[str, _Seen]:
        found = {}
        for folder, _, names in os.walk(self._folder):
            for name in names:
                path = Path(folder, name)
                relative = path.relative_to(self._folder).as_posix()
                if relative in (MANIFEST, KEY) or relative.endswith(".part") or not self._is_ours(relative):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    found[relative] = _seen(path)
        return found

    def _file(self, name: str, seen: _Seen, path: Path) -> PartialFile:
        known = self._hashes.get(name)
        if known is None or known[0] != seen:
            self._hashes[name] = known = (seen, _sha256(path, seen.size))
        digest = known[1]
        return PartialFile(size=seen.size, sha256=digest, object=self._there.get(digest, f"{self._part}/{digest}"))

    def _remove_unlisted(self) -> None:
        """Removes what this process copied and no longer lists."""
        if self._part == WHOLE:
            # What was done in shares is listed here now.
            lists = self._store.listed(f"{self._place}{LIST}")
            gone = [name for name in lists if name != self._list_name and self._owns(name.removeprefix(self._place))]
            self._store.remove(gone)
        listed = {file.object for file in (self._listed or {}).values()}
        gone = sorted(self._mine - listed)
        self._store.remove(f"{self._place}{name}" for name in gone)
        self._mine.difference_update(gone)
        self._there = {digest: name for digest, name in self._there.items() if name not in gone}


def node_part(node: int) -> str:
    """Names the part that a node other than the first copies."""
    return f"{_NODE}{node}"


def forget(store: ObjectStore, place: str, key: str, node: int = 0) -> None:
    """Removes what is left of half-done work when the step is finished; that of other settings or inputs stays.

    Args:
        store: The workspace's.
        place: The step's place in it, ending in a slash.
        key: Of the finished step.
        node: Which of several nodes this is; any but the first removes its own alone.
    """
    part = node_part(node)
    own = (f"{place}{part}/", f"{place}{LIST}{part}.json") if node else (place,)
    names = [name for name in store.listed(place) if name.startswith(own) and f"/{LEASE}" not in name]
    kept = set()
    for name in [name for name in names if name.startswith(f"{place}{LIST}")]:
        listing = _parsed(store.read(name))
        if listing is not None and listing.key != key:
            kept |= {name, *(f"{place}{file.object}" for file in listing.files.values())}
    gone = [name for name in names if name not in kept]
    store.remove(sorted(gone, key=lambda name: f"/{LIST}" not in name))  # first what names the others


def _parsed(content: bytes | None) -> Listing | None:
    try:
        return None if content is None else Listing.model_validate_json(content)
    except ValidationError:
        return None


def _seen(path: Path) -> _Seen:
    found = path.stat()
    return _Seen(found.st_ino, found.st_size, found.st_mtime_ns)


def _link(path: Path, target: Path) -> Path:
    """Returns a second name of a file; its content where the file system has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(path, target)
    return target


def _sha256(path: Path, size: int) -> str:
    """Returns the SHA-256 of a file's first bytes: it may grow meanwhile."""
    digest, left = hashlib.sha256(), size
    with path.open("rb") as file:
        while left and (chunk := file.read(min(_CHUNK, left))):
            digest.update(chunk)
            left -= len(chunk)
    if left:
        raise FileNotFoundError(path)
    return digest.hexdigest()
