"""Logs, the same for every program of the relay: one line an event on stderr.

A line is key=value pairs or a JSON object, also for libraries that use :mod:`logging`. Keys from
the environment are redacted in every line. For example::

    configure_logging(LogSettings(log_format="json"))
    get_logger(__name__).info("draining", seconds=10.0)
    # {"seconds": 10.0, "event": "draining", "logger": …, "level": "info", "timestamp": …}
"""

import logging
import os
import sys
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TextIO, cast

import structlog
from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from relay_common.background import BackgroundHandler
from relay_common.redact import Redactor

if TYPE_CHECKING:
    from pydantic_settings import PydanticBaseSettingsSource
    from structlog.typing import EventDict, Processor, WrappedLogger

__all__ = ["LogSettings", "close_log", "configure_logging", "write_in_background"]

_FIRST_KEYS = ("timestamp", "level", "logger", "event")


class _SharedEnvironment(EnvSettingsSource):
    """``RELAY_LOG_*``, which every program reads in addition to its own variables."""

    def __call__(self) -> dict[str, Any]:
        """Return only settings of logs, because the gateway's variables begin alike."""
        return {name: value for name, value in super().__call__().items() if name in _SHARED}


class LogSettings(BaseSettings):
    """How a program logs, and how its command line looks; each program's settings extend this.

    A program's own variable, for example ``RELAY_MODEL_LOG_LEVEL``, overrides the variable that all
    programs share, ``RELAY_LOG_LEVEL``.
    """

    model_config = SettingsConfigDict(
        env_prefix="RELAY_",
        env_ignore_empty=True,
        cli_hide_none_type=True,
        cli_implicit_flags=True,
        cli_kebab_case=True,
        cli_show_env_vars=True,
    )

    log_format: Literal["console", "json"] = Field(
        default="console",
        description="log lines as key=value (console) or as JSON objects; RELAY_LOG_FORMAT sets it"
        " for every program of the relay",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="the least severe events that are logged; RELAY_LOG_LEVEL sets it for every"
        " program of the relay",
    )

    other_variables: ClassVar[frozenset[str]] = frozenset()
    """Names of variables with the same prefix that other commands read, without the prefix."""

    @field_validator("*", mode="before")
    @classmethod
    def _not_empty(cls, value: object, info: ValidationInfo) -> object:
        """Refuse a flag that was given and says nothing, for example ``--host "$UNSET"``."""
        if value == "" and cls.model_fields[str(info.field_name)].default != "":
            raise ValueError("must not be empty")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: "PydanticBaseSettingsSource",
        env_settings: "PydanticBaseSettingsSource",
        dotenv_settings: "PydanticBaseSettingsSource",
        file_secret_settings: "PydanticBaseSettingsSource",
    ) -> "tuple[PydanticBaseSettingsSource, ...]":
        """Read the shared variables after the program's own."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, _SharedEnvironment(settings_cls, env_prefix="RELAY_")


_SHARED = frozenset(LogSettings.model_fields)


def configure_logging(settings: LogSettings) -> None:
    """Send every log line of this process to stderr, in the form of the settings.

    A thread writes them, so that a log that nobody reads holds nobody; lines that do not fit are
    dropped, and a line says how many. Replaces any earlier configuration. For programs, once at
    their start.
    """
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *processors,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _handler_for(sys.stderr)
    handler.setFormatter(_formatter(settings.log_format, processors))
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)


def close_log() -> None:
    """Write what the log still has, before a program's last words, and take no more lines.

    It waits for a second at most, because nobody may read the log.
    """
    for handler in logging.getLogger().handlers:
        if isinstance(handler, BackgroundHandler):
            handler.close()


def write_in_background(logger: logging.Logger) -> None:
    """Have a thread write what a logger of a library writes to stdout or stderr, in its own form.

    For example the access log of hypercorn, which would wait for the reader of stdout.
    """
    for handler in logger.handlers[:]:
        if type(cast("Any", handler)) is logging.StreamHandler:
            replacement = _handler_for(cast("Any", handler).stream)
            replacement.setFormatter(handler.formatter)
            replacement.setLevel(handler.level)
            logger.removeHandler(handler)
            logger.addHandler(replacement)


def _handler_for(stream: TextIO) -> logging.Handler:
    try:
        return BackgroundHandler(stream.fileno())
    except OSError:  # io.UnsupportedOperation: a stream in memory, which never waits
        return logging.StreamHandler(stream)


def _formatter(form: str, foreign: "list[Processor]") -> logging.Formatter:
    renderer = structlog.processors.JSONRenderer() if form == "json" else _render_pairs
    return _RedactingFormatter(
        foreign_pre_chain=foreign,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            renderer,
        ],
    )


class _RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Redacts keys, because libraries log requests, and errors that quote headers."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._redactor = Redactor(os.environ)

    def format(self, record: logging.LogRecord) -> str:
        return self._redactor.redact(super().format(record))


# Each value is written as its repr, so that text from a caller can neither break the line nor
# control the reader's terminal.
_pairs = structlog.processors.KeyValueRenderer(key_order=_FIRST_KEYS, drop_missing=True)


def _render_pairs(logger: "WrappedLogger", name: str, event: "EventDict") -> str:
    """Render one line of pairs, and below it the traceback if there is one."""
    traceback = event.pop("exception", None)
    line = _pairs(logger, name, event)
    return line if traceback is None else f"{line}\n{traceback}"
