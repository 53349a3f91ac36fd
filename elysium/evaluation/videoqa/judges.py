"""Who judges: the seam between the protocol and an endpoint or a local model."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from elysium.errors import ElysiumError, UsageError
from elysium.evaluation.videoqa.prompt import Conversation

CHECK: Conversation = (("user", "Reply with the word yes."),)


class JudgeError(ElysiumError):
    """A judge that does not answer any more; what it said so far is kept, and the run can be gone on with."""


class JudgeRefused(JudgeError, UsageError):
    """A judge that will not answer as it is asked: a wrong key, model, address or setting."""


class JudgeIdentity(BaseModel):
    """Who was asked, and how.

    Attributes:
        backend: `endpoint` or `local`.
        model: The name as it was asked for.
        temperature: 0 is the likeliest answer; None leaves it to the server.
        url: Of the endpoint, without what may be secret in it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    backend: Literal["endpoint", "local"]
    model: str
    temperature: float | None = 0.0
    url: str | None = None


@dataclass(frozen=True)
class Reply:
    """One answer.

    Attributes:
        text: What the judge wrote; empty where it wrote nothing.
        model: What the judge calls itself.
        prompt_tokens: Read for this answer.
        completion_tokens: Written.
        counted: Whether the judge counted these tokens; else they are an upper bound.
    """

    text: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    counted: bool = True


@dataclass(frozen=True)
class Declined:
    """One question that the judge would not take, as it is too long or filtered; others may be answered."""

    reason: str


class Judge(Protocol):
    """Answers short questions: the seam between the protocol and whoever judges.

    Attributes:
        identity: Who it is.
        max_tokens: Longest answer.
        batch_size: How many questions `ask` takes best.
        num_workers: How many threads may call `ask` at once.
    """

    identity: JudgeIdentity
    max_tokens: int
    batch_size: int
    num_workers: int

    def check(self) -> str:
        """Asks one cheap question, and returns what the judge calls itself.

        Raises:
            JudgeError: If it cannot be reached.
            JudgeRefused: If key, model, address or a setting is wrong.
        """

    def ask(self, conversations: Sequence[Conversation], stop: threading.Event) -> list[Reply | Declined]:
        """Returns one answer a conversation, in order.

        Args:
            conversations: Each ends with a message of the user.
            stop: Set when the answers are not wanted any more: then no further attempt is made.

        Raises:
            JudgeError: As `check`.
        """

    def close(self) -> None:
        """Lets go of connections and memory; may be called twice."""


@dataclass(frozen=True)
class JudgeOptions:
    """Which judge, and how it is asked.

    Attributes:
        model: Name at the endpoint; without `url` a folder, or `OWNER/NAME[@REVISION]` on the Hugging Face hub.
        url: Base address of an OpenAI-compatible endpoint, for example `http://localhost:8000/v1`; None loads the model
            here. The key comes from the environment: see `endpoint.read_key`.
        temperature: None leaves it to the server, as some models demand. A local model has 0.
        max_tokens: Longest answer; models that think first need more.
        timeout: Seconds without any answer after which an attempt at an endpoint is given up.
        attempts: How often one question is tried at most.
        backoff: Seconds before the second attempt, doubled with each further one, and each between half and all of it.
        max_wait: Longest pause in seconds that an endpoint may ask for, or that doubling leads to.
        requests_per_minute: Most requests to an endpoint; None sets no limit.
        concurrent: Most requests to an endpoint at once.
        device: Of a local model, as torch names it, or `auto`.
        dtype: Of a local model: `auto`, `float32`, `bfloat16`, `float16`.
        batch_size: Questions that a local model answers together.
    """

    model: str
    url: str | None = None
    temperature: float | None = 0.0
    max_tokens: int = 256
    timeout: float = 60.0
    attempts: int = 6
    backoff: float = 1.0
    max_wait: float = 120.0
    requests_per_minute: float | None = None
    concurrent: int = 8
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int = 8

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise UsageError("the judge needs a name (--judge-model)")
        for name in ("max_tokens", "timeout", "attempts", "concurrent", "batch_size"):
            if not getattr(self, name) > 0:
                raise UsageError(f"the judge's {name} is more than 0, got {getattr(self, name)}")
        for name in ("backoff", "max_wait", "temperature"):
            if getattr(self, name) is not None and not getattr(self, name) >= 0:
                raise UsageError(f"the judge's {name} is 0 or more, got {getattr(self, name)}")
        if self.requests_per_minute is not None and not self.requests_per_minute > 0:
            raise UsageError(f"the judge's requests_per_minute is more than 0, got {self.requests_per_minute}")


def open_judge(options: JudgeOptions, home: Path = Path("runs")) -> Judge:
    """Returns the judge that the options name; an endpoint is not asked anything yet (see `Judge.check`).

    Args:
        options: With `url` an endpoint, else a local model.
        home: The folder with the local registry, for a local model.

    Raises:
        UsageError: If the address is none, or there is no such model here.
        ElysiumError: If a local model cannot be fetched, or a package is missing.
    """
    if options.url is not None:
        from elysium.evaluation.videoqa.endpoint import EndpointJudge

        return EndpointJudge(options)
    from elysium.evaluation.videoqa.local_judge import LocalJudge

    return LocalJudge(options, home)
