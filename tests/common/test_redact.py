"""Keys in the environment, and text that might show them."""

import json
import logging

import pytest
from structlog.stdlib import get_logger

from relay_common.log import LogSettings, configure_logging
from relay_common.redact import Redactor

KEY = "sk-0123\"45'67\\89"


@pytest.mark.parametrize("written", [KEY, repr(KEY), json.dumps(KEY), f"Bearer {KEY}!"])
def test_a_key_is_hidden_however_it_is_written(written: str) -> None:
    hidden = Redactor({"OPENAI_API_KEY": f" {KEY}\n"}).redact(f"before {written} after")
    assert "0123" not in hidden
    assert hidden.startswith("before ")
    assert hidden.endswith(" after")
    assert "[secret]" in hidden


@pytest.mark.parametrize("name", ["HF_TOKEN", "db_password", "CLIENT_SECRET", "X_KEY"])
def test_names_that_say_that_it_is_secret(name: str) -> None:
    assert Redactor({name: "0123456789"}).redact("0123456789") == "[secret]"


@pytest.mark.parametrize(
    ("name", "value"), [("RELAY_MODEL_MAX_TOKENS", "12345678"), ("X_KEY", "short"), ("Y_KEY", "")]
)
def test_what_is_no_secret_is_shown(name: str, value: str) -> None:
    assert Redactor({name: value}).redact("12345678 short") == "12345678 short"


def test_of_two_keys_that_begin_alike_neither_is_shown_in_part() -> None:
    redactor = Redactor({"A_KEY": "0123456789", "B_KEY": "0123456789abc"})
    assert redactor.redact("0123456789abc") == "[secret]"


@pytest.mark.usefixtures("logging_restored")
@pytest.mark.parametrize("form", ["console", "json"])
def test_no_log_line_shows_a_key(
    form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "sk-abcdefghijkl"  # no digits: a line has the time of day, to the microsecond
    monkeypatch.setenv("OPENAI_API_KEY", key)
    configure_logging(LogSettings.model_validate({"log_format": form}))
    get_logger("x").info("hello", key=key)
    logging.getLogger("library").warning("header %r", key.encode())
    get_logger("x").error("failed", exc_info=ValueError(key))
    written = capsys.readouterr().err
    assert "abcd" not in written
    assert written.count("[secret]") == 3
