"""``relay-gateway``: the gateway as a program.

SIGINT and SIGTERM stop it: browsers are told, and it ends when the last one has heard, at the
latest after ``--drain-seconds``; a second signal ends it at once. It exits with 130 after SIGINT
and with 0 after SIGTERM; with 2 when a setting is wrong and with 1 when it cannot listen, in either
case after one line on stderr.
"""

import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import trio

from relay_common.cli import fail, parse_settings
from relay_common.errors import StartupError
from relay_common.gc_tuning import tune_gc
from relay_common.log import configure_logging
from relay_common.running import run
from relay_gateway.settings import GatewaySettings

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code.

    Args:
        arguments: the command line without the program; that of this process when left out.

    """
    settings = parse_settings(GatewaySettings, arguments)
    configure_logging(settings)
    stop = trio.Event()
    main = partial(_serving(settings), settings, stop=stop)
    tune_gc()
    try:
        return run(main, on_terminate=stop.set, on_interrupt=stop.set)
    except StartupError as error:
        fail("relay-gateway", error)


def _serving(settings: GatewaySettings) -> Callable[..., Awaitable[None]]:
    if settings.workers == 1:
        from relay_gateway.serving import serve  # noqa: PLC0415 - a supervisor serves nothing itself

        return serve
    from relay_gateway.workers.supervisor import supervise  # noqa: PLC0415

    return supervise


if __name__ == "__main__":
    sys.exit(main())
