"""A service with a method of each cardinality, as betterproto generates it."""

# As the compiler wrote it: neither its types nor its style are ours.
# mypy: ignore-errors
# pyright: basic, reportArgumentType=false
# flake8: noqa: ASYNC109, ASYNC900
# ruff: noqa: ARG002, TC004, UP006, UP007, UP035, UP045

from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    AsyncIterable,
    AsyncIterator,
    Dict,
    Iterable,
    Optional,
    Union,
)

import betterproto
import grpclib
from betterproto.grpc.grpclib_server import ServiceBase

if TYPE_CHECKING:
    import grpclib.server
    from betterproto.grpc.grpclib_client import MetadataLike
    from grpclib.metadata import Deadline


@dataclass(eq=False, repr=False)
class Line(betterproto.Message):
    text: str = betterproto.string_field(1)


class ConversationStub(betterproto.ServiceStub):
    async def ask(
        self,
        line: "Line",
        *,
        timeout: Optional[float] = None,  # noqa: ASYNC109
        deadline: Optional["Deadline"] = None,
        metadata: Optional["MetadataLike"] = None,
    ) -> "Line":
        return await self._unary_unary(
            "/conversation.Conversation/Ask",
            line,
            Line,
            timeout=timeout,
            deadline=deadline,
            metadata=metadata,
        )

    async def listen(
        self,
        line: "Line",
        *,
        timeout: Optional[float] = None,  # noqa: ASYNC109
        deadline: Optional["Deadline"] = None,
        metadata: Optional["MetadataLike"] = None,
    ) -> AsyncIterator[Line]:
        async for response in self._unary_stream(
            "/conversation.Conversation/Listen",
            line,
            Line,
            timeout=timeout,
            deadline=deadline,
            metadata=metadata,
        ):
            yield response

    async def tell(
        self,
        line_iterator: Union[AsyncIterable[Line], Iterable[Line]],
        *,
        timeout: Optional[float] = None,  # noqa: ASYNC109
        deadline: Optional["Deadline"] = None,
        metadata: Optional["MetadataLike"] = None,
    ) -> "Line":
        return await self._stream_unary(
            "/conversation.Conversation/Tell",
            line_iterator,
            Line,
            Line,
            timeout=timeout,
            deadline=deadline,
            metadata=metadata,
        )

    async def talk(
        self,
        line_iterator: Union[AsyncIterable[Line], Iterable[Line]],
        *,
        timeout: Optional[float] = None,  # noqa: ASYNC109
        deadline: Optional["Deadline"] = None,
        metadata: Optional["MetadataLike"] = None,
    ) -> AsyncIterator[Line]:
        async for response in self._stream_stream(
            "/conversation.Conversation/Talk",
            line_iterator,
            Line,
            Line,
            timeout=timeout,
            deadline=deadline,
            metadata=metadata,
        ):
            yield response


class ConversationBase(ServiceBase):
    async def ask(self, line: "Line") -> "Line":
        raise grpclib.GRPCError(grpclib.const.Status.UNIMPLEMENTED)

    async def listen(self, line: "Line") -> AsyncIterator[Line]:
        raise grpclib.GRPCError(grpclib.const.Status.UNIMPLEMENTED)
        yield Line()

    async def tell(self, line_iterator: AsyncIterator[Line]) -> "Line":
        raise grpclib.GRPCError(grpclib.const.Status.UNIMPLEMENTED)

    async def talk(self, line_iterator: AsyncIterator[Line]) -> AsyncIterator[Line]:
        raise grpclib.GRPCError(grpclib.const.Status.UNIMPLEMENTED)
        yield Line()

    async def __rpc_ask(self, stream: "grpclib.server.Stream[Line, Line]") -> None:
        request = await stream.recv_message()
        response = await self.ask(request)
        await stream.send_message(response)

    async def __rpc_listen(self, stream: "grpclib.server.Stream[Line, Line]") -> None:
        request = await stream.recv_message()
        await self._call_rpc_handler_server_stream(
            self.listen,
            stream,
            request,
        )

    async def __rpc_tell(self, stream: "grpclib.server.Stream[Line, Line]") -> None:
        request = stream.__aiter__()
        response = await self.tell(request)
        await stream.send_message(response)

    async def __rpc_talk(self, stream: "grpclib.server.Stream[Line, Line]") -> None:
        request = stream.__aiter__()
        await self._call_rpc_handler_server_stream(
            self.talk,
            stream,
            request,
        )

    def __mapping__(self) -> Dict[str, grpclib.const.Handler]:
        return {
            "/conversation.Conversation/Ask": grpclib.const.Handler(
                self.__rpc_ask,
                grpclib.const.Cardinality.UNARY_UNARY,
                Line,
                Line,
            ),
            "/conversation.Conversation/Listen": grpclib.const.Handler(
                self.__rpc_listen,
                grpclib.const.Cardinality.UNARY_STREAM,
                Line,
                Line,
            ),
            "/conversation.Conversation/Tell": grpclib.const.Handler(
                self.__rpc_tell,
                grpclib.const.Cardinality.STREAM_UNARY,
                Line,
                Line,
            ),
            "/conversation.Conversation/Talk": grpclib.const.Handler(
                self.__rpc_talk,
                grpclib.const.Cardinality.STREAM_STREAM,
                Line,
                Line,
            ),
        }
