"""Async generators that a library starts, closed when we are done with it.

The libraries read a response through generators inside generators, a dozen deep. When one of them
raises, or the outermost is closed, those inside it stay suspended, for the garbage collector to
find and the event loop to close, in another task, at some time. Here the interpreter's hook for
generators that start (PEP 525) notes those of one answer, so that they are closed where it ends.
"""

import sys
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from contextvars import Token

__all__ = ["StartedGenerators", "noting_generators"]

# To close one takes no time; it may have to wait for its turn of the event loop.
_CLOSE_SECONDS = 1.0

_noted_in: "ContextVar[list[AsyncGenerator[Any, Any]] | None]" = ContextVar(
    "noted_in", default=None
)


class StartedGenerators:
    """The generators that start in this context, in the task that has entered it."""

    def __init__(self) -> None:
        """Begin with none."""
        self._generators: list[AsyncGenerator[Any, Any]] = []
        self._token: Token[list[AsyncGenerator[Any, Any]] | None] | None = None

    def __enter__(self) -> None:
        """Note what starts from now on; may be entered again and again."""
        self._token = _noted_in.set(self._generators)

    def __exit__(self, *_: object) -> None:
        """Note nothing more for now."""
        if self._token is not None:
            _noted_in.reset(self._token)

    async def aclose(self) -> None:
        """Close all of them, from the outermost to the innermost; what they raise is lost.

        Shielded from cancellation, for a bounded time.
        """
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            for generator in self._generators:
                with suppress(Exception):
                    await generator.aclose()


@contextmanager
def noting_generators() -> "Generator[None]":
    """Make :class:`StartedGenerators` work for as long as this context is open.

    The event loop's own hook goes on working.
    """
    loops_hook = sys.get_asyncgen_hooks().firstiter

    def note(generator: "AsyncGenerator[Any, Any]") -> None:
        if loops_hook is not None:
            loops_hook(generator)
        if (noted := _noted_in.get()) is not None:
            noted.append(generator)

    sys.set_asyncgen_hooks(firstiter=note)
    try:
        yield
    finally:
        sys.set_asyncgen_hooks(firstiter=loops_hook)
