"""Servers and senders on this machine, each in a thread of its own: web, UDP, RTSP, and writers into pipes."""

import base64
import contextlib
import http.server
import os
import re
import socket
import socketserver
import struct
import threading
import time

import pytest

from elysium.data.limits import VideoError

TS_PACKET = 188
DATAGRAM = 7 * TS_PACKET


def feed(descriptor, content, close=True):
    """Writes into a pipe in a thread, which is returned; a reader that goes away ends it."""

    def write():
        rest = memoryview(content)
        with contextlib.suppress(BrokenPipeError):
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        if close:
            os.close(descriptor)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    return thread


@contextlib.contextmanager
def serve(server):
    """Lets a `socketserver` answer until the block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class WebServer(http.server.ThreadingHTTPServer):
    """Gives each path its (status, headers, body), and notes what it was asked for and with which password."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _WebHandler)
        self.answers, self.asked, self.passwords = {}, [], []

    def put(self, path, content):
        self.answers[path] = (200, {"Content-Length": str(len(content))}, content)
        return self.url(path)

    def redirect(self, path, location):
        self.answers[path] = (302, {"Location": location}, b"")
        return self.url(path)

    def url(self, path, user=""):
        return f"http://{user}127.0.0.1:{self.server_address[1]}{path}"


class _WebHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.partition("?")[0]
        self.server.asked.append(self.path)
        self.server.passwords.append(self.headers.get("Authorization"))
        status, headers, body = self.server.answers.get(path, (404, {}, b""))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


def free_udp_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


@contextlib.contextmanager
def udp_sender(content, port):
    """Sends a transport stream over and over until the block ends."""
    stopped = threading.Event()

    def send():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while not stopped.is_set():
                for place in range(0, len(content), DATAGRAM):
                    sender.sendto(content[place : place + DATAGRAM], ("127.0.0.1", port))
                    if stopped.wait(0.001):
                        return

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


class RtspServer(socketserver.ThreadingTCPServer):
    """A camera as seen over RTSP (RFC 2326): one H.264 stream, its RTP packets between the answers (§10.12).

    Args:
        content: H.264 as in a `.h264` file, each part of it small enough for one packet.
        password: `user:password` that is asked for; None lets everybody in.
        silent: Keeps the connection open after the last frame, and sends nothing more.
    """

    daemon_threads = True

    def __init__(self, content, password=None, silent=False):
        super().__init__(("127.0.0.1", 0), _RtspHandler)
        self.parts = [part for part in re.split(rb"\x00\x00\x00?\x01", content) if part]
        self.allowed = password and "Basic " + base64.b64encode(password.encode()).decode()
        self.silent, self.stopped = silent, threading.Event()

    def url(self, path="", user=""):
        return f"rtsp://{user}127.0.0.1:{self.server_address[1]}/{path}"

    def server_close(self):
        self.stopped.set()
        super().server_close()


class _RtspHandler(socketserver.StreamRequestHandler):
    def handle(self):
        with contextlib.suppress(ConnectionError):
            while line := self.rfile.readline().strip():
                self.answer(line.split()[0].decode(), dict(self.headers()))

    def headers(self):
        while line := self.rfile.readline().decode().strip():
            name, _, value = line.partition(": ")
            yield name.lower(), value

    def answer(self, method, headers):
        lines, body = ["Session: 1"], ""
        if self.server.allowed not in (None, headers.get("authorization")) and method != "OPTIONS":
            return self.send("401 Unauthorized", headers, ['WWW-Authenticate: Basic realm="it"'], "")
        if method == "DESCRIBE":
            body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=it\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
            body += "a=rtpmap:96 H264/90000\r\na=framerate:10\r\na=control:video\r\n"
            lines.append("Content-Type: application/sdp")
        elif method == "SETUP":
            lines.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
        self.send("200 OK", headers, lines, body)
        if method == "PLAY":
            self.play()
            if self.server.silent:
                self.server.stopped.wait()
            raise ConnectionError("that is all")

    def send(self, status, headers, lines, body):
        lines = [f"RTSP/1.0 {status}", f"CSeq: {headers['cseq']}", *lines, f"Content-Length: {len(body)}", "", body]
        self.wfile.write("\r\n".join(lines).encode())

    def play(self):
        """Sends each part in one packet (RFC 6184 §5.6); the mark tells the last one of a picture."""
        time = 0
        for number, part in enumerate(self.server.parts):
            picture = part[0] & 0x1F in (1, 5)
            packet = struct.pack(">BBHII", 0x80, 96 | picture << 7, number, time, 1) + part
            self.wfile.write(struct.pack(">BBH", ord("$"), 0, len(packet)) + packet)
            time += 9000 * picture


def wait_until(condition):
    """Waits for a thread to get so far; it has a minute, however loaded the machine."""
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it never came so far")


def consume(source):
    """The frames that come, and the error that ends them, if any; the source is closed."""
    frames, message = [], None
    try:
        frames.extend(source)
    except VideoError as error:
        message = str(error)
    source.close()
    return frames, message
