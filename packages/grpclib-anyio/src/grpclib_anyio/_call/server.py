"""One call at the server: what its handler uses, and how the handler is run.

The handler runs in two cancel scopes. The inner one has the client's deadline; the outer one ends
when the stream does (RST_STREAM, connection lost). Whatever ends the handler, its clean-up has run
before the call is over.

A handler of generated code is given a message and nothing else. What it wants to know of its call,
and to say with it, goes by a context variable::

    async def say_hello(self, request: HelloRequest) -> HelloReply:
        call = current_call()
        call.set_trailing_metadata({"x-cost": "3"})
        return HelloReply(f"Hello {call.metadata.get('x-name')}")
"""

# grpclib keeps the types of what it gives to handlers to itself.
# pyright: reportPrivateUsage=false

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar, cast

import anyio
from grpclib.const import Cardinality, Status
from grpclib.encoding.base import CodecBase, StatusDetailsCodecBase
from grpclib.events import _DispatchServerEvents
from grpclib.exceptions import ProtocolError
from grpclib.metadata import (
    Deadline,
    decode_timeout,
    encode_bin_value,
    encode_grpc_message,
)
from grpclib.stream import StreamIterator
from h2.errors import ErrorCodes
from multidict import MultiDict

from grpclib_anyio._base.cancelled import is_cancelled, is_scope_cancelled
from grpclib_anyio._base.errors import GRPCError, TerminatedError, again
from grpclib_anyio._base.headers import (
    Headers,
    Metadata,
    MetadataLike,
    content_type,
    cut_grpc_message,
    decode_metadata,
    encode_metadata,
    is_content_type,
    quote,
)
from grpclib_anyio._base.peer import Peer
from grpclib_anyio._stream.compression import ENCODING, accepts_gzip, is_accepted
from grpclib_anyio._stream.stream import MessageStream

__all__ = ["Method", "Services", "Stream", "current_call", "request_handler"]

_RecvType = TypeVar("_RecvType")
_SendType = TypeVar("_SendType")

#: gRPC PROTOCOL-HTTP2, Timeout: 8 digits and a unit.
_MAX_TIMEOUT_LENGTH = 9

_MESSAGE, _DETAILS = "grpc-message", "grpc-status-details-bin"

_log = logging.getLogger("grpclib_anyio")


#: The call whose handler the current task runs, or was started by.
_current: ContextVar["Stream[Any, Any]"] = ContextVar("grpclib_anyio_current_call")


def current_call() -> "Stream[Any, Any]":
    """Return the call whose handler runs here; a plain call.

    It works in a handler, in a listener to ``RecvRequest``, and in every task that a handler has
    started. Read ``metadata``, ``deadline``, ``peer`` and ``user_agent``, and set metadata to be
    sent. In a handler of generated code, do not receive or send messages: the generated code does.

    Raises:
        LookupError: no handler runs here.

    """
    try:
        return _current.get()
    except LookupError:
        raise LookupError(
            "No gRPC call is handled here: ask in a handler, or in its tasks"
        ) from None


class Method(NamedTuple):
    """grpclib's ``Handler``, with types."""

    func: Callable[[Any], Awaitable[None]]
    cardinality: Cardinality
    request_type: type[Any]
    reply_type: type[Any]


@dataclass(frozen=True)
class Services:
    """What all calls of a server share."""

    mapping: Mapping[str, Method]
    codec: CodecBase
    status_details_codec: StatusDetailsCodecBase | None
    dispatch: _DispatchServerEvents
    #: Responses are compressed where the client accepts it.
    compresses: bool
    #: The header that says how requests may be compressed.
    accept_encoding: tuple[str, str]


class Stream(StreamIterator[_RecvType], Generic[_RecvType, _SendType]):
    """What a handler is given: grpclib's ``Stream`` in every method.

    The handler is cancelled when the call ends before it does, so it need not look for that.
    """

    def __init__(
        self,
        stream: MessageStream,
        services: Services,
        method: Method,
        peer: Peer,
        fields: Mapping[str, str],
    ) -> None:
        """Wrap the stream of a request whose headers are ``fields``."""
        #: The client's metadata.
        self.metadata: Metadata = MultiDict()
        #: When the client gives up, if it said so.
        self.deadline: Deadline | None = None
        self.user_agent = fields.get("user-agent")
        #: The client.
        self.peer = peer
        self._stream = stream
        self._stream.outbox.is_compressing = services.compresses and accepts_gzip(
            fields.get("grpc-accept-encoding", "")
        )
        self._services = services
        # grpclib's namedtuple has no types.
        self._client_streaming: bool = cast("Any", method.cardinality).client_streaming
        self._server_streaming: bool = cast("Any", method.cardinality).server_streaming
        self._path = fields.get(":path")
        #: Of a unary request, which has to have one.
        self._messages_received = 0
        self._recv_type = method.request_type
        self._send_type = method.reply_type
        self._dispatch = services.dispatch
        self._initial_metadata: MetadataLike = ()
        self._trailing_metadata: MetadataLike = ()
        self._headers_sent = False
        self._message_sent = False
        self._trailers_sent = False
        self._is_cancelled = False

    async def recv_message(self) -> _RecvType | None:
        """Return the next message, or None when the client has sent its last.

        Raises:
            GRPCError: INTERNAL, the message cannot be decoded; UNIMPLEMENTED, a unary request
                has no message, or several.

        """
        data = await self._stream.receive()
        if not self._client_streaming:
            self._check_count(data)
        if data is None:
            return None
        (message,) = await self._dispatch.recv_message(self._decode(data))
        return cast("_RecvType", message)

    def set_initial_metadata(self, metadata: MetadataLike) -> None:
        """Have the response's headers carry ``metadata``; a plain call.

        It is sent with the first message or, if there is none, before the status. Not in grpclib.

        Raises:
            ProtocolError: the headers have been sent.
            TypeError: a value is not a string, or that of a ``-bin`` key is not bytes.
            ValueError: a key or a value cannot be sent.

        """
        if self._headers_sent or self._trailers_sent:
            raise ProtocolError("Initial metadata was already sent")
        encode_metadata(metadata)  # a mistake is found here, and not where nobody can be told
        self._initial_metadata = MultiDict[Any](metadata)

    def set_trailing_metadata(self, metadata: MetadataLike) -> None:
        """Have the response's status carry ``metadata``, whichever it is; a plain call.

        Also the status of a handler that fails or is cancelled, such as DEADLINE_EXCEEDED. A client
        that has reset the call is sent nothing. Not in grpclib.

        Raises:
            ProtocolError: the status has been sent.
            TypeError: a value is not a string, or that of a ``-bin`` key is not bytes.
            ValueError: a key or a value cannot be sent.

        """
        if self._trailers_sent:
            raise ProtocolError("Trailing metadata was already sent")
        encode_metadata(metadata)  # a mistake is found here, and not where nobody can be told
        self._trailing_metadata = MultiDict[Any](metadata)

    async def send_initial_metadata(self, *, metadata: MetadataLike | None = None) -> None:
        """Send the response's headers; done by the first ``send_message`` if not before.

        ``metadata`` is sent as well as what was set by :meth:`set_initial_metadata`.
        """
        if self._headers_sent:
            raise ProtocolError("Initial metadata was already sent")
        (own,) = await self._dispatch.send_initial_metadata(
            _merged(self._initial_metadata, metadata)
        )
        self._send_headers(encode_metadata(own))

    async def send_message(self, message: _SendType) -> None:
        """Send one message.

        Waits while 64 KiB of this call are unsent (``Configuration.max_outbox_size``).
        """
        if not self._headers_sent:
            await self.send_initial_metadata()
        if self._message_sent and not self._server_streaming:
            raise ProtocolError("Message was already sent")
        (message,) = await self._dispatch.send_message(message)
        await self._stream.send(self._services.codec.encode(message, self._send_type))
        self._message_sent = True

    async def send_trailing_metadata(
        self,
        *,
        status: Status = Status.OK,
        status_message: str | None = None,
        status_details: Any = None,
        metadata: MetadataLike | None = None,
    ) -> None:
        """End the response with a status; done when the handler returns if not before.

        ``metadata`` is sent as well as what was set by :meth:`set_trailing_metadata`.
        """
        if self._trailers_sent:
            raise ProtocolError("Trailing metadata was already sent")
        if status is Status.OK and not self._may_succeed:
            raise ProtocolError("A unary response with status OK needs a message")
        if self._initial_metadata and not self._headers_sent:
            await self.send_initial_metadata()
        (own,) = await self._dispatch.send_trailing_metadata(
            _merged(self._trailing_metadata, metadata),
            status=status,
            status_message=status_message,
            status_details=status_details,
        )
        trailers = self._status_headers(status, status_message, status_details)
        self._end([*trailers, *encode_metadata(own)])

    async def cancel(self) -> None:
        """Reset the stream with CANCEL; not a checkpoint."""
        if self._is_cancelled:
            raise ProtocolError("Stream was already cancelled")
        self._is_cancelled = True
        self._stream.release(ErrorCodes.CANCEL)

    # -- for the runner -------------------------------------------------------------------------

    @property
    def has_ended(self) -> bool:
        """Whether the handler has ended the response itself."""
        return self._trailers_sent or self._is_cancelled

    @property
    def _may_succeed(self) -> bool:
        return self._message_sent or self._server_streaming

    async def end(self, error: GRPCError | None) -> None:
        """End the response when the handler is over."""
        if error is None and not self._may_succeed:
            _log.error("A handler of a unary response returned without a message")
            error = _internal_error()
        if self._initial_metadata and not self._headers_sent:
            error = await self._send_set_metadata() or error
        if error is None:
            await self.send_trailing_metadata()
        else:
            await self.send_trailing_metadata(
                status=error.status, status_message=error.message, status_details=error.details
            )

    async def _send_set_metadata(self) -> GRPCError | None:
        """Send the initial metadata that was set, or return why the client does not take it."""
        try:
            await self.send_initial_metadata()
        except GRPCError as error:
            return again(error)
        return None

    def end_nowait(self, error: GRPCError) -> None:
        """End the response where nothing can be awaited; what is unsent is lost."""
        if self.has_ended or self._stream.outbox:
            return
        if self._initial_metadata and not self._headers_sent:
            with suppress(GRPCError):  # too large for the client: the status goes without it
                self._send_headers(encode_metadata(self._initial_metadata))
        trailers = self._status_headers(error.status, error.message, None)
        self._end([*trailers, *encode_metadata(self._trailing_metadata)])

    # -- inside ---------------------------------------------------------------------------------

    def _check_count(self, data: bytes | None) -> None:
        """Raise ``GRPCError`` if a unary request is not unary (gRPC statuscodes document)."""
        self._messages_received += data is not None
        if self._messages_received != 1:
            seen = "several messages" if self._messages_received else "no message"
            _log.warning("A request for %s has %s where one is due", self._path, seen)
            raise GRPCError(Status.UNIMPLEMENTED, f"The request has {seen} where one is due")

    def _decode(self, data: bytes) -> Any:
        try:
            return self._services.codec.decode(data, self._recv_type)
        except GRPCError:  # the codec says what is wrong
            raise
        except Exception as error:
            raise GRPCError(Status.INTERNAL, "Malformed message") from error

    def _send_headers(self, metadata: Collection[tuple[str, str]]) -> None:
        encoding = [ENCODING] if self._stream.outbox.is_compressing else ()
        headers = [*self._response_headers(), *encoding, *metadata]
        if self._stream.headers_room(headers) < 0:
            self._initial_metadata = ()  # the status is sent without it
            raise _metadata_too_large()
        self._stream.send_headers(headers)
        self._headers_sent = True

    def _response_headers(self) -> Headers:
        kind = content_type(self._services.codec)
        return [(":status", "200"), ("content-type", kind), self._services.accept_encoding]

    def _status_headers(self, status: Status, message: str | None, details: Any) -> Headers:
        headers = [] if self._headers_sent else self._response_headers()
        headers.append(("grpc-status", str(status.value)))
        if message is not None:
            headers.append((_MESSAGE, encode_grpc_message(message)))
        codec = self._services.status_details_codec
        if details is not None and codec is not None:
            value = encode_bin_value(codec.encode(status, message, details)).decode("ascii")
            headers.append((_DETAILS, value))
        return headers

    def _end(self, trailers: Headers) -> None:
        self._trailers_sent = True
        self._stream.end(self._fitted(trailers))

    def _fitted(self, trailers: Headers) -> Headers:
        """Return as much of ``trailers`` as the client takes; the rest would end its connection."""
        if self._stream.headers_room(trailers) >= 0:
            return trailers
        # What only explains the status goes first.
        rest = [(n, v) for n, v in trailers if n not in {_DETAILS, _MESSAGE}]
        message = dict(trailers).get(_MESSAGE, "")
        room = self._stream.headers_room([*rest, (_MESSAGE, "")])
        if room >= 0:
            return [*rest, (_MESSAGE, cut_grpc_message(message, room))]
        error = _metadata_too_large()
        return self._status_headers(error.status, error.message, None)


def _merged(*parts: MetadataLike | None) -> MultiDict[Any]:
    merged = MultiDict[Any]()
    for part in parts:
        merged.extend(part or ())
    return merged


async def request_handler(services: Services, stream: MessageStream, peer: Peer) -> None:
    """Run the handler that a new stream asks for, and see the stream to its end.

    Raises nothing but the cancellation of the scope around it, KeyboardInterrupt and SystemExit,
    which are for the whole program. What else a handler raises becomes a status and a line in the
    log. On asyncio, to cancel this task ends this call only.
    """
    try:
        with anyio.CancelScope() as scope:  # noqa: ASYNC912 - what awaits is the handler
            stream.on_failure = scope.cancel
            if stream.error is None:
                await _Call(services, stream, peer).run()
    except Exception as error:  # noqa: BLE001 - no call may take the others with it
        if (
            stream.error is None or error.args != stream.error.args
        ):  # not the client's doing, but a listener's or a codec's
            _log.error("Cannot end a response", exc_info=error)
            stream.release(ErrorCodes.INTERNAL_ERROR)
    except BaseException as error:  # noqa: ASYNC103 - not our cancellation
        if _is_exit(error) or is_scope_cancelled():
            raise
        if not is_cancelled():  # nor is this task; an odd error of a listener's or a codec's
            _log.error("Cannot end a response", exc_info=error)
            stream.release(ErrorCodes.INTERNAL_ERROR)
    finally:
        # If the client has not ended its side yet, it need not go on (RFC 9113 § 8.1).
        stream.release(ErrorCodes.NO_ERROR if stream.state.local_ended else ErrorCodes.CANCEL)


class _Call:
    """The life of one request."""

    def __init__(self, services: Services, stream: MessageStream, peer: Peer) -> None:
        self._services = services
        self._stream = stream
        self._peer = peer
        self._fields = dict(stream.headers or [])
        self._deadline = float("inf")

    async def run(self) -> None:
        method = self._services.mapping.get(self._fields.get(":path", ""))
        if refusal := self._refusal(method):
            self._stream.end(refusal)
            return
        call = Stream[Any, Any](
            self._stream, self._services, cast("Method", method), self._peer, self._fields
        )
        try:
            _current.set(call)  # for this task, which is the call's own
            await self._answer(call, cast("Method", method))
        except (anyio.get_cancelled_exc_class(), BaseExceptionGroup):
            if self._stream.error is None:  # not the client's doing
                call.end_nowait(_status_of_cancelled())
            raise

    def _refusal(self, method: Method | None) -> Headers | None:
        fields = self._fields
        if fields.get(":method") != "POST":
            return [(":status", "405")]
        kind = fields.get("content-type", "")
        if not is_content_type(kind, self._services.codec):
            return _trailers_only("415", Status.UNKNOWN, "Unacceptable content-type")
        if method is None:
            return _trailers_only("200", Status.UNIMPLEMENTED, "Method not found")
        encoding = fields.get("grpc-encoding", "identity")
        if not is_accepted(encoding, self._services.accept_encoding):
            refusal = f"Compression {quote(encoding)} is not supported"
            # gRPC compression document, "Compression Method Asymmetry": say what would be.
            return [
                *_trailers_only("200", Status.UNIMPLEMENTED, refusal),
                self._services.accept_encoding,
            ]
        return None

    async def _answer(self, call: Stream[Any, Any], method: Method) -> None:
        error: GRPCError | None = GRPCError(Status.DEADLINE_EXCEEDED, "Deadline exceeded")
        try:
            self._read_headers(call)
        except ValueError:
            error = GRPCError(Status.INTERNAL, "Malformed metadata or grpc-timeout")
        else:
            with anyio.CancelScope(deadline=self._deadline) as scope:
                error = await self._handle(call, method)
            if scope.cancelled_caught:
                call.end_nowait(GRPCError(Status.DEADLINE_EXCEEDED, "Deadline exceeded"))
                return
        with anyio.CancelScope(deadline=self._deadline):
            if not call.has_ended:
                await call.end(error)
            await self._stream.wait_sent()

    def _read_headers(self, call: Stream[Any, Any]) -> None:
        call.metadata = decode_metadata(self._stream.headers or [])
        timeout = self._fields.get("grpc-timeout")
        if timeout is not None:
            if len(timeout) > _MAX_TIMEOUT_LENGTH:
                raise ValueError(timeout)
            seconds = decode_timeout(timeout)
            self._deadline = anyio.current_time() + seconds
            call.deadline = Deadline.from_timeout(seconds)

    async def _handle(self, call: Stream[Any, Any], method: Method) -> GRPCError | None:
        try:
            call.metadata, func = await self._services.dispatch.recv_request(
                cast("Any", call.metadata),
                method.func,
                method_name=self._fields[":path"],
                deadline=call.deadline,
                content_type=self._fields["content-type"],
                user_agent=call.user_agent,
                peer=cast("Any", call.peer),
            )
            await func(cast("Any", call))
        except Exception as error:  # noqa: BLE001 - a handler's error becomes a status
            return self._status_of(error)
        except BaseExceptionGroup as group:
            if not (_is_exit(group) or is_cancelled()):
                return self._status_of_odd(group)
            # Errors that came with a cancellation, which goes on without them: at the scope that
            # ends it they would be all that is left, and end the server.
            errors, rest = group.split(Exception)
            if errors is not None:
                self._status_of(errors)
            raise rest or group from None
        except BaseException as error:  # noqa: ASYNC103 - not our cancellation
            if _is_exit(error) or is_cancelled():
                raise
            return self._status_of_odd(error)  # noqa: ASYNC104 - not our cancellation
        return None

    def _status_of_odd(self, error: BaseException) -> GRPCError:
        """Log what no handler should raise, such as the cancellation of some other task.

        For example, on asyncio a handler awaits a task that somebody has cancelled, and is told
        ``CancelledError`` itself.
        """
        _log.error("Odd error in the handler of %s", self._fields[":path"], exc_info=error)
        return _internal_error()

    def _status_of(self, error: Exception) -> GRPCError:
        """Return what the client is told of a handler's error; log what it is not told."""
        match error:
            case ExceptionGroup(exceptions=[Exception() as only]):
                return self._status_of(only)
            case GRPCError() if not isinstance(error, TerminatedError):
                return again(error)
            case TerminatedError() if self._stream.error is not None:
                pass
            case _:
                _log.error("Error in the handler of %s", self._fields[":path"], exc_info=error)
        return _internal_error()


def _is_exit(error: BaseException) -> bool:
    """Say whether an error is for the whole program to end."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(_is_exit, cast("Any", error).exceptions))
    return isinstance(error, KeyboardInterrupt | SystemExit)


def _status_of_cancelled() -> GRPCError:
    if is_scope_cancelled():
        return GRPCError(Status.UNAVAILABLE, "The server is shutting down")
    return GRPCError(Status.CANCELLED, "The handler was cancelled")


def _metadata_too_large() -> GRPCError:
    return GRPCError(Status.RESOURCE_EXHAUSTED, "The metadata is larger than the client takes")


def _internal_error() -> GRPCError:
    return GRPCError(Status.UNKNOWN, "Internal Server Error")


def _trailers_only(http_status: str, status: Status, message: str) -> Headers:
    return [
        (":status", http_status),
        ("content-type", "application/grpc"),
        ("grpc-status", str(status.value)),
        ("grpc-message", encode_grpc_message(message)),
    ]
