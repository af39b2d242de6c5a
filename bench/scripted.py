"""The peers of the gateway and the model service in a count; a script says when they act.

For example, ``ScriptedModel.send(32)`` sends 32 tokens at once. Each peer with a socket is a
:class:`bench.lockstep.Peer`, and none of them waits. Their instructions are not counted.
"""

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self, cast

import trio

from bench.wire import AskingSide, ModelSide, framed, message_of
from relay_model.backends.protocol import ModelInfo
from relay_model.outcome import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from relay_model.conversation import Conversation

__all__ = ["TOKEN", "ScriptedBackend", "ScriptedBrowser", "ScriptedGateway", "ScriptedModel"]

TOKEN = "token "


def _receive_nowait(sock: socket.socket) -> bytes:
    """Return everything that has arrived; empty if nothing has."""
    received = bytearray()
    try:
        while data := sock.recv(1 << 20):
            received += data
    except BlockingIOError:
        pass
    return bytes(received)


class ScriptedModel:
    """The model service that the gateway asks; it sends tokens when the script says so."""

    def __init__(self, path: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._listener.settimeout(0)
        self._socket: socket.socket | None = None
        self._side = ModelSide(self._asked, on_left=lambda _stream: None)
        self._stream = 0

    def _asked(self, stream_id: int, _prompt: str) -> None:
        self._stream = stream_id

    def answer(self) -> bool:
        if self._socket is None and not self._accept():
            return False
        sock = cast("socket.socket", self._socket)
        self._side.receive(_receive_nowait(sock))
        data = self._side.data_to_send()
        sock.sendall(data)
        return bool(data)

    def _accept(self) -> bool:
        try:
            self._socket, _ = self._listener.accept()
        except BlockingIOError:
            return False
        self._socket.settimeout(0)
        return True

    @property
    def is_asked(self) -> bool:
        return self._stream != 0

    def send(self, tokens: int) -> None:
        frame = framed(self._stream, message_of(TOKEN))
        self._side.charge(self._stream, tokens * len(message_of(TOKEN)))
        cast("socket.socket", self._socket).sendall(frame * tokens)

    def close(self) -> None:
        self._listener.close()
        if self._socket is not None:
            self._socket.close()


class ScriptedBrowser:
    """A browser that sends its request at once, and reads everything that arrives."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._socket.settimeout(0)
        self._socket.sendall(b"GET /api/ai/stream?prompt=hi HTTP/1.1\r\nHost: gateway\r\n\r\n")
        self.tokens = 0

    def answer(self) -> bool:
        self.tokens += _receive_nowait(self._socket).count(b"data: ")
        return False

    def close(self) -> None:
        self._socket.close()


class ScriptedGateway:
    """A gateway that asks the model service, and takes every token."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._socket.settimeout(0)
        self._side = AskingSide()
        self._side.ask("hi")
        self.tokens = 0

    def answer(self) -> bool:
        received = _receive_nowait(self._socket)
        self.tokens += received.count(TOKEN.encode())
        self._side.receive(received)
        data = self._side.data_to_send()
        self._socket.sendall(data)
        return bool(data)

    def close(self) -> None:
        self._socket.close()


class ScriptedBackend:
    """A backend of the model service: each byte from a socket is a number of tokens to give."""

    models = (ModelInfo("scripted"),)

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair()
        self._near.settimeout(0)
        self.is_asked = False

    def send(self, tokens: int) -> None:
        self._far.send(bytes([tokens]))

    @asynccontextmanager
    async def stream(self, conversation: "Conversation") -> "AsyncGenerator[_Tokens]":
        del conversation
        self.is_asked = True
        yield _Tokens(trio.socket.from_stdlib_socket(self._near))

    def close(self) -> None:
        self._near.close()
        self._far.close()


class _Tokens:
    outcome = UNKNOWN

    def __init__(self, source: trio.socket.SocketType) -> None:
        self._source = source
        self._left = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        if not self._left:
            self._left = (await self._source.recv(1))[0]
        self._left -= 1
        return TOKEN  # noqa: ASYNC910 - no checkpoint, like a backend with more tokens at hand
