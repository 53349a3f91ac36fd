"""What judges said, on disk: a file that only grows, and that a kill at any moment cannot harm.

Each line is one answer as JSON, on the disk before the next question counts as asked. A line cut short by a kill is
cut off on opening; a damaged one is passed over, and its question asked again. Of two answers to one question the later
counts.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from elysium.errors import ElysiumError, UsageError
from elysium.evaluation.videoqa.judges import JudgeIdentity
from elysium.evaluation.videoqa.prompt import JudgePrompt, Says

logger = logging.getLogger(__name__)


class StoredAnswer(BaseModel):
    """What a judge said of one question, or that it could not be read.

    Attributes:
        key: Of the question; see `answer_key`.
        model: What the judge called itself.
        prompt: Version of the wording.
        says: None where no reply could be read.
        score: 0 to 5, likewise.
        reason: If the judge gave one.
        reply: The last reply, cut to a readable length.
        prompt_tokens: Of all replies to this question.
        completion_tokens: Likewise.
        counted: Whether the judge counted the tokens; else they are an upper bound.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    key: str = Field(pattern="^[0-9a-f]{64}$")
    model: str
    prompt: str
    says: Says | None
    score: int | None = Field(ge=0, le=5)
    reason: str | None = None
    reply: str
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)
    counted: bool = True

    @model_validator(mode="after")
    def _fits_together(self) -> StoredAnswer:
        if (self.says is None) != (self.score is None):
            raise ValueError(f"says and score go together, got {self.says!r} and {self.score!r}")
        return self


def answer_key(judge: JudgeIdentity, prompt: JudgePrompt, question: str, answer: str, prediction: str) -> str:
    """Returns what tells one answer of a judge from all others: SHA-256 of judge, prompt, temperature and the texts.

    The judge is its backend and the name it was asked for by: the same model at another address is the same judge.
    """
    parts = [judge.backend, judge.model, judge.temperature, prompt.version, prompt.digest, question, answer, prediction]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class JudgeCache:
    """The answers in one file, for one process at a time; made by `JudgeCache.open`.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file
        self._lock = threading.Lock()
        self._answers: dict[str, StoredAnswer] = {}

    @classmethod
    def open(cls, path: Path) -> JudgeCache:
        """Opens the file, made where there is none, and reads it.

        Raises:
            UsageError: If another process has it open, or it cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("ab").close()  # makes it without emptying it
            file = path.open("r+b")
        except OSError as error:
            raise UsageError(f"the judge's answers cannot be kept in {path}: {error.strerror or error}") from error
        try:
            with contextlib.suppress(OSError):  # a file system without locks
                _lock(file, path)
            cache = cls(path, file)
            cache._read()
        except BaseException:
            file.close()
            raise
        return cache

    def __enter__(self) -> JudgeCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, key: str) -> StoredAnswer | None:
        """Returns what is known of a question."""
        return self._answers.get(key)

    def add(self, answer: StoredAnswer) -> None:
        """Keeps an answer; when this returns, it outlasts a kill and a power cut.

        Raises:
            ElysiumError: If the disk is full or the file cannot be written; the answers before stay whole.
        """
        line = answer.model_dump_json().encode() + b"\n"
        with self._lock:
            end = self._file.tell()
            try:
                self._file.write(line)
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                with contextlib.suppress(OSError):
                    self._file.seek(end)
                    self._file.truncate()
                raise ElysiumError(
                    f"the judge's answers cannot be kept in {self.path}: {error.strerror or error}; run again to go on"
                ) from error
            self._answers[answer.key] = answer

    def close(self) -> None:
        """Lets go of the file; may be called twice."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _read(self) -> None:
        """Reads all whole lines, and cuts off what follows them."""
        damaged, end = 0, 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            end += len(line)
            try:
                answer = StoredAnswer.model_validate_json(line)
            except ValidationError:
                damaged += 1
                continue
            self._answers[answer.key] = answer
        if damaged:
            logger.warning("%s: %d damaged lines are passed over; what they held is asked again", self.path, damaged)
        self._file.seek(end)
        self._file.truncate()


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(f"another process keeps answers in {path}; wait for it, or name another file") from None
