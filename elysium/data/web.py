"""Fetching over http(s) from addresses that strangers wrote into a list: limits, timeouts, no way into the own network.

The address that counts is the one the socket is connected to: it is looked at after connecting and before anything is
sent, on every redirect again, so that neither a name that resolves inwards nor one that changes in between gets by.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from elysium.data.storage import CHUNK, Entry, FetchError, PrivateAddressError, check_size, check_whole, whole_file
from elysium.errors import UsageError

_ATTEMPTS = 3
# Python's own texts quote the address, with what is secret in it.
_INVALID = "the address is not valid; a space in it is written %20"
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})


class WebStorage:
    """Files on web servers."""

    def __init__(
        self, *, allow_private_hosts: bool = False, timeout: float = 30, deadline: float = 600, pause: float = 0.5
    ) -> None:
        """Prepares a client.

        Args:
            allow_private_hosts: Lets addresses of private networks pass. Proxies that the environment names are used
                only then: behind a proxy nobody can tell where a connection ends.
            timeout: Seconds without any answer after which an attempt is given up.
            deadline: Seconds that one file may take in all.
            pause: Seconds before the second attempt; doubles with each further one.
        """
        self._timeout = timeout
        self._deadline = deadline
        self._pause = pause
        self._opener = _opener(allow_private_hosts)

    def list_files(self, uri: str) -> list[Entry]:
        """Web servers cannot be listed."""
        raise UsageError(f"{uri} cannot be listed; name a CSV or JSONL of addresses and captions instead")

    def fetch(self, uri: str, target: Path, max_bytes: int) -> None:
        """Downloads one file; what may pass by itself is tried again."""
        stop = time.monotonic() + self._deadline
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._fetch_once(uri, target, max_bytes, stop)
            except urllib.error.HTTPError as error:
                error.close()
                if error.code not in _TEMPORARY or attempt == _ATTEMPTS:
                    raise FetchError(f"the server answered {error.code} {error.reason}") from error
            except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
                reason = getattr(error, "reason", error)
                if isinstance(reason, http.client.InvalidURL):
                    raise FetchError(_INVALID) from error
                hopeless = isinstance(reason, ValueError)
                if hopeless or attempt == _ATTEMPTS or time.monotonic() > stop:
                    raise FetchError(str(reason) or type(reason).__name__) from error
            time.sleep(self._pause * 2 ** (attempt - 1))

    def _fetch_once(self, uri: str, target: Path, max_bytes: int, stop: float) -> None:
        request = _request(uri)
        with self._opener.open(request, timeout=self._timeout) as answer, whole_file(target) as file:
            announced = answer.headers.get("Content-Length")
            if announced is not None:
                check_size(int(announced), max_bytes)
            copied = 0
            # `read1` returns what has come: a server that drips cannot outwait the deadline inside one call.
            while chunk := answer.read1(CHUNK):
                copied += len(chunk)
                check_size(copied, max_bytes)
                if time.monotonic() > stop:
                    raise FetchError(f"not finished after {self._deadline:g} s")
                file.write(chunk)
        check_whole(copied, int(announced) if announced is not None else max(copied, 1), target)


def _request(uri: str) -> urllib.request.Request:
    """Returns the request for an address; a user and password in it go into a header that no redirect carries on."""
    try:
        parts = urllib.parse.urlsplit(uri)
    except ValueError as error:
        raise FetchError(_INVALID) from error
    user, at, host = parts.netloc.rpartition("@")
    address = parts._replace(netloc=host).geturl() if at else uri
    request = urllib.request.Request(address, headers={"User-Agent": "elysium"})  # noqa: S310 (the opener knows http(s) only)
    if at:
        name, _, password = user.partition(":")
        pair = f"{urllib.parse.unquote(name)}:{urllib.parse.unquote(password)}"
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
    return request


def _opener(allow_private_hosts: bool) -> urllib.request.OpenerDirector:
    """Returns an opener that knows http, https and redirects, and no other scheme."""
    opener = urllib.request.OpenerDirector()
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ]
    if allow_private_hosts:
        handlers += [urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler()]
    else:
        handlers += [_PublicHTTPHandler(), _PublicHTTPSHandler()]
    for handler in handlers:
        opener.add_handler(handler)
    return opener


class _PublicHTTPConnection(http.client.HTTPConnection):
    """A connection that is dropped, before a byte is sent, when it leads to a private address."""

    def connect(self) -> None:
        super().connect()
        try:
            _check_public(self.sock, self.host)
        except FetchError:
            self.close()
            raise


class _PublicHTTPSConnection(http.client.HTTPSConnection, _PublicHTTPConnection):
    """The same under TLS: the order of the bases puts the check before the handshake."""


class _PublicHTTPHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_PublicHTTPConnection, req)


class _PublicHTTPSHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        options: dict[str, Any] = {"context": ssl.create_default_context()}
        return self.do_open(_PublicHTTPSConnection, req, **options)


def _check_public(connection: socket.socket, host: str) -> None:
    address = ipaddress.ip_address(connection.getpeername()[0].partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    if not (mapped or address).is_global or address.is_multicast:
        message = f"{host} leads to the private address {address}; ingest.allow_private_hosts=true permits that"
        raise PrivateAddressError(message)
