"""Settings from a command line: what is right, and what is said about what is wrong."""

import subprocess
import sys
from importlib.metadata import version
from typing import Any

import pytest
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from relay_common.cli import fail, parse_settings
from relay_common.errors import EXIT_FAILURE, EXIT_USAGE, StartupError
from relay_common.log import LogSettings


def _size(validated: dict[str, Any]) -> int:
    return int(validated["count"]) * 2


class Settings(LogSettings):
    """Try things."""

    model_config = SettingsConfigDict(env_prefix="TRY_", cli_prog_name="try-it")

    count: int = Field(default=1, ge=0)
    address: str = Field(default="x", max_length=3, repr=False)
    note: str = ""
    size_hint: int = Field(default_factory=_size)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RELAY_LOG_FORMAT", "RELAY_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str, **options: Any) -> str:
    with pytest.raises(SystemExit) as raised:
        parse_settings(Settings, arguments, **options)
    assert raised.value.code == EXIT_USAGE
    out, err = capsys.readouterr()
    assert (out, err[-1], err.count("\n")) == ("", "\n", 1)
    return err.strip()


def test_flags_go_before_variables_and_variables_before_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRY_COUNT", "3")
    monkeypatch.setenv("TRY_ADDRESS", "env")
    settings = parse_settings(Settings, ["--count", "4"])
    assert (settings.count, settings.address, settings.size_hint) == (4, "env", 8)


def test_the_line_names_the_flag_the_variable_and_the_value(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = refusal(capsys, "--count=-1")
    assert line == (
        "try-it: error: --count (TRY_COUNT): Input should be greater than or equal to 0, not '-1'"
    )


def test_all_mistakes_are_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(capsys, "--count=x", "--size-hint=y")
    assert "--count (TRY_COUNT): " in line
    assert "; --size-hint (TRY_SIZE_HINT): " in line


def test_a_default_that_could_not_be_made_is_not_a_mistake(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "SIZE_HINT" not in refusal(capsys, "--count=x")


def test_a_value_that_may_be_a_key_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(capsys, "--address=sk-0123")
    assert line.startswith("try-it: error: --address (TRY_ADDRESS): ")
    assert "0123" not in line


def test_the_program_that_was_started_says_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRY_COUNT", "x")
    assert refusal(capsys, program="other").startswith("other: error: --count (TRY_COUNT): ")


@pytest.mark.parametrize(
    ("flags", "named"), [((), "TRY_COUNT"), (("count",), "--count (TRY_COUNT)")]
)
def test_only_its_own_flags_are_named(
    flags: tuple[str, ...],
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TRY_COUNT", "x")
    line = refusal(capsys, program="other", flags=flags)
    assert line.startswith(f"other: error: {named}: ")


def test_a_failure_has_its_line_and_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        fail("try-it", StartupError("no luck", exit_code=EXIT_FAILURE))
    assert raised.value.code == EXIT_FAILURE
    assert capsys.readouterr() == ("", "try-it: error: no luck\n")


def test_the_line_of_a_failure_comes_after_all_that_was_logged() -> None:
    """Another thread writes the log."""
    program = """
import logging
from relay_common.cli import fail
from relay_common.errors import StartupError
from relay_common.log import LogSettings, configure_logging
configure_logging(LogSettings())
for number in range(2000):
    logging.getLogger("x").warning("line %d", number)
fail("try-it", StartupError("no luck"))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], stderr=subprocess.PIPE, encoding="utf-8", check=False
    )
    *logged, last = done.stderr.splitlines()
    assert last == "try-it: error: no luck"
    assert len(logged) == 2000


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        parse_settings(Settings, ["--version"])
    assert raised.value.code == 0
    assert capsys.readouterr().out == f"try-it {version('token-relay')}\n"


def test_help_says_nothing_of_python(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_settings(Settings, ["--help"])
    out = capsys.readouterr().out
    assert "--count NUMBER" in out
    assert "--address TEXT" in out
    assert not {"str", "int", "float"} & set(out.split())


def test_help_says_nothing_of_defaults_that_are_none_or_computed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        parse_settings(Settings, ["--help"])
    out = capsys.readouterr().out
    assert "(default: 1)" in out
    assert not [word for word in ("null", "factory", "_size", "None") if word in out]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cuont", "1"], "unrecognized arguments: --cuont 1: did you mean --count?"),
        (["--adress=x"], "unrecognized arguments: --adress=x: did you mean --address?"),
        (["--xyzzy"], "unrecognized arguments: --xyzzy; see --help"),
        (["more"], "unrecognized arguments: more; see --help"),
        (["--count"], "argument --count: expected one argument; see --help"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(capsys, *arguments) == f"try-it: error: {words}"


@pytest.mark.parametrize(("flag", "name"), [("--count", "COUNT"), ("--address", "ADDRESS")])
def test_a_flag_that_says_nothing_is_a_mistake(
    flag: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in ([flag, ""], [f"{flag}="]):
        line = refusal(capsys, *arguments)
        assert line == f"try-it: error: {flag} (TRY_{name}): must not be empty"


def test_a_flag_whose_default_is_empty_may_be() -> None:
    assert parse_settings(Settings, ["--note="]).note == ""


def test_a_variable_that_says_nothing_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRY_COUNT", "")
    assert parse_settings(Settings, []).count == 1
