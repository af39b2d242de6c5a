"""Command lines, the same for every program here: settings, or one clear line and an exit code."""

import sys
from typing import TYPE_CHECKING, NoReturn, TypeVar

from pydantic import ValidationError
from pydantic_settings import CliApp

from relay_common.errors import StartupError
from relay_common.log import LogSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import ErrorDetails

__all__ = ["fail", "parse_settings"]

SettingsT = TypeVar("SettingsT", bound=LogSettings)


def parse_settings(
    settings: type[SettingsT],
    arguments: "Sequence[str] | None" = None,
    *,
    program: str | None = None,
) -> SettingsT:
    """Read a program's settings from its command line and, for the rest, the environment.

    Leaves by ``SystemExit``: 0 after ``--help``, 2 with one line on stderr for whatever is wrong.

    Args:
        settings: what can be set; its ``cli_prog_name`` is the program's name.
        arguments: the command line without the program; that of this process when left out.
        program: the program that was started, if it is another.

    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return CliApp.run(settings, cli_args=given)
    except ValidationError as error:
        name = program or settings.model_config.get("cli_prog_name") or sys.argv[0]
        fail(name, StartupError(_describe(error, settings)))


def fail(program: str, error: StartupError) -> NoReturn:
    """Leave the process by ``SystemExit``, with the error's line on stderr and its exit code."""
    sys.stderr.write(f"{program}: error: {error}\n")
    raise SystemExit(error.exit_code)


def _describe(error: ValidationError, settings: type[LogSettings]) -> str:
    # A default that is made of other settings is not made when one of them is wrong.
    found = [each for each in error.errors() if each["type"] != "default_factory_not_called"]
    return "; ".join(_describe_one(details, settings) for details in found)


def _describe_one(details: "ErrorDetails", settings: type[LogSettings]) -> str:
    field = ".".join(map(str, details["loc"]))
    flag = f"--{field.replace('_', '-')}"
    variable = f"{settings.model_config.get('env_prefix', '')}{field.upper()}"
    reason = details["msg"].removeprefix("Value error, ")
    return f"{flag} ({variable}): {reason}{_not(details, settings)}"


def _not(details: "ErrorDetails", settings: type[LogSettings]) -> str:
    """Show the value that was given, if there was one and its field is to be shown."""
    if details["type"] == "missing":
        return ""
    field = settings.model_fields.get(str(details["loc"][0])) if details["loc"] else None
    return f", not {details['input']!r}" if field is None or field.repr else ""
