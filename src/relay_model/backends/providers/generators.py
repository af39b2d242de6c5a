"""Async generators that a library starts, closed where their answer ends.

The libraries read a response through generators inside generators, a dozen deep. When one of them
raises, or the outermost one is closed, the inner ones stay suspended until the garbage collector
finds them; the event loop then closes them in another task, at some later time. To prevent this,
the interpreter's hook for generators that start (PEP 525) collects those of one answer::

    generators = StartedGenerators()
    with generators:
        event = await anext(events)  # the library starts generators here
    await generators.aclose()
"""

import sys
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from contextvars import Token

__all__ = ["StartedGenerators", "tracked_generators"]

# Closing a generator takes no time, but it may be a checkpoint, and the event loop may be busy.
_CLOSE_SECONDS = 1.0

_tracked_in: "ContextVar[list[AsyncGenerator[Any, Any]] | None]" = ContextVar(
    "tracked_in", default=None
)


class StartedGenerators:
    """The async generators that a task starts while it is inside this context."""

    def __init__(self) -> None:
        """Begin without generators."""
        self._generators: list[AsyncGenerator[Any, Any]] = []
        self._token: Token[list[AsyncGenerator[Any, Any]] | None] | None = None

    def __enter__(self) -> None:
        """Collect generators from now on; the context may be entered many times."""
        self._token = _tracked_in.set(self._generators)

    def __exit__(self, *_: object) -> None:
        """Stop collecting until the context is entered the next time."""
        if self._token is not None:
            _tracked_in.reset(self._token)

    async def aclose(self) -> None:
        """Close all generators, from the outermost to the innermost; drop what they raise.

        Shielded from cancellation, for a bounded time. A checkpoint only if a generator awaits.
        """
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):  # noqa: ASYNC912 - may have no generator to wait for
            for generator in self._generators:
                with suppress(Exception):
                    await generator.aclose()


@contextmanager
def tracked_generators() -> "Generator[None]":
    """Let :class:`StartedGenerators` collect generators while this context is open.

    The event loop's own hook continues to work.
    """
    loops_hook = sys.get_asyncgen_hooks().firstiter

    def track(generator: "AsyncGenerator[Any, Any]") -> None:
        if loops_hook is not None:
            loops_hook(generator)
        if (tracked := _tracked_in.get()) is not None:
            tracked.append(generator)

    sys.set_asyncgen_hooks(firstiter=track)
    try:
        yield
    finally:
        sys.set_asyncgen_hooks(firstiter=loops_hook)
