"""Fetching over http(s) from addresses that strangers wrote into a list: limits, timeouts, no way into the own network.

The address that counts is the one the socket is connected to: it is looked at after connecting and before anything is
sent, on every redirect again, so that neither a name that resolves inwards nor one that changes in between gets by.
Connections are kept and shared between threads.
"""

from __future__ import annotations

import base64
import ipaddress
import re
import socket
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from elysium.data.storage import Entry
from elysium.data.transfer import (
    CHUNK,
    Arrival,
    FetchError,
    Kind,
    Patience,
    PrivateAddressError,
    check_whole,
    receive,
    seconds_asked,
)
from elysium.errors import UsageError

_INVALID = "the address is not valid"
_MISSING = frozenset({404, 410})
_DENIED = frozenset({401, 402, 403, 407, 451})
_THROTTLED = frozenset({429, 503})
_PASSING = frozenset({408, 416, 425, 500, 502, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 10
_HOSTS, _CONNECTIONS = 64, 64  # whose connections are kept, and how many of each


class WebStorage:
    """Files on web servers. One serves all threads of a process."""

    def __init__(
        self, *, allow_private_hosts: bool = False, timeout: float = 30, patience: Patience | None = None
    ) -> None:
        """Prepares a client.

        Args:
            allow_private_hosts: Lets addresses of private networks pass. Proxies that the environment names are used
                only then: behind a proxy nobody can tell where a connection ends.
            timeout: Seconds without any answer after which an attempt is given up.
            patience: How often and how long a transfer is tried again.
        """
        self._patience = patience or Patience(deadline=600)
        self._proxies = urllib.request.getproxies() if allow_private_hosts else {}
        self._options: dict[str, Any] = {
            "num_pools": _HOSTS,
            "maxsize": _CONNECTIONS,
            "timeout": urllib3.Timeout(connect=timeout, read=timeout),
            "retries": False,
        }
        self._lock = threading.Lock()
        self._managers: dict[str, urllib3.PoolManager] = {"": urllib3.PoolManager(**self._options)}
        if not allow_private_hosts:
            self._managers[""].pool_classes_by_scheme = {"http": _PublicHTTPPool, "https": _PublicHTTPSPool}

    def iterate_files(self, uri: str) -> Iterator[Entry]:
        """Web servers cannot be listed."""
        raise UsageError(f"{uri} cannot be listed; name a CSV or JSONL of addresses and captions instead")

    def list_files(self, uri: str) -> list[Entry]:
        """Web servers cannot be listed."""
        return list(self.iterate_files(uri))

    def fetch(self, uri: str, target: Path, max_bytes: int) -> str:
        """Downloads one file; one that broke off is gone on with where the server can."""
        return receive(uri, target, max_bytes, self._patience, lambda arrival: self._fetch_once(uri, arrival))

    def version(self, uri: str) -> str | None:
        """Returns the ETag, or else the date of the last change."""

        def once() -> str | None:
            with self._ask(uri, {}) as answer:
                return answer.headers.get("ETag") or answer.headers.get("Last-Modified")

        return self._patience.persist(uri, once)

    def _fetch_once(self, uri: str, arrival: Arrival) -> None:
        on = {"Range": f"bytes={arrival.size}-", "If-Range": arrival.mark} if arrival.size and arrival.mark else {}
        try:
            with self._ask(uri, on) as answer:
                goes_on = re.match(rf"bytes {arrival.size}-\d+/(\d+|\*)$", answer.headers.get("Content-Range", ""))
                if answer.status != 206 or not goes_on:
                    arrival.restart()
                if answer.status == 206 and not goes_on:
                    raise FetchError("the server sent another part than was asked for", passing=True)
                arrival.mark = _mark(answer)
                announced = answer.headers.get("Content-Length", "")
                expected = arrival.size + int(announced) if announced.isdecimal() else None
                if expected is not None:
                    arrival.expect(expected)
                # `read1` returns what has come: a server that drips cannot outwait the deadline inside one call.
                while chunk := answer.read1(CHUNK):
                    arrival.write(chunk)
            if expected is not None:
                check_whole(arrival, expected)
        except FetchError as error:
            if "answered 416" in str(error):
                arrival.restart()
            raise

    @contextmanager
    def _ask(self, uri: str, headers: Mapping[str, str]) -> Iterator[urllib3.BaseHTTPResponse]:
        """Gives the answer to a request, redirects followed.

        Raises:
            FetchError: For every answer that is no file, and for all that goes wrong until the block ends.
        """
        answer = None
        try:
            answer = self._follow(uri, headers)
            yield answer
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _meaning(error) from error
        finally:
            if answer is not None:
                answer.close()  # one that was read to its end keeps its connection

    def _follow(self, uri: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        address, password = _address(uri)
        for _ in range(_MAX_REDIRECTS + 1):
            # No redirect carries the password on.
            answer = self._manager(address).request(
                "GET",
                address,
                headers={"User-Agent": "elysium", "Accept-Encoding": "identity", **headers, **password},
                redirect=False,
                preload_content=False,
                decode_content=False,
                enforce_content_length=False,
            )
            location = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or not location:
                if answer.status not in (200, 206):
                    answer.close()
                    raise _refusal(answer)
                return answer
            answer.close()
            try:
                address, password = _address(urllib.parse.urljoin(address, location))[0], {}
            except (FetchError, ValueError) as error:
                message = f"the server answered {answer.status}, which leads to no web server"
                raise FetchError(message, kind="not_allowed") from error
        raise FetchError(f"the address leads on more than {_MAX_REDIRECTS} times")

    def _manager(self, address: str) -> urllib3.PoolManager:
        """Returns the client for an address: that of a proxy, where the environment names one."""
        parts = urllib.parse.urlsplit(address)
        proxy = self._proxies.get(parts.scheme, "")
        if proxy and urllib.request.proxy_bypass(parts.hostname or ""):
            proxy = ""
        with self._lock:
            if proxy not in self._managers:
                user = urllib.parse.unquote(urllib.parse.urlsplit(proxy).netloc.rpartition("@")[0])
                headers = urllib3.make_headers(proxy_basic_auth=user) if user else None
                self._managers[proxy] = urllib3.ProxyManager(proxy, proxy_headers=headers, **self._options)
            return self._managers[proxy]


def _address(uri: str) -> tuple[str, dict[str, str]]:
    """Returns an address without user and password, and the header that these go into.

    Raises:
        FetchError: If it is none that a file could be fetched from.
    """
    try:
        parts = urllib.parse.urlsplit(uri)
        known = parts.scheme in ("http", "https") and parts.hostname
    except ValueError as error:
        raise FetchError(_INVALID, kind="not_allowed") from error
    if not known:
        raise FetchError("the address leads to no web server", kind="not_allowed")
    user, at, host = parts.netloc.rpartition("@")
    address = parts._replace(netloc=host, fragment="").geturl()
    if not at:
        return address, {}
    name, _, password = user.partition(":")
    pair = f"{urllib.parse.unquote(name)}:{urllib.parse.unquote(password)}"
    return address, {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _mark(answer: urllib3.BaseHTTPResponse) -> str | None:
    """Returns what a request to go on in the middle is made conditional on (RFC 9110 §13.1.5)."""
    tag = answer.headers.get("ETag", "")
    if answer.headers.get("Accept-Ranges", "").lower() == "none":
        return None
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified")


def _refusal(answer: urllib3.BaseHTTPResponse) -> FetchError:
    status = answer.status
    kind: Kind = "transfer"
    for its, statuses in (("missing", _MISSING), ("denied", _DENIED), ("throttled", _THROTTLED)):
        if status in statuses:
            kind = its  # type: ignore[assignment]  # a literal of the tuple above
    return FetchError(
        f"the server answered {status} {answer.reason or ''}".rstrip(),
        kind=kind,
        passing=status in _THROTTLED | _PASSING,
        retry_after=seconds_asked(answer.headers.get("Retry-After")),
    )


def _meaning(error: Exception) -> FetchError:
    """Returns what an error of urllib3's means; its own words quote the address, with what is secret in it."""
    of = urllib3.exceptions
    if isinstance(error, of.LocationValueError | of.InvalidHeader | UnicodeError):
        return FetchError(_INVALID, kind="not_allowed")
    if isinstance(error, of.NameResolutionError):
        passing = isinstance(error.__cause__, socket.gaierror) and error.__cause__.errno == socket.EAI_AGAIN
        return FetchError("there is no server of that name", kind="unreachable", passing=passing)
    if isinstance(error, of.ConnectTimeoutError) and not isinstance(error, of.NewConnectionError):
        return FetchError("timed out: no connection", kind="unreachable", passing=True)
    cause = error.__cause__ or error.__context__
    reason = (cause.strerror or str(cause)) if isinstance(cause, OSError) else type(error).__name__
    if isinstance(error, of.NewConnectionError | of.ProxyError):
        return FetchError(f"no connection: {reason}", kind="unreachable", passing=True)
    if isinstance(error, of.TimeoutError):
        return FetchError("timed out", passing=True)
    if isinstance(error, of.SSLError):
        passing = "certificate verify failed" not in str(error).lower()
        reason = reason if passing else "the server's certificate is not trusted"
        return FetchError(f"no safe connection: {reason}", kind="unreachable", passing=passing)
    return FetchError(f"the transfer broke off: {reason}", passing=True)


class _PublicHTTPConnection(HTTPConnection):
    """A connection that is dropped, before a byte is sent, when it leads to a private address."""

    def _new_conn(self) -> socket.socket:
        return _checked(super()._new_conn(), self.host)


class _PublicHTTPSConnection(HTTPSConnection):
    """The same under TLS: the check comes before the handshake."""

    def _new_conn(self) -> socket.socket:
        return _checked(super()._new_conn(), self.host)


class _PublicHTTPPool(HTTPConnectionPool):
    ConnectionCls = _PublicHTTPConnection


class _PublicHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _PublicHTTPSConnection


def _checked(connection: socket.socket, host: str) -> socket.socket:
    try:
        _check_public(connection, host)
    except FetchError:
        connection.close()
        raise
    return connection


def _check_public(connection: socket.socket, host: str) -> None:
    address = ipaddress.ip_address(connection.getpeername()[0].partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    if not (mapped or address).is_global or address.is_multicast:
        message = f"{host} leads to the private address {address}; ingest.allow_private_hosts=true permits that"
        raise PrivateAddressError(message, kind="not_allowed")
