"""What a program that was written for grpclib finds in its place: a warning, or words.

For example, ``Channel(host, port, loop=loop)`` works and warns, and ``await server.start()`` raises
a ``RuntimeError`` that says what to run instead.
"""

from typing import NoReturn
from warnings import warn

__all__ = ["NotStarted", "warn_of_loop"]

_START = (
    "there is no start() and no `async with` for a server here: run `server.serve(host, port)` in "
    "a task of its own, as in `await task_group.start(server.serve, host, port)`"
)
_CLOSE = (
    "there is no close() and no wait_closed() for a server here: cancel the task that runs "
    "`server.serve(...)`, or call `server.drain(grace)`, after which it returns"
)


class NotStarted:
    """The methods of grpclib's server that are not here, because a task of nobody's would run."""

    async def start(self, *_args: object, **_options: object) -> NoReturn:
        """Raise RuntimeError; its message says what to run instead."""
        raise RuntimeError(_START)

    def close(self) -> NoReturn:
        """Raise RuntimeError; its message says what to do instead."""
        raise RuntimeError(_CLOSE)

    async def wait_closed(self) -> NoReturn:
        """Raise RuntimeError; its message says what to do instead."""
        raise RuntimeError(_CLOSE)

    async def __aenter__(self) -> NoReturn:
        """Raise RuntimeError; its message says what to run instead."""
        raise RuntimeError(_START)

    async def __aexit__(self, *_exception: object) -> None:
        """Be there, so that ``async with`` comes as far as ``__aenter__``."""


def warn_of_loop(loop: object) -> None:
    """Warn the caller of a constructor that was given ``loop``; it is ignored otherwise."""
    if loop is not None:
        text = "loop is ignored: a channel and a server run on the event loop that they are used on"
        warn(text, DeprecationWarning, stacklevel=3)
