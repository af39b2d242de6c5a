"""One call at the client, from request to status.

How a call is cancelled: its scope is cancelled, ``Cancelled`` is raised at the await that the call
is in, and leaving ``async with`` resets the stream with CANCEL. That is a plain call, so it works
in a cancelled task, in a generator that is being closed, and in one that is garbage.

A call holds no cancel scope between awaits. Its deadline is an timer of the *channel's* that fails
the stream. So a slow consumer is never cancelled within its own code, and a generator
around a call, such as betterproto's stubs, does not yield inside a scope (PEP 789).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

import anyio
from anyio.abc import TaskGroup
from grpclib.const import Cardinality, Status
from grpclib.encoding.base import CodecBase, StatusDetailsCodecBase
from grpclib.events import _DispatchChannelEvents  # pyright: ignore[reportPrivateUsage] - grpclib exports no other
from grpclib.exceptions import ProtocolError
from grpclib.metadata import USER_AGENT, Deadline
from grpclib.stream import StreamIterator

from grpclib_anyio._base.errors import (
    DeadlineExceededError,
    GRPCError,
    TerminatedError,
    UnprocessedError,
)
from grpclib_anyio._base.headers import (
    Headers,
    Metadata,
    content_type,
    encode_metadata,
    encode_timeout,
)
from grpclib_anyio._base.peer import Peer
from grpclib_anyio._base.trio_io import current_time
from grpclib_anyio._call.response import ResponseStatus, check_headers, read_metadata, read_status
from grpclib_anyio._call.retry import Retry
from grpclib_anyio._channel.connector import Connector
from grpclib_anyio._connection.connection import Connection
from grpclib_anyio._stream.compression import ENCODING
from grpclib_anyio._stream.stream import MessageStream

if TYPE_CHECKING:
    from grpclib_anyio._channel.timers import Timer

__all__ = ["Client", "Stream"]

_SendType = TypeVar("_SendType")
_RecvType = TypeVar("_RecvType")


@dataclass(frozen=True)
class Client:
    """What all calls of a channel share."""

    connector: Connector
    scheme: str
    authority: str
    codec: CodecBase
    status_details_codec: StatusDetailsCodecBase | None
    dispatch: _DispatchChannelEvents
    #: Requests are compressed.
    compresses: bool
    #: The header that says how responses may be compressed.
    accept_encoding: tuple[str, str]


class _Until:
    """Bounds the awaits inside, and nothing that the caller does between them.

    A class, because from Python 3.12 on ``contextlib`` puts the error that it replaces in a cycle.
    """

    def __init__(self, deadline: float | None) -> None:
        self._scope = anyio.CancelScope(deadline=math.inf if deadline is None else deadline)

    def __enter__(self) -> None:
        self._scope.__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self._scope.__exit__(exc_type, exc_val, exc_tb)
        if self._scope.cancelled_caught:
            raise DeadlineExceededError


class Stream(StreamIterator[_RecvType], Generic[_SendType, _RecvType]):
    """One call, from request to status; grpclib's ``Stream`` in every method.

    Leaving ``async with`` without an exception waits for the status and raises ``GRPCError`` if
    it is not OK. Leaving it with one, ``Cancelled`` included, awaits nothing and resets the
    stream.

    Every method that waits raises ``GRPCError`` when the call fails meanwhile: with the server's
    status, ``DeadlineExceededError`` at the deadline, or ``TerminatedError`` when the peer resets
    the stream or the connection is lost.
    """

    def __init__(
        self,
        client: Client,
        method_name: str,
        metadata: Metadata,
        *,
        cardinality: Cardinality,
        send_type: type[_SendType],
        recv_type: type[_RecvType],
        deadline: float | None,
    ) -> None:
        """Prepare a call; see ``Channel.request``. ``deadline`` is on the loop's clock."""
        #: The server's initial metadata, once received.
        self.initial_metadata: Metadata | None = None
        #: The server's trailing metadata, once received.
        self.trailing_metadata: Metadata | None = None
        #: The server, once the request has been sent.
        self.peer: Peer | None = None
        self._client = client
        self._method_name = method_name
        self._metadata = metadata
        # grpclib's namedtuple has no types.
        self._client_streaming: bool = cast("Any", cardinality).client_streaming
        self._server_streaming: bool = cast("Any", cardinality).server_streaming
        #: Of a unary response, which has to have one.
        self._messages_received = 0
        self._send_type = send_type
        self._recv_type = recv_type
        self._deadline = deadline
        self._dispatch = client.dispatch
        self._codec = client.codec
        self._open_stream: MessageStream | None = None
        self._timer: Timer | None = None
        #: None when the call cannot be made again: any more, or yet.
        self._retry: Retry | None = None
        #: Why no more messages can be received after those that ``recv_messages`` has returned.
        self._malformed: GRPCError | None = None
        self._message_sent = False
        self._end_sent = False
        self._is_cancelled = False

    async def __aenter__(self) -> Self:
        """Begin; nothing is sent yet."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Wait for the status, or after an exception reset the stream without an await."""
        try:
            if exc_val is None:
                await self._finish()  # noqa: ASYNC102 - the call's end, not clean-up after one
            elif isinstance(exc_val, TerminatedError):
                self._raise_early_status()
        finally:
            self.release()

    # -- sending --------------------------------------------------------------------------------

    async def send_request(self, *, end: bool = False) -> None:
        """Send the headers; done by the first ``send_message`` if not before.

        Connects and waits for a slot as needed. With ``end`` a streaming request has no messages.
        """
        if self._open_stream is not None:
            raise ProtocolError("Request is already sent")
        if end and not self._client_streaming:
            raise ProtocolError("A unary request needs a message before it ends")
        headers = await self._request_headers()
        self._retry = Retry(headers, self._client.connector.config.max_retry_buffer_size)
        connector = self._client.connector
        opened = connector.open_stream_nowait(headers)
        if opened is None:
            with _Until(self._deadline):
                opened = await connector.open_stream(headers)
        self._opened(*opened)
        if end:
            await self.end()

    async def send_message(self, message: _SendType, *, end: bool = False) -> None:
        """Send one message; with ``end``, or in a unary request, the last.

        Waits while 64 KiB of this call are unsent (``Configuration.max_outbox_size``).
        """
        if self._open_stream is None:
            await self.send_request()
        if self._end_sent:
            raise ProtocolError("The request has ended")
        end = end or not self._client_streaming
        (message,) = await self._dispatch.send_message(message)
        data = self._codec.encode(message, self._send_type)
        await self._send(data, end=end)
        self._message_sent = True
        self._end_sent = end

    async def end(self) -> None:
        """End a streaming request; not a checkpoint."""
        if self._end_sent:
            raise ProtocolError("The request has ended already")
        if not self._client_streaming:
            raise ProtocolError("A unary request ends with its message")
        self._stream.end()
        self._end_sent = True
        if self._retry is not None:
            self._retry.end()

    async def cancel(self) -> None:
        """Reset the stream with CANCEL; not a checkpoint."""
        if self._is_cancelled:
            raise ProtocolError("The call is cancelled already")
        self._is_cancelled = True
        self._drop_retry()
        self._stream.abort(TerminatedError(Status.CANCELLED, "Cancelled by the caller"))

    # -- receiving ------------------------------------------------------------------------------

    async def recv_initial_metadata(self) -> None:
        """Wait for the response's headers; done by the first ``recv_message``."""
        if self.initial_metadata is not None:
            raise ProtocolError("Initial metadata was already received")
        headers = await self._receive_headers()
        fields = dict(headers)
        # gRPC PROTOCOL-HTTP2, Responses: a status counts in the block that ends the stream.
        is_trailers_only = self._stream.trailers is headers and "grpc-status" in fields
        if not is_trailers_only:
            check_headers(fields, self._codec, self._client.accept_encoding)
        # A trailers-only response holds its metadata in the trailers alone.
        own = [] if is_trailers_only else headers
        (self.initial_metadata,) = await self._dispatch.recv_initial_metadata(read_metadata(own))
        if is_trailers_only:
            await self._receive_status(headers)

    async def recv_message(self) -> _RecvType | None:
        """Return the next message, or None when the server has sent its last."""
        if self.initial_metadata is None:
            await self.recv_initial_metadata()
        data = await self._stream.receive()
        if data is None:
            return None
        if not self._server_streaming:
            self._count_message()
        (message,) = await self._dispatch.recv_message(self._decode_message(data))
        return cast("_RecvType", message)

    async def recv_messages(self, limit: int = 64) -> list[_RecvType]:
        """Return the messages that have arrived, or none when the server has sent its last.

        Waits for the first and takes at most ``limit`` at once, which costs less than one by one.
        Not in grpclib. A message that cannot be decoded fails the next ``recv_messages``, once
        those before it have been returned.
        """
        if self.initial_metadata is None:
            await self.recv_initial_metadata()
        if self._malformed is not None:
            raise self._malformed
        messages: list[_RecvType] = []
        try:
            for data in await self._stream.receive_several(limit):
                if not self._server_streaming:
                    self._count_message()
                (message,) = await self._dispatch.recv_message(self._decode_message(data))
                messages.append(cast("_RecvType", message))
        except GRPCError as error:
            if not messages:
                raise
            self._malformed = error
        return messages

    async def recv_trailing_metadata(self) -> None:
        """Wait for the status; done by leaving ``async with``. Not a checkpoint if it is there."""
        if not (self._end_sent or self._stream.state.remote_ended):
            raise ProtocolError("The request has not ended")
        if self.initial_metadata is None:
            raise ProtocolError("Initial metadata was not received")
        if self.trailing_metadata is not None:
            return
        while not self._server_streaming and await self._stream.receive() is not None:
            self._count_message()
        await self._receive_status(await self._stream.receive_trailers())

    # -- inside ---------------------------------------------------------------------------------

    @property
    def tasks(self) -> TaskGroup:
        """The channel's task group, for tasks that end with the call."""
        return self._client.connector.tasks

    @property
    def _stream(self) -> MessageStream:
        if self._open_stream is None:
            raise ProtocolError("Request was not sent yet")
        return self._open_stream

    async def _request_headers(self) -> Callable[[], Headers]:
        now = current_time()
        if self._deadline is not None and self._deadline <= now:
            raise DeadlineExceededError
        kind = content_type(self._codec)
        (metadata,) = await self._dispatch.send_request(
            self._metadata,
            method_name=self._method_name,
            deadline=_grpclib_deadline(self._deadline, now),
            content_type=kind,
        )
        own = [
            ("te", "trailers"),
            ("content-type", kind),
            *([ENCODING] if self._client.compresses else ()),
            self._client.accept_encoding,
            ("user-agent", USER_AGENT),
            *encode_metadata(metadata),
        ]
        return lambda: [*self._pseudo_headers(), *self._timeout_header(), *own]

    def _pseudo_headers(self) -> Headers:
        return [
            (":method", "POST"),
            (":scheme", self._client.scheme),
            (":path", self._method_name),
            (":authority", self._client.authority),
        ]

    def _timeout_header(self) -> Headers:
        if self._deadline is None:
            return []
        return [("grpc-timeout", encode_timeout(self._deadline - current_time()))]

    def _opened(self, connection: Connection, stream: MessageStream) -> None:
        self._open_stream = stream
        stream.outbox.is_compressing = self._client.compresses
        self.peer = Peer(connection.transport)
        if self._deadline is not None:
            stream.deadline = self._deadline
            if self._timer is None:
                timers = self._client.connector.timers
                self._timer = timers.call_at(self._deadline, self._expire)

    def _expire(self) -> None:
        self._stream.abort(DeadlineExceededError())

    async def _finish(self) -> None:
        if self._open_stream is None or self._is_cancelled:
            return
        if self.initial_metadata is None:
            await self.recv_initial_metadata()
        await self.recv_trailing_metadata()

    def release(self) -> None:
        """Let go of the call without an await; resets the stream unless it is over."""
        self._drop_retry()
        if self._timer is not None:
            self._timer.cancel()
        if self._open_stream is not None:
            self._open_stream.release()

    # -- made again when it was not processed, see retry.py --------------------------------------

    async def _send(self, data: bytes, *, end: bool) -> None:
        stream = self._stream
        try:
            await stream.send(data, end=end)
        except UnprocessedError:
            if not await self._is_made_again(stream):  # noqa: ASYNC120 - then the call has ended
                raise
            await self._send(data, end=end)
        else:
            if self._retry is not None and not self._retry.add(data, end=end):
                self._drop_retry()

    async def _receive_headers(self) -> Headers:
        stream = self._stream
        try:
            headers = await stream.receive_headers()
        except UnprocessedError:
            if not await self._is_made_again(stream):  # noqa: ASYNC120 - then the call has ended
                raise
            return await self._receive_headers()
        self._drop_retry()
        return headers

    async def _is_made_again(self, failed: MessageStream) -> bool:
        """Put the call on another stream than ``failed``, if it can be, and say whether it is.

        Not a checkpoint when another task has done it.
        """
        # Do not pass the exception in: its traceback would reference this frame, and the frame the
        # exception (a cycle).
        retry = self._retry
        if retry is not None and failed.headers is None:
            with _Until(self._deadline):
                async with retry.lock:
                    # Another task of this call may have been here first, or may have ended it.
                    if self._retry is retry:
                        await self._reopen(retry, failed)
        return self._open_stream is not failed

    async def _reopen(self, retry: Retry, failed: MessageStream) -> None:
        failed.release()
        if self._is_late():  # the timer has fired already, for the stream that failed
            raise DeadlineExceededError
        connector = self._client.connector
        if not connector.is_entered:
            return
        with anyio.CancelScope() as retry.scope:
            connection, stream = await connector.open_stream(retry.headers)
            if self._retry is not retry:  # cancelled or left when the stream was there already
                stream.release()
                return
            self._retry = None  # once is enough
            self._opened(connection, stream)
            retry.send(stream)

    def _drop_retry(self) -> None:
        retry, self._retry = self._retry, None
        if retry is not None:
            retry.interrupt()

    # -- the response -----------------------------------------------------------------------------

    def _count_message(self) -> None:
        self._messages_received += 1
        if self._messages_received > 1:
            raise _not_one_message("several messages")

    def _decode_message(self, data: bytes) -> _RecvType:
        try:
            return cast("_RecvType", self._codec.decode(data, self._recv_type))
        except GRPCError:  # the codec says what is wrong
            raise
        except Exception as error:
            raise GRPCError(Status.INTERNAL, "The peer sent a malformed message") from error

    async def _receive_status(self, trailers: Headers) -> None:
        status, message, details = self._read_status(trailers)
        (self.trailing_metadata,) = await self._dispatch.recv_trailing_metadata(
            read_metadata(trailers), status=status, status_message=message, status_details=details
        )
        self._raise_status(status, message, details)
        if not (self._server_streaming or self._messages_received):
            raise _not_one_message("no message")

    def _raise_early_status(self) -> None:
        """Prefer what the server said to how it ended the stream after it had spoken."""
        stream = self._open_stream
        if stream is None:
            return
        if stream.trailers is not None and "grpc-status" in dict(stream.trailers):
            self._raise_status(*self._read_status(stream.trailers))

    def _read_status(self, trailers: Headers) -> ResponseStatus:
        return read_status(trailers, self._client.status_details_codec)

    def _raise_status(self, status: Status, message: str | None, details: Any) -> None:
        if status is Status.OK:
            return
        if status is Status.CANCELLED and self._is_late():
            raise DeadlineExceededError
        raise GRPCError(status, message, details)

    def _is_late(self) -> bool:
        return self._deadline is not None and current_time() >= self._deadline


def _not_one_message(seen: str) -> GRPCError:
    """Return the error of a unary response that is not unary (gRPC statuscodes document)."""
    text = f"The peer answered with {seen} where one is due"
    return GRPCError(Status.UNIMPLEMENTED, text)


def _grpclib_deadline(deadline: float | None, now: float) -> Deadline | None:
    """Express a time on the loop's clock on grpclib's, for those who listen to events."""
    return None if deadline is None else Deadline.from_timeout(deadline - now)
