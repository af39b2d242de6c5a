"""Every connection, channel, server and call that is made in this process, as long as it lives.

The product has no such list, and needs none. Tests do: what a test has made and not ended is found
here.
"""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Generic, TypeVar
from weakref import ReferenceType

from grpclib_anyio._connection.connection import Connection
from grpclib_anyio._stream.stream import MessageStream
from grpclib_anyio.client import Channel
from grpclib_anyio.client import Stream as ClientCall
from grpclib_anyio.server import Stream as ServerCall

__all__ = ["CHANNELS", "CONNECTIONS", "OF_A_CALL", "Connections", "Instances", "leaks", "watch"]

_T = TypeVar("_T")


class Instances(Generic[_T]):
    """The instances of a class that are alive."""

    def __init__(self, cls: type[_T]) -> None:
        """Record the instances of ``cls`` that are made from now on."""
        self.name = f"{cls.__module__}.{cls.__name__}"
        self._references: dict[int, ReferenceType[_T]] = {}
        _tell(cls, "__init__", self._add)

    def __iter__(self) -> Iterator[_T]:
        """Give each that is alive now."""
        alive = [reference() for reference in self.references()]
        return iter([instance for instance in alive if instance is not None])

    def references(self) -> list[ReferenceType[_T]]:
        """Give a reference to each, which does not keep it alive."""
        return list(self._references.values())

    def forget(self) -> None:
        """Drop the instances so far, so that each leak is reported once."""
        self._references.clear()

    def _add(self, instance: _T) -> None:
        key = id(instance)
        self._references[key] = ReferenceType(instance, lambda _: self._references.pop(key, None))


class Connections(Instances[Connection]):
    """Those of either side."""

    def __init__(self) -> None:
        """Record the instances of ``cls`` that are made from now on."""
        super().__init__(Connection)
        #: How many have been entered and not been left.
        self.entered = 0
        _tell(Connection, "__aenter__", self._enter)
        leave = Connection.__aexit__

        async def leave_and_count(connection: Connection, *exception: Any) -> None:
            try:
                await leave(connection, *exception)
            finally:
                self.entered -= 1

        setattr(Connection, "__aexit__", wraps(leave)(leave_and_count))  # noqa: B010 - as below

    @property
    def on_the_servers_side(self) -> list[Connection]:
        """The connections of servers."""
        return [connection for connection in self if "server" in repr(connection)]

    def _enter(self, _connection: Connection) -> None:
        self.entered += 1


def _tell(cls: type[Any], name: str, told: Callable[[Any], None]) -> None:
    """Be told of each instance of a class whose method `name` is called, before it is."""
    method: Callable[..., Any] = getattr(cls, name)

    @wraps(method)
    def telling(instance: Any, *args: Any, **options: Any) -> Any:
        told(instance)
        return method(instance, *args, **options)

    setattr(cls, name, telling)


CONNECTIONS = Connections()
CHANNELS = Instances(Channel)
#: What is made for each call and each request.
OF_A_CALL = [Instances[Any](cls) for cls in (MessageStream, ClientCall, ServerCall)]


def watch(cls: type[Any]) -> None:
    """Count the instances of one more class among what is made for each call."""
    OF_A_CALL.append(Instances[Any](cls))


def leaks() -> list[str]:
    """Say what has not been ended, with no event loop running any more; forget all."""
    entered, CONNECTIONS.entered = CONNECTIONS.entered, 0
    found = [
        *([f"{entered} connections that were not left"] if entered else ()),
        *(f"{one!r} holds {one.statistics()}" for one in CONNECTIONS if _is_used(one)),
        *(f"{channel!r} was not left" for channel in CHANNELS if _is_entered(channel)),
    ]
    CONNECTIONS.forget()
    CHANNELS.forget()
    return found


def _is_entered(channel: Channel) -> bool:
    return channel._connector.is_entered  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - nothing else tells


def _is_used(connection: Connection) -> bool:
    statistics = connection.statistics()  # a lost one may have had something to say
    return statistics.streams > 0 or statistics.waiting_for_slot > 0
