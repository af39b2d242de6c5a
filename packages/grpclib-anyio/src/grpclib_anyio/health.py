"""The standard health service, ``grpc.health.v1`` (gRPC's health checking document).

One more service to give to a :class:`~grpclib_anyio.server.Server`; load balancers and
orchestrators ask it. Statuses are set by the program. ``""`` stands for the server as a whole::

    health = Health({"": ServingStatus.SERVING, "ai.AIService": ServingStatus.SERVING})
    server = Server([service, health])
    health.set("ai.AIService", ServingStatus.NOT_SERVING)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from grpclib_anyio._base.notify import Notify
from grpclib_anyio._call.server import Stream

try:
    import betterproto
except ModuleNotFoundError as error:
    text = "grpclib_anyio.health needs betterproto: pip install 'grpclib-anyio[betterproto]'"
    raise ImportError(text) from error

if TYPE_CHECKING:
    # betterproto's base is meant to pass for this one, but mypy takes its members for integers.
    from enum import IntEnum as _Enum
else:
    _Enum = betterproto.Enum

__all__ = [
    "Health",
    "HealthCheckRequest",
    "HealthCheckResponse",
    "HealthListRequest",
    "HealthListResponse",
    "ServingStatus",
]

#: ``List`` has no pages: the comment on it in health.proto says that it is refused if the answer
#: would name more services.
_MAX_LISTED = 100


_Request = TypeVar("_Request")


class ServingStatus(_Enum):
    """Whether a service can be called."""

    UNKNOWN = 0
    SERVING = 1
    NOT_SERVING = 2
    #: Only ``Watch`` says so; ``Check`` answers with the status NOT_FOUND.
    SERVICE_UNKNOWN = 3


@dataclass(eq=False, repr=False)
class HealthCheckRequest(betterproto.Message):
    """Asks for one service by its full name, such as ``ai.AIService``, or for the server."""

    service: str = betterproto.string_field(1)


@dataclass(eq=False, repr=False)
class HealthCheckResponse(betterproto.Message):
    """The answer, or one of the answers to ``Watch``."""

    status: ServingStatus = betterproto.enum_field(1)  # noqa: RUF009 - how betterproto declares a field


@dataclass(eq=False, repr=False)
class HealthListRequest(betterproto.Message):
    """Asks for all services."""


@dataclass(eq=False, repr=False)
class HealthListResponse(betterproto.Message):
    """The answer to ``List``: each service that has a status, by its full name."""

    statuses: dict[str, HealthCheckResponse] = betterproto.map_field(  # noqa: RUF009 - how betterproto declares a field
        1, betterproto.TYPE_STRING, betterproto.TYPE_MESSAGE
    )


class Health:
    """Tells clients whether a service can be called.

    A watcher is sent the status when it asks and each time that it has changed. Changes that come
    faster than a watcher reads are skipped: it gets the last one.
    """

    def __init__(self, statuses: Mapping[str, ServingStatus] | None = None) -> None:
        """Start with ``statuses`` by service; if there are none, the server is SERVING."""
        self._statuses = dict(statuses or {"": ServingStatus.SERVING})
        self._changed = Notify()
        self._is_over = False

    def set(self, service: str, status: ServingStatus) -> None:
        """Change the status of a service, and tell its watchers."""
        self._statuses[service] = self._allowed(status)
        self._changed.notify()

    def set_all(self, status: ServingStatus) -> None:
        """Change the status of every service there is, as a server does that is being drained."""
        for service in self._statuses:
            self._statuses[service] = self._allowed(status)
        self._changed.notify()

    def shutdown(self) -> None:
        """Have every service be NOT_SERVING from now on, and end the calls of the watchers.

        For a server that is being drained: it would wait for them.
        """
        self._is_over = True
        self.set_all(ServingStatus.NOT_SERVING)

    async def check(self, stream: Stream[HealthCheckRequest, HealthCheckResponse]) -> None:
        """Answer with a service's status; NOT_FOUND if there is no such service."""
        status = self._statuses.get((await _request(stream)).service)
        if status is None:
            raise GRPCError(Status.NOT_FOUND, "Unknown service")
        await stream.send_message(HealthCheckResponse(status=status))

    async def list(self, stream: Stream[HealthListRequest, HealthListResponse]) -> None:
        """Answer with the status of every service; RESOURCE_EXHAUSTED if they are more than 100."""
        await _request(stream)
        if len(self._statuses) > _MAX_LISTED:
            text = f"There are more than {_MAX_LISTED} services: ask for each of them"
            raise GRPCError(Status.RESOURCE_EXHAUSTED, text)
        statuses = {name: HealthCheckResponse(status) for name, status in self._statuses.items()}
        await stream.send_message(HealthListResponse(statuses))

    async def watch(self, stream: Stream[HealthCheckRequest, HealthCheckResponse]) -> None:
        """Answer with a service's status now and whenever it changes, until cancelled.

        Or until :meth:`shutdown`: then with a last answer.
        """
        service = (await _request(stream)).service
        told = None
        while True:
            status = self._statuses.get(service, ServingStatus.SERVICE_UNKNOWN)
            if status is told:
                if self._is_over:
                    return
                await self._changed.wait()
            else:
                await stream.send_message(HealthCheckResponse(status=status))
                told = status

    def _allowed(self, status: ServingStatus) -> ServingStatus:
        return ServingStatus.NOT_SERVING if self._is_over else status

    def __mapping__(self) -> dict[str, Handler]:
        """Name the methods, as generated services do."""
        one = (HealthCheckRequest, HealthCheckResponse)
        all_ = (HealthListRequest, HealthListResponse)
        return {
            "/grpc.health.v1.Health/Check": Handler(self.check, Cardinality.UNARY_UNARY, *one),
            "/grpc.health.v1.Health/List": Handler(self.list, Cardinality.UNARY_UNARY, *all_),
            "/grpc.health.v1.Health/Watch": Handler(self.watch, Cardinality.UNARY_STREAM, *one),
        }


async def _request(stream: Stream[_Request, Any]) -> _Request:
    request = await stream.recv_message()
    if request is None:
        raise GRPCError(Status.INTERNAL, "No request")
    return request
