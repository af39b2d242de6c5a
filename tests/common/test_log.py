"""Log lines, as they are written."""

import json
import logging

import pytest
from structlog.stdlib import get_logger

from relay_common.log import LogSettings, configure_logging

pytestmark = pytest.mark.usefixtures("logging_restored")


def written(capsys: pytest.CaptureFixture[str]) -> list[str]:
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_key_value(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings())
    get_logger("x").info("hello", answer=42, name="a b")
    (line,) = written(capsys)
    timestamp, _, rest = line.partition(" ")
    assert timestamp.startswith("timestamp='2")
    assert rest == "level='info' logger='x' event='hello' answer=42 name='a b'"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(log_format="json"))
    get_logger("x").warning("hello", answer=42, name="\u00e9\n")
    (line,) = written(capsys)
    event = json.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "hello",
        "level": "warning",
        "logger": "x",
        "answer": 42,
        "name": "\u00e9\n",
    }


@pytest.mark.parametrize("form", ["console", "json"])
def test_what_a_caller_sent_cannot_break_a_line(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(LogSettings.model_validate({"log_format": form}))
    get_logger("x").info("hello", name="a\nlevel='error' \x1b[31m\u2028")
    (line,) = written(capsys)
    assert "\x1b" not in line


@pytest.mark.parametrize("form", ["console", "json"])
def test_libraries_come_out_in_the_same_form(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings.model_validate({"log_format": form}))
    logging.getLogger("some.library").warning("%s happened", "it")
    logging.getLogger("some.library").debug("not shown")
    (line,) = written(capsys)
    assert "it happened" in line
    assert "some.library" in line
    assert "timestamp" in line


def test_level(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(log_level="error"))
    get_logger("x").warning("no")
    get_logger("x").error("yes")
    (line,) = written(capsys)
    assert "event='yes'" in line


def test_a_traceback_is_under_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings())
    try:
        int("x")
    except ValueError as error:
        get_logger("x").error("failed", exc_info=error)
    first, *rest = written(capsys)
    assert first.endswith("event='failed'")
    assert rest[0] == "Traceback (most recent call last):"
    assert rest[-1] == "ValueError: invalid literal for int() with base 10: 'x'"


def test_a_traceback_is_a_field_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(log_format="json"))
    get_logger("x").error("failed", exc_info=LookupError("gone"))
    (line,) = written(capsys)
    assert "LookupError: gone" in json.loads(line)["exception"]
