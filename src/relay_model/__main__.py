"""``relay-model``: the model service as a program, and two commands beside it.

``relay-model ask`` and ``relay-model backends`` are described where they are made.

SIGINT ends it at once: answers stop within a token, and callers are told that the service is gone.
SIGTERM lets answers end for ``--drain-seconds``, and takes no more prompts; a second signal ends it
at once. It exits with 130 after SIGINT and with 0 after SIGTERM; with 2 when a setting or the model
is wrong and with 1 when it cannot listen, in either case after one line on stderr.
"""

import sys
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from relay_common.cli import fail, parse_settings
from relay_common.errors import StartupError
from relay_common.log import configure_logging
from relay_model.settings import ModelSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["main"]

_COMMANDS = {"ask": "relay_model.commands.ask", "backends": "relay_model.commands.backends_command"}


def main(arguments: "Sequence[str] | None" = None) -> int:
    """Run the program and return its exit code.

    Args:
        arguments: the command line without the program; that of this process when left out.

    """
    given = sys.argv[1:] if arguments is None else arguments
    if given and given[0] in _COMMANDS:
        command: Callable[[Sequence[str]], int] = import_module(_COMMANDS[given[0]]).main
        return command(given[1:])
    settings = parse_settings(ModelSettings, given)
    configure_logging(settings)
    try:
        return _serve(settings)
    except StartupError as error:
        fail("relay-model", error)


def _serve(settings: ModelSettings) -> int:
    # --help and a wrong flag are answered without the third of a second that these take.
    import anyio  # noqa: PLC0415

    from relay_common.gc_tuning import tune_gc  # noqa: PLC0415
    from relay_common.running import run  # noqa: PLC0415
    from relay_model.serving import serve  # noqa: PLC0415

    tune_gc()
    drain = anyio.Event()
    return run(partial(serve, settings, drain=drain), on_terminate=drain.set)


if __name__ == "__main__":
    sys.exit(main())
