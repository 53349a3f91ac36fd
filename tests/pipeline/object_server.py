"""A small S3 server over http.server, and STS beside it: what a workspace asks of them, with the same client code.

It checks what AWS and Swift check of a body (its signed SHA-256), lists in pages of three, and remembers each change.
"""

import contextlib
import datetime
import hashlib
import html
import re
import threading
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit

PAGE = 3
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "the-secret-of-all", "AWS_DEFAULT_REGION": "us-east-1"}


class ObjectServer(ThreadingHTTPServer):
    """Objects of one bucket, `bucket`.

    Attributes:
        objects: Key to bytes, ETag and time.
        changes: `PUT key` and `DELETE key`, in order.
        reads: Keys that were read.
        sessions: Access keys that may be used, and the session token that each needs.
        denied: Methods that are not allowed.
        conditions: Whether `If-None-Match` is known, as on AWS, or not, as on Swift.
        on_change: Called before a change is made.
        tokens: Web identity tokens that STS saw.
        time: What its clock says.
        tick: Seconds that the clock goes on at each listing.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.objects, self.uploads, self.changes, self.reads = {}, {}, [], []
        self.sessions, self.denied, self.conditions = {KEYS["AWS_ACCESS_KEY_ID"]: None}, set(), False
        self.on_change = lambda method, key: None
        self.tokens, self.guard = [], threading.Lock()
        self.time, self.tick = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC), 0

    def handle_error(self, request, client_address):
        """Says nothing of clients that were killed."""

    def names(self, prefix=""):
        return sorted(key for key in self.objects if key.startswith(prefix))

    def put(self, key, body, etag=None):
        with self.guard:
            # No two at the same moment: of two lists the newer one counts.
            self.time += datetime.timedelta(milliseconds=1)
            self.objects[key] = (body, etag or _md5(body), self.time)


@contextlib.contextmanager
def serving():
    """Serves while the block runs."""
    server = ObjectServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def date_time_string(self, timestamp=None):
        return format_datetime(self.server.time, usegmt=True)

    def handle_expect_100(self):
        # Written through a buffer, the answer would be waited for in vain: for a second a request.
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def do_GET(self):
        self._answer("GET")

    def do_HEAD(self):
        self._answer("HEAD")

    def do_PUT(self):
        self._answer("PUT")

    def do_POST(self):
        self._answer("POST")

    def do_DELETE(self):
        self._answer("DELETE")

    def _answer(self, method):
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if method == "POST" and b"AssumeRoleWithWebIdentity" in body:
            return self._sts(body)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        access = self.headers.get("Authorization", "").partition("Credential=")[2].partition("/")[0]
        if access not in self.server.sessions:
            return self._fail(403, "InvalidAccessKeyId", "The access key you provided does not exist in our records.")
        if self.headers.get("X-Amz-Security-Token") != self.server.sessions[access]:
            return self._fail(400, "InvalidToken", "The provided token is malformed or otherwise invalid.")
        if method in self.server.denied:
            return self._fail(403, "AccessDenied", "Access Denied")
        if bucket != "bucket":
            return self._fail(404, "NoSuchBucket", "The specified bucket does not exist")
        if self.headers.get("X-Amz-Content-SHA256") != hashlib.sha256(body).hexdigest():
            return self._fail(400, "XAmzContentSHA256Mismatch", "The body is not what was signed")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            getattr(self, f"_{method.lower()}")(key, query, body)
        return None

    def _get(self, key, query, body):
        server = self.server
        if key and "uploadId" in query:
            parts = server.uploads[query["uploadId"]][1]
            found = "".join(
                f"<Part><PartNumber>{n}</PartNumber><Size>{len(b)}</Size><ETag>{_md5(b)}</ETag></Part>"
                for n, b in sorted(parts.items())
            )
            return self._xml(f"<ListPartsResult>{found}<IsTruncated>false</IsTruncated></ListPartsResult>")
        if "uploads" in query:
            found = "".join(
                f"<Upload><Key>{k}</Key><UploadId>{i}</UploadId><Initiated>2026-01-01T00:00:00Z</Initiated></Upload>"
                for i, (k, _) in server.uploads.items()
                if k.startswith(query.get("prefix", ""))
            )
            return self._xml(f"<ListMultipartUploadsResult>{found}</ListMultipartUploadsResult>")
        if not key:
            return self._list(query)
        with server.guard:
            server.reads.append(key)
            found = server.objects.get(key)
        if found is None:
            return self._fail(404, "NoSuchKey", "The specified key does not exist.")
        content, status = found[0], 200
        if "Range" in self.headers:
            first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
            content, status = content[int(first) : int(last) + 1], 206
        return self._send(status, content, {"ETag": f'"{found[1]}"'})

    def _head(self, key, query, body):
        with self.server.guard:
            found = self.server.objects.get(key)
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Length", "0" if found is None else str(len(found[0])))
        self.end_headers()

    def _list(self, query):
        with self.server.guard:
            self.server.time += datetime.timedelta(seconds=self.server.tick)
            names = self.server.names(query.get("prefix", ""))
            after = query.get("continuation-token", "")
            left = [name for name in names if name > after]
            shown, more = left[:PAGE], len(left) > PAGE
            found = "".join(
                f"<Contents><Key>{quote(name)}</Key><Size>{len(self.server.objects[name][0])}</Size>"
                f"<ETag>&quot;{self.server.objects[name][1]}&quot;</ETag>"
                f"<LastModified>{self.server.objects[name][2]:%Y-%m-%dT%H:%M:%S.%f}Z</LastModified></Contents>"
                for name in shown
            )
        following = f"<NextContinuationToken>{quote(shown[-1])}</NextContinuationToken>" if more else ""
        truncated = str(more).lower()
        return self._xml(
            "<ListBucketResult><EncodingType>url</EncodingType>"
            f"{found}<IsTruncated>{truncated}</IsTruncated>{following}</ListBucketResult>"
        )

    def _put(self, key, query, body):
        server = self.server
        if self.headers.get("If-None-Match"):
            if not server.conditions:
                return self._fail(501, "NotImplemented", "Conditional object PUTs are not supported.")
            if key in server.objects:
                return self._fail(412, "PreconditionFailed", "At least one of the conditions did not hold.")
        server.on_change("PUT", key)
        if "uploadId" in query:
            server.uploads[query["uploadId"]][1][int(query["partNumber"])] = body
            with server.guard:
                server.changes.append(f"PART {key} {query['partNumber']}")
            return self._send(200, b"", {"ETag": f'"{_md5(body)}"'})
        with server.guard:
            server.changes.append(f"PUT {key}")
        server.put(key, body)
        return self._send(200, b"", {"ETag": f'"{_md5(body)}"'})

    def _post(self, key, query, body):
        server = self.server
        if "delete" in query:
            if not self.headers.get("Content-MD5"):
                return self._fail(400, "InvalidRequest", "Missing required header for this request: Content-MD5")
            for key in re.findall(r"<Key>(.*?)</Key>", body.decode()):
                self._remove(html.unescape(key))
            return self._xml("<DeleteResult></DeleteResult>")
        if "uploads" in query:
            number = f"upload-{len(server.uploads)}-{len(server.changes)}"
            server.uploads[number] = (key, {})
            return self._xml(
                f"<InitiateMultipartUploadResult><UploadId>{number}</UploadId></InitiateMultipartUploadResult>"
            )
        server.on_change("PUT", key)
        parts = server.uploads.pop(query["uploadId"])[1]
        whole = [parts[number] for number in sorted(parts)]
        digest = _md5(b"".join(bytes.fromhex(_md5(part)) for part in whole))
        with server.guard:
            server.changes.append(f"PUT {key}")
        server.put(key, b"".join(whole), f"{digest}-{len(whole)}")
        return self._xml("<CompleteMultipartUploadResult></CompleteMultipartUploadResult>")

    def _delete(self, key, query, body):
        if "uploadId" in query:
            self.server.uploads.pop(query["uploadId"])
        else:
            self._remove(key)
        self._send(204, b"")

    def _remove(self, key):
        self.server.on_change("DELETE", key)
        with self.server.guard:
            if self.server.objects.pop(key, None) is not None:
                self.server.changes.append(f"DELETE {key}")

    def _sts(self, body):
        asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        self.server.tokens.append(asked["WebIdentityToken"])
        self.server.sessions["of-the-role"] = "session-token"
        self._xml(
            "<AssumeRoleWithWebIdentityResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'>"
            "<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>of-the-role</AccessKeyId>"
            "<SecretAccessKey>the-secret-of-the-role</SecretAccessKey><SessionToken>session-token</SessionToken>"
            "<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
            "</AssumeRoleWithWebIdentityResponse>"
        )

    def _fail(self, status, code, message):
        self._xml(f"<Error><Code>{code}</Code><Message>{message}</Message></Error>", status)

    def _xml(self, text, status=200):
        self._send(status, f"<?xml version='1.0' encoding='UTF-8'?>{text}".encode())

    def _send(self, status, content, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
