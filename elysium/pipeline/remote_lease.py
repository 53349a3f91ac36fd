"""Who runs a step of a workspace on S3: a lease object with its owner, written again and again while the owner lives.

Not every server can write an object on condition that it is not there (Swift answers NotImplemented). So a lease is
written, and read again a moment later: of several that wrote at once, the last one has it. The others, and an owner
that was cut off for so long that another one took over, learn it at the next beat.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from elysium.data.objects import ObjectStore
from elysium.errors import ElysiumError

logger = logging.getLogger(__name__)

WHOLE = "whole"


@dataclass(frozen=True)
class Rhythm:
    """How leases are kept, in seconds.

    Attributes:
        beat: Between two writes of a living owner.
        lifetime: After which a lease that was not written again is a dead owner's.
        settle: Between writing a lease and reading it again, where the server knows no conditions.
        poll: Between two looks at a lease that may be a dead owner's.
    """

    beat: float = 10
    lifetime: float = 45
    settle: float = 1
    poll: float = 2


class Lease:
    """A step, or a share of it, held on S3.

    Attributes:
        lost: Set when another process has taken the step over.
    """

    def __init__(self, store: ObjectStore, place: str, part: str, machine: str, rhythm: Rhythm | None = None) -> None:
        """Holds nothing yet.

        Args:
            store: The workspace's.
            place: What the names of the step's leases begin with.
            part: `whole`, which keeps all others out, or a share's name, which keeps out that share and the whole.
            machine: Names the scratch folder, which only one process at a time uses for this part: a lease of the same
                one is a dead owner's.
            rhythm: How leases are kept.
        """
        self.lost = threading.Event()
        self._store, self._place, self._part, self._machine = store, place, part, machine
        self._rhythm = rhythm or Rhythm()
        self._owner = uuid.uuid4().hex
        self._beats = 0
        self._ended = threading.Event()

    @contextlib.contextmanager
    def held(self) -> Iterator[Lease]:
        """Holds the lease; a dead owner's is waited out.

        Raises:
            BlockingIOError: If a living process holds one that keeps this one out.
            ElysiumError: If the server fails.
        """
        self._take()
        thread = threading.Thread(target=self._keep, name="elysium-lease", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()
            if self.is_mine():
                self._store.remove([self._name])

    def is_mine(self) -> bool:
        """Asks the server whether this process still holds it."""
        if self.lost.is_set():
            return False
        if _owner(self._store.read(self._name)) != self._owner:
            self.lost.set()
        return not self.lost.is_set()

    @property
    def _name(self) -> str:
        return f"{self._place}{self._part}.json"

    def _take(self) -> None:
        self._wait_for_others()
        written = self._store.write_new(self._name, self._content())
        if written is False:
            # Another one was faster, or a dead owner's is there.
            self._wait_for_others()
        if not written:
            self._store.write(self._name, self._content())
            time.sleep(self._rhythm.settle)
        if not self.is_mine():
            raise BlockingIOError
        # Who takes the whole and who takes a share at the same moment see each other now.
        others = [name for name in self._in_the_way() if name != self._name]
        if others:
            self._store.remove([self._name])
            self._wait_for_others()
            self._take()

    def _wait_for_others(self) -> None:
        """Returns when no living owner's lease is in the way; those of dead ones are removed.

        Raises:
            BlockingIOError: If one is written again while this waits.
        """
        seen: dict[str, str] = {}
        told = False
        while waiting := self._in_the_way():
            for name, content in waiting.items():
                if seen.setdefault(name, content) != content:
                    raise BlockingIOError
            if not told:
                logger.warning(
                    "%s: an earlier attempt on another machine has not said that it ended; waiting up to %.0f s for it",
                    self._store.uri,
                    self._rhythm.lifetime,
                )
                told = True
            time.sleep(self._rhythm.poll)

    def _in_the_way(self) -> dict[str, str]:
        """Returns the leases that may be a living owner's and keep this one out, with what they hold."""
        found = {}
        for name, stored in self._store.listed(self._place).items():
            part = name.removeprefix(self._place).removesuffix(".json")
            if WHOLE not in (part, self._part) and part != self._part:
                continue
            content = self._store.read(name)
            if content is None or _owner(content) == self._owner:
                continue
            if part == self._part and _field(content, "machine") == self._machine:
                continue
            # The server's time: no clock of a machine decides who is dead.
            if (self._store.time - stored.modified).total_seconds() > self._rhythm.lifetime:
                logger.warning("taking over from %s, which stopped without a word", _field(content, "host"))
                self._store.remove([name])
                continue
            found[name] = content.decode()
        return found

    def _content(self) -> bytes:
        self._beats += 1
        said = {
            "owner": self._owner,
            "machine": self._machine,
            "host": platform.node(),
            "process": os.getpid(),
            "beats": self._beats,
        }
        return json.dumps(said).encode()

    def _keep(self) -> None:
        while not self._ended.wait(self._rhythm.beat):
            try:
                if not self.is_mine():
                    logger.error("another process has taken the step over; this one ends")
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
                self._store.write(self._name, self._content())
            except ElysiumError as error:
                # Work goes on; whether the step is still this process's is asked before anything is published.
                logger.warning("the lease could not be renewed: %s", error)


def _owner(content: bytes | None) -> str:
    return "" if content is None else _field(content, "owner")


def _field(content: bytes, name: str) -> str:
    try:
        return str(json.loads(content)[name])
    except (ValueError, KeyError, TypeError):
        return ""
