"""What may stand between a browser and the gateway, and do as a test says with a question.

The page comes from the gateway; each ``POST`` is given to a script. For example::

    with run_front(origin, silent) as front:
        ...                        # front.origin has the page, which asks and hears nothing
        front.wait_until_left()    # the page has closed its connection
"""

import http.client
import queue
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

__all__ = [
    "Front",
    "Question",
    "Script",
    "answered",
    "forwarded_until",
    "reset",
    "run_front",
    "silent",
    "streamed",
]

# Seconds; only what hangs takes as long.
_PATIENCE = 20.0


@dataclass
class Question:
    """A request for an answer, as it came."""

    connection: socket.socket
    #: Its request line, headers and body.
    raw: bytes
    gateway: tuple[str, int]

    def send(self, body: bytes) -> None:
        """Send bytes as they are."""
        self.connection.sendall(body)

    def wait_until_left(self) -> None:
        """Wait until the browser has closed its side."""
        self.connection.settimeout(_PATIENCE)
        try:
            while self.connection.recv(4096):
                pass
        except ConnectionResetError:
            return


Script = Callable[[Question], None]


@dataclass
class Front:
    """The front, once it runs."""

    origin: str
    #: For each script that has ended, what went wrong.
    ended: "queue.SimpleQueue[str]" = field(default_factory=queue.SimpleQueue[str])

    def wait_until_left(self) -> None:
        """Wait until a script has ended: all that wait for the browser, wait for it to leave."""
        assert self.ended.get(timeout=_PATIENCE) == ""


def silent(question: Question) -> None:
    """Take a question, and say nothing."""
    question.wait_until_left()


def reset(question: Question, *sent: bytes) -> None:
    """Send something, and reset the connection."""
    for part in sent:
        question.send(part)
    linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
    question.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    question.connection.close()


def answered(
    status: str, body: bytes = b"", content_type: str = "text/html", **headers: str
) -> Script:
    """Make a script that answers at once; underscores in names of headers are hyphens."""
    given = {"Content-Type": content_type, "Content-Length": str(len(body)), **headers}

    def script(question: Question) -> None:
        question.send(_head(status, given) + body)

    return script


def streamed(*parts: bytes, then: Script = silent) -> Script:
    """Make a script that opens an event stream, sends each part, and goes on as `then` does."""

    def script(question: Question) -> None:
        question.send(_head("200 OK", {"Content-Type": "text/event-stream"}))
        for part in parts:
            question.send(part)
        then(question)

    return script


def forwarded_until(mark: bytes) -> Script:
    """Make a script that forwards what the gateway answers, and stops once `mark` has come.

    Both connections stay open: neither side learns that there is nobody in between any more.
    """

    def script(question: Question) -> None:
        with socket.create_connection(question.gateway) as upstream:
            upstream.settimeout(_PATIENCE)
            upstream.sendall(question.raw)
            seen = b""
            while mark not in seen:
                part = upstream.recv(4096)
                assert part, seen
                seen += part
                question.send(part)
            question.wait_until_left()

    return script


def _head(status: str, headers: dict[str, str]) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    return f"HTTP/1.1 {status}\r\n{''.join(lines)}Connection: close\r\n\r\n".encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, gateway: str, front: Front, script: Script, *arguments: object) -> None:
        parts = urlsplit(gateway)
        self._gateway = (str(parts.hostname), int(parts.port or 80))
        self._front = front
        self._script = script
        super().__init__(*arguments)  # type: ignore[arg-type] # as the server gives them

    def do_GET(self) -> None:
        """Give what the gateway has."""
        upstream = http.client.HTTPConnection(*self._gateway, timeout=_PATIENCE)
        upstream.request("GET", self.path)
        with upstream.getresponse() as response:
            body = response.read()
            self.send_response(response.status)
            for name in ("Content-Type", "Content-Security-Policy"):
                if value := response.headers[name]:
                    self.send_header(name, value)
        upstream.close()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        """Do as the test says."""
        self.close_connection = True
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head = f"{self.requestline}\r\n{str(self.headers).strip()}\r\n\r\n"
        raw = head.replace("\r\n", "\n").replace("\n", "\r\n").encode() + body
        problem = ""
        try:
            self._script(Question(self.connection, raw, self._gateway))
        except ConnectionError:
            pass  # the browser has left while it was sent something
        except (AssertionError, OSError) as error:
            problem = repr(error)
        self._front.ended.put(problem)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing: a test fails with what it expected."""


@contextmanager
def run_front(gateway: str, script: Script) -> Generator[Front, None, None]:
    """Run a front of the gateway at that origin until the block is left."""
    front = Front("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, gateway, front, script))
    server.daemon_threads = True  # a browser may keep a connection that it does not use
    front.origin = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield front
    finally:
        server.shutdown()
        thread.join()
        server.socket.close()
