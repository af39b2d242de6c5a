"""The model service, with a backend that does the work in a prompt.

For example::

    python -m bench.own_model --port 50051
"""

import argparse
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Self

import trio

from bench.work import Work
from grpclib_anyio.server import Server
from relay_common.log import LogSettings, configure_logging
from relay_model.backends.protocol import ModelInfo
from relay_model.outcome import UNKNOWN
from relay_model.service import AiService

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from relay_model.conversation import Conversation


class _Backend:
    models = (ModelInfo("bench"),)

    @asynccontextmanager
    async def stream(self, conversation: "Conversation") -> "AsyncGenerator[_Tokens]":
        yield _Tokens(Work.parse(conversation.prompt))


class _Tokens:
    outcome = UNKNOWN

    def __init__(self, work: Work) -> None:
        self._token = "x" * work.size
        self._interval = work.interval
        self._left = work.tokens

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        if not self._left:
            raise StopAsyncIteration
        self._left -= 1
        if self._interval:
            await trio.sleep(self._interval)
        return self._token  # noqa: ASYNC910 - no checkpoint, like a backend with more tokens at hand


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m bench.own_model")
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    configure_logging(LogSettings(log_level="warning"))
    server = Server([AiService(_Backend())])
    trio.run(partial(server.serve, "127.0.0.1", port))


if __name__ == "__main__":
    main()
