"""Every connection, channel and server that is made in this process, as long as it lives.

The product has no such list, and needs none. Tests do: what a test has made and forgotten is found
here.
"""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from grpclib_anyio.client import Channel
from grpclib_anyio.connection import Connection
from grpclib_anyio.server import Server

__all__ = ["CHANNELS", "CONNECTIONS", "SERVERS", "Instances"]

_T = TypeVar("_T")


class Instances(Generic[_T]):
    """The instances of a class that are alive."""

    def __init__(self, cls: type[_T]) -> None:
        """Begin to take note of them."""
        self._alive: WeakSet[_T] = WeakSet()
        init: Callable[..., None] = cls.__init__

        @wraps(init)
        def noted_init(instance: _T, *args: Any, **options: Any) -> None:  # noqa: ANN401 - the class's
            self._alive.add(instance)
            init(instance, *args, **options)

        setattr(cls, "__init__", noted_init)  # noqa: B010 - to mypy it is no variable

    def __iter__(self) -> Iterator[_T]:
        """Give each that is alive now."""
        return iter(list(self._alive))


class Connections(Instances[Connection]):
    """Those of either side."""

    @property
    def on_the_servers_side(self) -> list[Connection]:
        """The connections of servers."""
        return [connection for connection in self if "server" in repr(connection)]


CONNECTIONS = Connections(Connection)
CHANNELS = Instances(Channel)
SERVERS = Instances(Server)
