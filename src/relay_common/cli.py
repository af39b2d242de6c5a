"""Command lines, the same for every program of the relay.

A program's settings come from its flags and, for the rest, from its environment variables. What is
wrong with them is one line on stderr and an exit code. For example ``relay-model --port x`` ends
with exit code 2 and this line::

    relay-model: error: --port (RELAY_MODEL_PORT): Input should be a valid integer, …, not 'x'
"""

import os
import re
import sys
from difflib import get_close_matches
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from pydantic import ValidationError
from pydantic_settings import CliApp, CliSettingsSource, SettingsError

from relay_common.environment import odd_variables
from relay_common.errors import StartupError
from relay_common.log import LogSettings, close_log

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from pydantic_core import ErrorDetails

__all__ = ["fail", "parse_settings", "version_of"]

SettingsT = TypeVar("SettingsT", bound=LogSettings)

_DISTRIBUTION = "token-relay"
_UNKNOWN = re.compile(r"unrecognized arguments: (?P<flag>--[^ =]+)")
#: What ``--help`` would say of a default that is none, or that is computed.
_NO_DEFAULT = re.compile(r" ?\(default(: null|: \0| factory: \w+)\)")
#: What a value of a type is called in ``--help``.
_WORDS = {"str": "TEXT", "int": "NUMBER", "float": "NUMBER", "Path": "FILE", "bool": "BOOLEAN"}


def parse_settings(
    settings: type[SettingsT],
    arguments: "Sequence[str] | None" = None,
    *,
    program: str | None = None,
    flags: "Container[str] | None" = None,
) -> SettingsT:
    """Read settings from a command line and, for the rest, from the environment.

    Args:
        settings: the class of the settings; its ``cli_prog_name`` is the name of its program.
        arguments: the command line without the program; that of this process when left out.
        program: the program that was started, if it is not the program of ``settings``.
        flags: the fields of ``settings`` for which the started program has a flag; all when left
            out. A wrong value of another field is reported by the name of its variable only.

    Variables that are no settings, or empty, are a line on stderr each.

    Raises:
        SystemExit: with 0 after ``--help`` and ``--version``; with 2 after one line on stderr that
            says what is wrong, under the name of the program that was started.

    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    name = program or settings.model_config.get("cli_prog_name") or sys.argv[0]
    if "--version" in given:
        sys.stdout.write(f"{version_of(name)}\n")
        raise SystemExit(0)
    _warn(name, settings, is_whole=program is None)
    try:
        return CliApp.run(settings, cli_args=given, cli_settings_source=_Flags(settings))
    except ValidationError as error:
        fail(name, StartupError(_describe(error, settings, flags)))
    except SettingsError as error:
        fail(name, StartupError(_describe_command_line(str(error), settings)))


def _warn(name: str, settings: type[LogSettings], *, is_whole: bool) -> None:
    """Say which variables are odd; ``is_whole`` if these are all settings of the program."""
    prefix = settings.model_config.get("env_prefix", "")
    known = {*map(str.upper, settings.model_fields), *settings.other_variables}
    for line in odd_variables(os.environ, sorted(known), prefix, with_shared=is_whole):
        sys.stderr.write(f"{name}: warning: {line}\n")


class _Flags(CliSettingsSource[Any]):
    """The command line, whose ``--help`` says what a value is and not which type of Python."""

    def __init__(self, settings: type[LogSettings]) -> None:
        super().__init__(settings, cli_exit_on_error=False)
        # A variable that is empty counts as not set. A flag was given by somebody.
        self.env_ignore_empty = False

    def _help_format(self, *args: Any, **options: Any) -> str:
        return _NO_DEFAULT.sub("", super()._help_format(*args, **options))

    def _metavar_format(self, obj: Any) -> str:
        described = super()._metavar_format(obj)
        return "|".join(dict.fromkeys(_WORDS.get(part, part) for part in described.split("|")))


def version_of(program: str) -> str:
    """Say which version a program has."""
    return f"{program} {version(_DISTRIBUTION)}"


def _describe_command_line(text: str, settings: type[LogSettings]) -> str:
    text = text.removeprefix("error parsing CLI: ")
    flags = [f"--{field.replace('_', '-')}" for field in settings.model_fields]
    wrong = _UNKNOWN.match(text)
    near = get_close_matches(wrong["flag"], flags, n=1) if wrong is not None else []
    return f"{text}: did you mean {near[0]}?" if near else f"{text}; see --help"


def fail(program: str, error: StartupError) -> NoReturn:
    """Leave the process by ``SystemExit``, with the error's line on stderr and its exit code.

    The line is the last one: what has been logged before it is written first.
    """
    close_log()
    sys.stderr.write(f"{program}: error: {error}\n")
    raise SystemExit(error.exit_code)


def _describe(
    error: ValidationError, settings: type[LogSettings], flags: "Container[str] | None"
) -> str:
    # A default that depends on other settings is missing when one of those is wrong.
    found = [each for each in error.errors() if each["type"] != "default_factory_not_called"]
    return "; ".join(_describe_one(details, settings, flags) for details in found)


def _describe_one(
    details: "ErrorDetails", settings: type[LogSettings], flags: "Container[str] | None"
) -> str:
    field = ".".join(map(str, details["loc"]))
    name = f"{settings.model_config.get('env_prefix', '')}{field.upper()}"
    if flags is None or field in flags:
        name = f"--{field.replace('_', '-')} ({name})"
    reason = details["msg"].removeprefix("Value error, ")
    return f"{name}: {reason}{_not(details, settings)}"


def _not(details: "ErrorDetails", settings: type[LogSettings]) -> str:
    """Quote the wrong value, unless there is none or its field must not be shown."""
    if details["type"] == "missing" or details["input"] == "":
        return ""
    field = settings.model_fields.get(str(details["loc"][0])) if details["loc"] else None
    return f", not {details['input']!r}" if field is None or field.repr else ""
