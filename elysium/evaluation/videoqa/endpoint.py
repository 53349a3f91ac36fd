"""A judge behind an OpenAI-compatible endpoint, `POST URL/chat/completions`: vLLM, llama.cpp, OpenAI and others.

Temporary failures (429, 5xx, no connection, no answer in time, an answer that is no JSON) are tried again after a
jittered pause that doubles, or after what `Retry-After` says. A request whose answer never came may have been paid for:
its cost is known to the server only.
"""

from __future__ import annotations

import datetime
import email.utils
import json
import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from elysium.errors import ElysiumError
from elysium.evaluation.videoqa.judges import (
    CHECK,
    Declined,
    JudgeError,
    JudgeIdentity,
    JudgeOptions,
    JudgeRefused,
    Reply,
)
from elysium.evaluation.videoqa.pace import Pace, pause
from elysium.evaluation.videoqa.prompt import Conversation
from elysium.evaluation.videoqa.spending import most_tokens

KEY = "ELYSIUM_JUDGE_KEY"
_OPENAI, _OPENAI_KEY = "api.openai.com", "OPENAI_API_KEY"
_PATH = "/chat/completions"
_TEMPORARY = frozenset({408, 409, 425, 429})
# What is wrong with one question: too long, or filtered.
_DECLINED = frozenset({400, 413, 422})
_CHECK_ATTEMPTS = 3
_SHOWN = 300


@dataclass(frozen=True)
class _Again:
    """A failure that may pass: why, the pause asked for, and whether it holds for all requests."""

    reason: str
    wait: float | None = None
    everyone: bool = False


class EndpointJudge:
    """See `Judge`; one for all threads.

    Args:
        options: With `url`.
        environment: Where the key is; None takes the process's.
        clock: Seconds; for tests.
        pausing: Waits; for tests.

    Raises:
        JudgeRefused: If the address is none, or the key cannot be sent.
        ElysiumError: If httpx is not installed.
    """

    def __init__(
        self,
        options: JudgeOptions,
        environment: Mapping[str, str] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        pausing: Callable[[float, threading.Event], None] = pause,
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise ElysiumError("httpx is not installed here; install it with `pip install 'elysium[judge]'`") from error
        parts = _split(options.url or "")
        self._options = options
        self._shown = parts._replace(query="", fragment="").geturl()
        self._address = parts._replace(path=parts.path.rstrip("/").removesuffix(_PATH) + _PATH).geturl()
        self._key = read_key(parts, os.environ if environment is None else environment)
        self._pause = pausing
        self._pace = Pace(options.requests_per_minute, clock, pausing)
        self._limit_name = "max_tokens"
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=options.timeout,
            limits=httpx.Limits(max_connections=options.concurrent, max_keepalive_connections=options.concurrent),
            verify=parts.scheme == "https",  # without TLS, no certificates need be read
            # A proxy of the environment does not know this machine's own addresses.
            trust_env=parts.hostname not in ("localhost", "127.0.0.1", "::1"),
        )
        self.identity = JudgeIdentity(
            backend="endpoint", model=options.model, temperature=options.temperature, url=self._shown
        )
        self.max_tokens = options.max_tokens
        self.batch_size = 1
        self.num_workers = options.concurrent

    def check(self) -> str:
        """Asks one cheap question; see `Judge`."""
        found = self._ask(CHECK, threading.Event(), min(self._options.attempts, _CHECK_ATTEMPTS))
        if isinstance(found, Declined):
            hint = "; --judge-temperature none leaves it out" if "temperature" in found.reason else ""
            raise JudgeRefused(
                f"the judge {self.identity.model} at {self._shown} will not answer: {found.reason}{hint}"
            )
        return found.model

    def ask(self, conversations: Sequence[Conversation], stop: threading.Event) -> list[Reply | Declined]:
        """Returns one answer a conversation; see `Judge`."""
        return [self._ask(conversation, stop, self._options.attempts) for conversation in conversations]

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _ask(self, conversation: Conversation, stop: threading.Event, attempts: int) -> Reply | Declined:
        reason = ""
        for attempt in range(1, attempts + 1):
            self._pace.wait(stop)
            if stop.is_set():
                raise JudgeError("the judge's answers are not wanted any more")
            found = self._try(conversation)
            if not isinstance(found, _Again):
                return found
            reason = found.reason
            if found.wait is not None and found.wait > self._options.max_wait:
                raise JudgeError(
                    f"the judge at {self._shown} asks for a pause of {found.wait:g} s, over the limit of "
                    f"{self._options.max_wait:g} s: {reason}"
                )
            if attempt < attempts:
                wait = self._backoff(attempt) if found.wait is None else found.wait
                if found.everyone:
                    self._pace.hold(wait)
                else:
                    self._pause(wait, stop)
        raise JudgeError(
            f"the judge at {self._shown} does not answer: {attempts} attempts failed, the last one with: {reason}"
        )

    def _try(self, conversation: Conversation) -> Reply | Declined | _Again:
        import httpx

        limit_name = self._limit_name
        body: dict[str, Any] = {
            "model": self.identity.model,
            "messages": [{"role": role, "content": text} for role, text in conversation],
            limit_name: self.max_tokens,
        }
        if self.identity.temperature is not None:
            body["temperature"] = self.identity.temperature
        try:
            response = self._client.post(self._address, json=body)
        except httpx.TimeoutException:
            return _Again(f"no answer within {self._options.timeout:g} s")
        except httpx.HTTPError as error:
            return _Again(self._plain(f"{type(error).__name__}: {error}"))
        status = response.status_code
        if status == httpx.codes.OK:
            return self._read(response.text, conversation)
        said = self._plain(_error_text(response.text)) or response.reason_phrase
        told = f"the judge at {self._shown} answered {status}: {said}"
        if status == httpx.codes.TOO_MANY_REQUESTS and "insufficient_quota" in response.text:
            raise JudgeError(f"{told}; its credit is used up")
        if status in _TEMPORARY or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            return _Again(f"{status} {said}", _retry_after(response.headers.get("Retry-After")), everyone=True)
        if status in _DECLINED:
            if "max_completion_tokens" in said and limit_name == "max_tokens":
                self._limit_name = "max_completion_tokens"  # newer models of OpenAI know only this name
                return _Again(said, wait=0.0)
            return Declined(f"{status} {said}")
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            what = "the key in the environment" if self._key else "no key, as the environment holds none"
            raise JudgeRefused(f"{told}. It was sent {what} ({KEY})")
        if status == httpx.codes.NOT_FOUND:
            raise JudgeRefused(f"{told}. Is there a model {self.identity.model}, and does the address end in /v1?")
        raise JudgeRefused(told)

    def _read(self, text: str, asked: Conversation) -> Reply | _Again:
        try:
            answer = json.loads(text)
            message = answer["choices"][0]["message"]
            content = message.get("content") or ""
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return _Again(f"the answer is no completion: {self._plain(text) or 'it is empty'}")
        if not isinstance(content, str):  # in parts
            content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
        tokens = _usage(answer)
        read, written = tokens or (most_tokens(asked), self.max_tokens)
        return Reply(content, str(answer.get("model") or self.identity.model), read, written, tokens is not None)

    def _backoff(self, attempt: int) -> float:
        doubled: float = self._options.backoff * 2 ** (attempt - 1)
        return min(doubled, self._options.max_wait) * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)

    def _plain(self, text: str) -> str:
        """Returns a server's text as it may be shown: one line, without the key, not too long."""
        line = " ".join(text.split())
        if self._key:
            line = line.replace(self._key, "***")
        line = "".join(letter for letter in line if letter.isprintable())
        return line if len(line) <= _SHOWN else f"{line[:_SHOWN]} …"


def read_key(address: SplitResult, environment: Mapping[str, str]) -> str | None:
    """Returns the key for an address: `ELYSIUM_JUDGE_KEY`; for OpenAI's own, `OPENAI_API_KEY` where that is not set.

    Raises:
        JudgeRefused: If it holds what no header can.
    """
    names = [KEY, _OPENAI_KEY] if address.hostname == _OPENAI else [KEY]
    for name in names:
        key = environment.get(name, "").strip()
        if key and not (key.isascii() and key.isprintable()):
            raise JudgeRefused(f"the key in {name} holds characters that no key has; was it copied whole?")
        if key:
            return key
    return None


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if "@" in url:  # not shown: before the sign stand a user and a password
        raise JudgeRefused(f"the judge's address holds a user or password; put the key into the environment ({KEY})")
    if not valid:
        raise JudgeRefused(f"the judge's address {url!r} is none; https://HOST/v1 or http://HOST:PORT/v1 is needed")
    return parts


def _error_text(text: str) -> str:
    """Returns what an error answer says: OpenAI's `{"error": {"message": …}}`, or the whole of it."""
    try:
        error = json.loads(text)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, LookupError, TypeError, RecursionError):
        return text


def _usage(answer: dict[str, Any]) -> tuple[int, int] | None:
    """Returns the tokens that were read and written, or None where the server does not count them."""
    try:
        read, written = answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]
    except (LookupError, TypeError):
        return None
    return (read, written) if type(read) is type(written) is int and min(read, written) >= 0 else None


def _retry_after(header: str | None) -> float | None:
    """Returns the seconds of a `Retry-After`: a number or a date (RFC 9110, 10.2.3); None where it is neither."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        until = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=datetime.UTC)
    return max(0.0, (until - datetime.datetime.now(datetime.UTC)).total_seconds())
