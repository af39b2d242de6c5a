"""``relay-model``: the model service as a program, and its commands.

For example::

    relay-model --port 50052         serves until a signal
    relay-model ask "Hello"          asks a running service; see ``commands/ask.py``
    relay-model backends             lists the backends; see ``commands/backends_command.py``

``commands/serve_command.py`` says how the service ends, and with which exit code.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from relay_common.cli import fail, parse_settings
from relay_common.errors import StartupError
from relay_common.log import configure_logging
from relay_model.settings import ModelSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["main"]

# Each is imported when it is used: --help and a wrong flag are answered without the third of a
# second that the imports of a service take.
_COMMANDS = {"ask": "relay_model.commands.ask", "backends": "relay_model.commands.backends_command"}
_SERVE = "relay_model.commands.serve_command"


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
    serve: Callable[[ModelSettings], int] = import_module(_SERVE).main
    try:
        return serve(settings)
    except StartupError as error:
        fail("relay-model", error)


if __name__ == "__main__":
    sys.exit(main())
