"""Running a program, the same for each of them: on trio, until a signal, to an exit code."""

import signal
from typing import TYPE_CHECKING

import anyio

from relay_common.errors import startup_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

__all__ = ["run"]

# What a shell expects of a program that Ctrl-C ended.
_INTERRUPTED = 128 + signal.SIGINT


def run(
    main: "Callable[[], Awaitable[None]]",
    *,
    on_terminate: "Callable[[], None] | None" = None,
    on_interrupt: "Callable[[], None] | None" = None,
    terminated: int = 0,
) -> int:
    """Run a program's main function on trio until it returns or a signal ends it.

    SIGINT and SIGTERM cancel it, unless there is something gentler to do; after that, a second
    signal of either kind cancels. One more changes nothing: what is left by then is clean-up, and
    bounded.

    Args:
        main: the program.
        on_terminate: is called in the event loop when SIGTERM is the first signal, and has ``main``
            return in its own time.
        on_interrupt: likewise when SIGINT is.
        terminated: the exit code after SIGTERM. It is how a service manager ends a service, which
            it takes for well ended with 0.

    Returns:
        The exit code: 130 after SIGINT, ``terminated`` after SIGTERM, 0 when ``main`` returns.

    Raises:
        StartupError: raised by ``main``, by itself or from a task group.

    """
    try:
        gently = {signal.SIGTERM: on_terminate, signal.SIGINT: on_interrupt}
        received = anyio.run(_until_signalled, main, gently, backend="trio")
    except KeyboardInterrupt:  # before there was anything to cancel, or after it had ended
        return _INTERRUPTED
    except BaseExceptionGroup as group:
        raise startup_error(group) or group from group
    return {signal.SIGINT: _INTERRUPTED, signal.SIGTERM: terminated, None: 0}[received]


async def _until_signalled(
    main: "Callable[[], Awaitable[None]]",
    gently: "Mapping[signal.Signals, Callable[[], None] | None]",
) -> signal.Signals | None:
    """Run ``main``; give the first signal."""
    received: list[signal.Signals] = []
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_heed, signals, tasks.cancel_scope, gently, received)
            await main()
            tasks.cancel_scope.cancel()
    return received[0] if received else None


async def _heed(
    signals: "AsyncIterator[signal.Signals]",
    scope: anyio.CancelScope,
    gently: "Mapping[signal.Signals, Callable[[], None] | None]",
    received: list[signal.Signals],
) -> None:
    async for number in signals:
        received.append(number)
        ask = gently[number] if len(received) == 1 else None
        (ask or scope.cancel)()
