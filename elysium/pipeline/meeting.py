"""How the nodes that do one step together find each other, and know of each other for as long as it takes.

The first node listens where `ELYSIUM_RENDEZVOUS` says, and each other one keeps a connection to it: words go over it,
a line of JSON each, and its end says that a node is gone, however it went.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from elysium.errors import ElysiumError, UsageError

RENDEZVOUS, SECONDS, INDEX = "ELYSIUM_RENDEZVOUS", "ELYSIUM_RENDEZVOUS_SECONDS", "JOB_COMPLETION_INDEX"
# Longer than the longest pause that Kubernetes makes before it starts a failed pod again, which is six minutes.
_PATIENCE = 900.0
_BETWEEN = 1.0  # seconds between two attempts to reach the first node
_LONGEST_WORD = 1 << 16
# A machine that went without a word is missed after about a minute: (seconds of silence, between questions, questions).
_KEEP_ALIVE = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 4}

Word = dict[str, Any]


@dataclass(frozen=True)
class Node:
    """Which of the nodes this is, and where all meet.

    Attributes:
        index: From 0; the first one decides, writes and publishes.
        count: How many there are.
        host: Of the first one, as the others reach it.
        port: Where it listens.
        seconds: How long each waits for the others.
    """

    index: int
    count: int
    host: str
    port: int
    seconds: float = _PATIENCE

    @classmethod
    def here(cls, count: int, index: int | None = None) -> Node:
        """Returns this node, as the environment says.

        Args:
            count: How many there are.
            index: Which one this is; None takes `JOB_COMPLETION_INDEX`, which Kubernetes sets.

        Raises:
            UsageError: If the environment does not say it, or says what cannot be.
        """
        text = os.environ.get(INDEX, "") if index is None else str(index)
        if not text.isdigit() or int(text) >= count:
            raise UsageError(f"--node, or {INDEX}, is 0 to {count - 1} where --nodes is {count}, got {text!r}")
        where, patience = os.environ.get(RENDEZVOUS, ""), os.environ.get(SECONDS, str(_PATIENCE))
        host, _, port = where.rpartition(":")
        if not (host and port.isdigit() and 0 < int(port) < 1 << 16):
            raise UsageError(f"{RENDEZVOUS} says where nodes meet, as HOST:PORT of the first one; got {where!r}")
        if not patience.isdigit() and patience != str(_PATIENCE):
            raise UsageError(f"{SECONDS} is a whole number of seconds, got {patience!r}")
        return cls(int(text), count, host, int(port), float(patience))

    @property
    def place(self) -> str:
        """Where all meet, for people."""
        return f"{self.host}:{self.port}"


class Meeting:
    """The other nodes, as this one hears and tells them: the part that is the same on all.

    Args:
        node: Which one this is.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        # What all must have in common before they begin: the digest of what the step makes.
        self.key = ""
        self._wires: dict[int, _Wire] = {}

    def __enter__(self) -> Meeting:
        return self

    def __exit__(self, *_: object) -> None:
        for wire in self._wires.values():
            wire.socket.close()

    def meet(self, processes: int) -> int:
        """Returns when all nodes are here.

        Args:
            processes: How many this node trains with; all must have the same number.

        Returns:
            A port of the first node's, for whatever they do next.

        Raises:
            UsageError: If the nodes do not fit together.
            ElysiumError: If they are not all here in time.
        """
        raise NotImplementedError

    def tell(self, **word: Any) -> None:
        """Says something to all; one who has gone does not hear it."""
        for wire in self._wires.values():
            with contextlib.suppress(OSError):
                wire.send(word)

    def sockets(self) -> list[socket.socket]:
        """Returns what becomes readable when there is something to hear."""
        return [wire.socket for wire in self._wires.values()]

    def hear(self, seconds: float | None = 0.0) -> Word | None:
        """Returns the next word of a node, or None if there is none in time, or nobody left to say one.

        A node that has gone without a word is one too, as what it would have said of a failure.

        Args:
            seconds: How long to wait; None waits as long as it takes.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            for index, wire in list(self._wires.items()):
                if wire.words:
                    word = wire.words.pop(0)
                    # One that fails, or saves and ends, goes without another.
                    if "report" in word:
                        self._drop(index)
                    return word
                if wire.ended:
                    self._drop(index)
                    return _lost(index, wire.name)
            if not self._wires:
                return None
            left = None if deadline is None else deadline - time.monotonic()
            ready, _, _ = select.select(self.sockets(), [], [], None if left is None else max(left, 0))
            if not ready:
                return None
            for wire in self._wires.values():
                if wire.socket in ready:
                    wire.read()
            self._look(ready)

    def _look(self, ready: list[socket.socket]) -> None:
        """Takes what comes from elsewhere than from nodes that are here."""

    def _drop(self, index: int) -> None:
        self._wires.pop(index).socket.close()


class FirstNode(Meeting):
    """The first node: all others come to it."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._strangers: list[_Wire] = []
        try:
            # Both kinds of addresses where there are both, as pods may have either.
            self._listener = socket.create_server(
                ("", node.port),
                family=socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET,
                dualstack_ipv6=socket.has_dualstack_ipv6(),
                backlog=node.count,
            )
        except OSError as error:
            raise ElysiumError(
                f"node 0 cannot listen on port {node.port}: {error.strerror}; {RENDEZVOUS} names another"
            ) from error

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        for opened in self.sockets():
            opened.close()

    def meet(self, processes: int) -> int:
        """As of any: waits for the others, and checks that they are to do the same."""
        deadline = time.monotonic() + self.node.seconds
        while len(self._wires) < self.node.count - 1:
            ready, _, _ = select.select(self.sockets(), [], [], max(deadline - time.monotonic(), 0))
            if not ready:
                missing = [index for index in range(1, self.node.count) if index not in self._wires]
                raise ElysiumError(
                    f"node{'s' * (len(missing) > 1)} {', '.join(map(str, missing))} did not come to {self.node.place} "
                    f"within {self.node.seconds:.0f} s: look whether their pods run, and reach this one"
                )
            for index, wire in list(self._wires.items()):
                if wire.socket in ready and not wire.read():
                    self._drop(index)  # It comes again, or is missed.
            for index, hello, wire in self._arrivals(ready):
                if index in self._wires:
                    self._drop(index)
                self._wires[index] = wire
                self._check(index, hello, processes)
        with socket.create_server(("", 0)) as free:
            port: int = free.getsockname()[1]
        self.tell(go=port)
        return port

    def tell(self, **word: Any) -> None:
        """As of any; of a failure also those who have only knocked."""
        if "report" in word:
            # They need not wait for their time to be over.
            while self._listener in select.select([self._listener], [], [], 0)[0]:
                self._strangers.append(_Wire(self._listener.accept()[0]))
            for wire in self._strangers:
                with contextlib.suppress(OSError):
                    wire.send(word)
        super().tell(**word)

    def sockets(self) -> list[socket.socket]:
        """As of any; and those at which others come."""
        return [*super().sockets(), self._listener, *(wire.socket for wire in self._strangers)]

    def _look(self, ready: list[socket.socket]) -> None:
        # Its earlier self may have gone with its machine, without a word.
        for index, _, wire in self._arrivals(ready):
            wire.socket.close()
            if index in self._wires:
                self._wires[index].ended = True

    def _arrivals(self, ready: list[socket.socket]) -> Iterator[tuple[int, Word, _Wire]]:
        """Yields who has said hello; whoever says anything else is sent away."""
        if self._listener in ready:
            self._strangers.append(_Wire(self._listener.accept()[0]))
        for wire in list(self._strangers):
            if wire.socket in ready and not wire.read():
                self._strangers.remove(wire)
                wire.socket.close()
            elif wire.words:
                self._strangers.remove(wire)
                hello = wire.words.pop(0)
                index = hello.get("node")
                if isinstance(index, int) and 0 < index < self.node.count:
                    wire.name = str(hello.get("host", "?"))
                    yield index, hello, wire
                else:
                    wire.socket.close()

    def _check(self, index: int, hello: Word, processes: int) -> None:
        if hello.get("key") != self.key:
            differ = "other settings or inputs than node 0"
        elif hello.get("processes") != processes:
            differ = f"{hello.get('processes')} GPUs or processes, and node 0 has {processes}"
        else:
            return
        raise UsageError(
            f"node {index} ({self._wires[index].name}) has {differ}; all nodes run the same command, on "
            "machines of one kind"
        )


class OtherNode(Meeting):
    """Any node but the first.

    Args:
        node: Which one this is.
        finished: Tells whether there is nothing to do any more.
        join: Called when all have met, before this node begins.
    """

    def __init__(self, node: Node, finished: Callable[[], bool], join: Callable[[], None] = lambda: None) -> None:
        super().__init__(node)
        self._finished, self._join = finished, join

    def meet(self, processes: int) -> int:
        """As of any: goes to the first node, again and again until it is there and all others are.

        Raises:
            Finished: If there is nothing to do any more.
        """
        deadline = time.monotonic() + self.node.seconds
        problem = "it did not answer"
        while time.monotonic() < deadline:
            if self._finished():
                raise Finished
            try:
                reached = socket.create_connection((self.node.host, self.node.port), timeout=_BETWEEN * 5)
            except OSError as error:
                problem = error.strerror or str(error)
                time.sleep(_BETWEEN)
                continue
            self._wires[0] = _Wire(reached, "first")
            hello = {"node": self.node.index, "key": self.key, "processes": processes, "host": socket.gethostname()}
            self.tell(**hello)
            word = self.hear(deadline - time.monotonic())
            if word is None:
                problem = "it still waits for other nodes"
                break
            if "go" in word:
                self._join()
                return int(word["go"])
            if not word["report"].get("lost"):
                raise failure(word["report"])
            problem = "it ended while nodes were meeting"
            time.sleep(_BETWEEN)
        raise ElysiumError(
            f"node 0 did not begin at {self.node.place} within {self.node.seconds:.0f} s: {problem}; look whether its "
            "pod runs, and can be reached"
        )


class Finished(Exception):
    """The step was finished while a node waited to begin."""


def failure(report: Word) -> ElysiumError:
    """Returns the error that a report of a failure tells of."""
    code = int(report["exit_code"])
    error = UsageError(report["message"]) if code == UsageError.exit_code else ElysiumError(report["message"])
    error.exit_code = code
    return error


class _Wire:
    """A connection, and what came over it."""

    def __init__(self, connected: socket.socket, name: str = "") -> None:
        self.socket = connected
        self.name = name
        self.words: list[Word] = []
        self.ended = False
        self._begun = b""
        connected.settimeout(None)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEP_ALIVE.items():
            if hasattr(socket, option):
                connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

    def send(self, word: Word) -> None:
        self.socket.sendall(json.dumps(word).encode() + b"\n")

    def read(self) -> bool:
        """Takes what is there; returns False if the connection has ended, or what came is no word."""
        try:
            received = self.socket.recv(_LONGEST_WORD)
            *whole, self._begun = (self._begun + received).split(b"\n")
            self.words += [word for word in map(json.loads, whole) if isinstance(word, dict)]
        except (OSError, ValueError):
            received = b""
        self.ended = not received or len(self._begun) > _LONGEST_WORD
        return not self.ended


def _lost(index: int, name: str) -> Word:
    who = "node 0" if index == 0 else f"node {index} ({name})"
    message = f"{who} was lost; run it again on all nodes to go on from the newest checkpoint"
    return {"report": {"message": message, "exit_code": 1, "end_others": True, "lost": True}}
