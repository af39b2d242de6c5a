"""A program between a gateway and its model that passes bytes on and reports HTTP/2 frames.

`python -m tests.sdks.wire PORT` connects to that port of 127.0.0.1. Each line that it prints is a
JSON object: `listening` with a `port`, and `asked`, `reset` and `after reset` for the gateway's
frames, each with the `mark` of the request on their stream (see `MARK`), and `reset` with its
`code` too. A frame is reported before it is passed on.
"""

import json
import re
import sys
from functools import partial

import trio
from hyperframe.frame import DataFrame, Frame, RstStreamFrame

from grpclib_anyio.testing import FrameParser

__all__ = ["MARK"]

#: What a test puts into a prompt to know its request again.
MARK = re.compile(rb"m\d+\.")


class Watcher:
    """Reads what a gateway sends on one connection."""

    def __init__(self) -> None:
        self._parser = FrameParser()
        self._marks: dict[int, str] = {}
        self._reset: set[int] = set()

    def feed(self, data: bytes) -> None:
        """Report what is to be known of these bytes."""
        for frame in self._parser.feed(data):
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        number = frame.stream_id
        if number in self._reset:
            self._report("after reset", number, frame=type(frame).__name__)
        elif isinstance(frame, DataFrame) and (mark := MARK.search(frame.data)):
            self._marks[number] = mark[0].decode()
            self._report("asked", number)
        elif isinstance(frame, RstStreamFrame):
            self._reset.add(number)
            self._report("reset", number, code=frame.error_code)

    def _report(self, event: str, number: int, **fields: object) -> None:
        _print(event, mark=self._marks.get(number), **fields)


def _print(event: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


async def _pass_on(
    source: trio.SocketStream, target: trio.SocketStream, watcher: Watcher | None
) -> None:
    async for data in source:
        if watcher is not None:
            watcher.feed(bytes(data))
        await target.send_all(data)
    await target.send_eof()


async def _join(port: int, gateway: trio.SocketStream) -> None:
    """Join one connection with one to the model, until either end has gone."""
    try:
        async with (
            await trio.open_tcp_stream("127.0.0.1", port) as model,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(_pass_on, gateway, model, Watcher())
            nursery.start_soon(_pass_on, model, gateway, None)
    except* (OSError, trio.BrokenResourceError):
        pass  # either side may end as it likes


async def _serve(port: int) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    _print("listening", port=listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(partial(_join, port), listeners)


if __name__ == "__main__":
    trio.run(_serve, int(sys.argv[1]))
