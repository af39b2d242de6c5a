"""Running a program on trio until a signal, the same way for every program of the relay.

For example, a server whose first SIGTERM lets requests end and whose second signal cancels::

    drain = anyio.Event()
    sys.exit(run(partial(serve, drain=drain), on_terminate=drain.set))
"""

import signal
from typing import TYPE_CHECKING

import anyio

from relay_common.errors import startup_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from typing import TypeAlias

    _Callbacks: TypeAlias = Mapping[signal.Signals, Callable[[], None] | None]

__all__ = ["run"]

# The exit code that shells use for a program that Ctrl-C ended.
_INTERRUPTED = 128 + signal.SIGINT


def run(
    main: "Callable[[], Awaitable[None]]",
    *,
    on_terminate: "Callable[[], None] | None" = None,
    on_interrupt: "Callable[[], None] | None" = None,
    terminated: int = 0,
) -> int:
    """Run a program's main function on trio until it returns or a signal ends it.

    The first SIGINT or SIGTERM cancels ``main``, unless there is a callback for that signal. The
    second signal of either kind always cancels. Further signals have no effect, because only
    clean-up is left by then, and clean-up is bounded.

    Args:
        main: the program.
        on_terminate: is called in the event loop if SIGTERM is the first signal, and has to make
            ``main`` return soon.
        on_interrupt: is called in the event loop if SIGINT is the first signal, and has to make
            ``main`` return soon.
        terminated: the exit code after SIGTERM. Service managers stop a service with SIGTERM, and
            count 0 as success.

    Returns:
        The exit code: 130 after SIGINT, ``terminated`` after SIGTERM, 0 when ``main`` returns.

    Raises:
        StartupError: ``main`` raised it, alone or from a task group.

    """
    try:
        callbacks = {signal.SIGTERM: on_terminate, signal.SIGINT: on_interrupt}
        received = anyio.run(_until_signalled, main, callbacks, backend="trio")
    except KeyboardInterrupt:  # before trio could handle the signal, or after main had ended
        return _INTERRUPTED
    except BaseExceptionGroup as group:
        raise startup_error(group) or group from group
    return {signal.SIGINT: _INTERRUPTED, signal.SIGTERM: terminated, None: 0}[received]


async def _until_signalled(
    main: "Callable[[], Awaitable[None]]",
    callbacks: "_Callbacks",
) -> signal.Signals | None:
    """Run ``main`` and return the first signal, if there was one."""
    received: list[signal.Signals] = []
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_handle_signals, signals, tasks.cancel_scope, callbacks, received)
            await main()
            tasks.cancel_scope.cancel()
    return received[0] if received else None


async def _handle_signals(
    signals: "AsyncIterator[signal.Signals]",
    scope: anyio.CancelScope,
    callbacks: "_Callbacks",
    received: list[signal.Signals],
) -> None:
    async for number in signals:
        received.append(number)
        callback = callbacks[number] if len(received) == 1 else None
        (callback or scope.cancel)()
