"""``relay-gateway``: the gateway as a program.

SIGINT and SIGTERM stop it: browsers are told, and it ends when the last one has heard, at the
latest after ``--drain-seconds``; a second signal ends it at once. It exits with 130 after SIGINT
and with 0 after SIGTERM; with 2 when a setting is wrong and with 1 when it cannot listen, in either
case after one line on stderr.
"""

import sys
from collections.abc import Sequence
from functools import partial

import trio

from relay_program.cli import fail, parse_settings
from relay_program.collector import settle
from relay_program.errors import StartupError
from relay_program.log import configure_logging
from relay_program.running import run

from .serving import serve
from .settings import GatewaySettings

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code.

    Args:
        arguments: the command line without the program; that of this process when left out.

    """
    settings = parse_settings(GatewaySettings, arguments)
    configure_logging(settings)
    stop = trio.Event()
    main = partial(serve, settings, stop=stop)
    settle()
    try:
        return run(main, on_terminate=stop.set, on_interrupt=stop.set)
    except StartupError as error:
        fail("relay-gateway", error)


if __name__ == "__main__":
    sys.exit(main())
