"""Floods a server, in a process of its own: its work must not delay the clients that are measured.

For example, ten seconds of PING::

    python -m tests.soak.flooder '{"flood": "PING", "kind": "gateway", "port": 8080, "seconds": 10}'

It prints a line of JSON at its end: how many connections it needed, how many bytes it sent, and
with which errors the server has sent it away.
"""

import json
import os
import re
import sys
from collections import Counter
from contextlib import suppress

import trio
from h2.errors import ErrorCodes

from tests.soak.floods import FLOODS, Flood, Requests

__all__ = ["REQUESTS"]

#: Who is measured goes first.
_NICE = 5
_READ_SIZE = 65_536
#: GOAWAY's header, without its length (RFC 9113 § 6.8), and the code that follows.
_GOAWAY = re.compile(rb"\x07\0\0\0\0\0.{4}(.{4})", re.DOTALL)
#: Bytes to look for it in, at the end of what came.
_TAIL = 1_024

_HTTP = ((":scheme", "http"), (":authority", "flood"))
_CALL = (
    (":method", "POST"),
    *_HTTP,
    (":path", "/ai.AIService/Generate"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)
#: By the kind of a server: of a gateway, and of a model service.
REQUESTS = {
    "gateway": Requests(
        ask=((":method", "GET"), *_HTTP, (":path", "/api/ai/stream?prompt=flood&session_id=flood")),
        post=(
            (":method", "POST"),
            *_HTTP,
            (":path", "/api/ai/stream"),
            ("content-type", "application/json"),
        ),
    ),
    "model": Requests(ask=_CALL, post=_CALL),
}


class Flooder:
    """One client with one or more connections."""

    def __init__(self, flood: Flood, requests: Requests, port: int) -> None:
        """Flood a port of 127.0.0.1."""
        self.connections = self.bytes = 0
        self.sent_away: Counter[str] = Counter()
        self._flood = flood
        self._requests = requests
        self._port = port

    async def run(self, seconds: float) -> None:
        """Flood, with the connections' writes spread over the time between two."""
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                for number in range(self._flood.connections):
                    nursery.start_soon(self._keep_on, number)

    async def _keep_on(self, number: int) -> None:
        await trio.sleep(self._flood.interval * number / self._flood.connections)
        while True:
            with suppress(OSError, trio.BrokenResourceError):
                await self._connect(number)
            await trio.sleep(self._flood.interval)

    async def _connect(self, number: int) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", self._port) as stream:
            self.connections += 1
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, stream, nursery.cancel_scope)
                with suppress(trio.BrokenResourceError):  # what it said is read to the end
                    await self._write(stream, number)
                await trio.sleep_forever()

    async def _write(self, stream: trio.SocketStream, number: int) -> None:
        data, next_stream = self._flood.opening(self._requests, number), 3
        while True:
            data += self._flood.write(self._requests, next_stream)
            next_stream += 2 * self._flood.streams
            due = trio.current_time() + self._flood.interval
            await stream.send_all(data)
            self.bytes += len(data)
            data = b""
            await trio.sleep_until(due)

    async def _read(self, stream: trio.SocketStream, scope: trio.CancelScope) -> None:
        tail = b""
        with suppress(trio.BrokenResourceError):
            while data := await stream.receive_some(_READ_SIZE):
                tail = (tail + data)[-_TAIL:]
        for code in _GOAWAY.findall(tail)[-1:]:
            self.sent_away[ErrorCodes(int.from_bytes(code)).name] += 1
        scope.cancel()


def main() -> None:
    """Flood as the command line says."""
    job = json.loads(sys.argv[1])
    os.nice(_NICE)
    flooder = Flooder(FLOODS[job["flood"]], REQUESTS[job["kind"]], job["port"])
    trio.run(flooder.run, job["seconds"])
    result = {
        "connections": flooder.connections,
        "bytes": flooder.bytes,
        "sent_away": flooder.sent_away,
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
