"""Serves the tick-box page on this machine alone, and writes each tick down before it is confirmed."""

from __future__ import annotations

import functools
import hmac
import json
import logging
import secrets
import threading
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pydantic import ValidationError

from elysium.curation.dataset.review_page import picture, review_page
from elysium.curation.dataset.reviews import Review, append_reviews, content_of, judge, read_reviews
from elysium.data.records import TrackRecord
from elysium.errors import ElysiumError, UsageError

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
_MAX_BODY = 1 << 14
_KEPT_PICTURES = 256


class ReviewServer(ThreadingHTTPServer):
    """One session of checking.

    Args:
        records: What is to be checked.
        root: What their frames are relative to.
        reviews: The file that ticks are added to.
        title: Of the data set.
        reviewer: Name that the page starts with.
        port: To listen on; 0 takes a free one.

    Raises:
        UsageError: If the port is taken.

    Attributes:
        address: Of the page.
        num_ticks: Taken in so far.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self, records: Sequence[TrackRecord], root: Path, reviews: Path, title: str, reviewer: str = "", port: int = 0
    ) -> None:
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise UsageError(
                f"port {port} cannot be listened on ({error.strerror}); name another one with --port, or 0 for any"
            ) from error
        self.address = f"http://{HOST}:{self.server_port}/"
        self.num_ticks = 0
        self.records, self.root, self.title, self.reviewer = records, root, title, reviewer
        # Another site's page may send requests here, but cannot read this one.
        self.token = secrets.token_urlsafe(16)
        self._reviews, self._writing = reviews, threading.Lock()
        self._known = {record.id: record for record in records}
        self.picture = functools.lru_cache(_KEPT_PICTURES)(self._picture)

    def page(self) -> str:
        """Returns the page with what was said so far, by whomever."""
        return review_page(
            self.records,
            self.title,
            lambda number: f"pictures/{number}.webp",
            judged=judge(read_reviews(self._reviews)),
            reviewer=self.reviewer,
            token=self.token,
        )

    def take(self, body: bytes) -> None:
        """Stores a tick.

        Raises:
            ValueError: If it is none, or of a record that is not shown here or has changed.
            OSError: If it cannot be written.
        """
        try:
            review = Review.model_validate_json(body)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        record = self._known.get(review.id)
        if record is None:
            raise ValueError(f"there is no record {review.id!r} here")
        if content_of(record) != review.content:
            raise ValueError(f"{review.id} has changed since the page was made; reload it")
        with self._writing:
            append_reviews(self._reviews, [review])
            self.num_ticks += 1

    def _picture(self, number: int) -> bytes:
        return picture(self.records[number], self.root)


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    server_version, sys_version = "elysium", ""
    timeout = 30

    def do_GET(self) -> None:
        """The page, or a picture."""
        if not self._is_ours():
            return
        path = self.path.partition("?")[0]
        if path == "/":
            self._answer(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page().encode())
            return
        number = path.removeprefix("/pictures/").removesuffix(".webp")
        if not number.isdecimal() or len(number) > 9 or int(number) >= len(self.server.records):
            self._say(HTTPStatus.NOT_FOUND, "there is nothing here")
            return
        try:
            self._answer(HTTPStatus.OK, "image/webp", self.server.picture(int(number)))
        except ElysiumError as error:
            logger.warning("%s", error)
            self._say(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))

    def do_POST(self) -> None:
        """A tick."""
        if not self._is_ours():
            return
        token = self.headers.get("X-Token", "")
        if self.path != "/tick" or not hmac.compare_digest(token.encode(), self.server.token.encode()):
            self._say(HTTPStatus.FORBIDDEN, "this page belongs to an earlier start of the command; reload it")
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _MAX_BODY:
            self._say(HTTPStatus.BAD_REQUEST, "a verdict of this length is none")
            return
        try:
            self.server.take(self.rfile.read(int(length)))
        except ValueError as error:
            self._say(HTTPStatus.BAD_REQUEST, str(error))
        except OSError as error:
            self._say(HTTPStatus.INTERNAL_SERVER_ERROR, f"it cannot be written: {error.strerror}")
        else:
            self._answer(HTTPStatus.OK, "application/json", json.dumps({"stored": True}).encode())

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing of single requests."""

    def _is_ours(self) -> bool:
        """Refuses names that only look like this machine: another site's name may be made to lead here."""
        if self.headers.get("Host", "") in {f"{name}:{self.server.server_port}" for name in (HOST, "localhost")}:
            return True
        self._say(HTTPStatus.FORBIDDEN, f"open {self.server.address}")
        return False

    def _say(self, status: HTTPStatus, text: str) -> None:
        self._answer(status, "text/plain; charset=utf-8", text.encode())

    def _answer(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        nonce = self.server.token
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header(
            "Content-Security-Policy",
            f"default-src 'none'; img-src 'self'; connect-src 'self'; style-src 'nonce-{nonce}'; "
            f"script-src 'nonce-{nonce}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        )
        self.end_headers()
        self.wfile.write(content)
