"""Settings: flags, environment variables, and what is said about wrong ones."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from relay_common.cli import parse_settings
from relay_common.errors import EXIT_USAGE
from relay_model.settings import ModelSettings

# Another value than the default for everything that can be set.
OTHER_VALUES = {
    "host": "::1",
    "port": 4711,
    "backend": "local",
    "model": "large",
    "system_prompt": "Be brief.",
    "base_url": "https://models.example/v1",
    "connect_timeout": 1.5,
    "read_timeout": 2.5,
    "retries": 5,
    "demo_delay": 0.25,
    "model_path": Path("/models/x.gguf"),
    "max_concurrent": 5,
    "max_queued": 7,
    "max_prompt_bytes": 8,
    "accept_compression": True,
    "idle_seconds": 90.0,
    "drain_seconds": 3.5,
    "metrics_port": 9100,
    "watchdog_seconds": 0.5,
    "max_tokens": 9,
    "context_size": 1024,
    "threads": 3,
    "temperature": 1.5,
    "log_format": "json",
    "log_level": "error",
}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ModelSettings.model_fields:
        monkeypatch.delenv(f"RELAY_MODEL_{name.upper()}", raising=False)
    for name in ("RELAY_LOG_FORMAT", "RELAY_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)


def refusal(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Give the one line that a command line is refused with."""
    with pytest.raises(SystemExit) as raised:
        parse_settings(ModelSettings, arguments)
    assert raised.value.code == EXIT_USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.strip()


def test_everything_can_be_set() -> None:
    assert OTHER_VALUES.keys() == ModelSettings.model_fields.keys()


def test_defaults() -> None:
    settings = parse_settings(ModelSettings, [])
    assert (settings.host, settings.port) == ("127.0.0.1", 50051)
    assert (settings.backend, settings.demo_delay) == ("demo", 0.1)
    assert (settings.log_format, settings.log_level) == ("console", "info")


@pytest.mark.parametrize(("name", "value"), OTHER_VALUES.items())
def test_a_flag_and_its_variable_do_the_same(
    name: str,
    value: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_flag = parse_settings(ModelSettings, [f"--{name.replace('_', '-')}", str(value)])
    monkeypatch.setenv(f"RELAY_MODEL_{name.upper()}", str(value))
    by_variable = parse_settings(ModelSettings, [])
    assert getattr(by_flag, name) == getattr(by_variable, name) == value
    assert by_flag == by_variable != ModelSettings.model_construct()


def test_a_flag_goes_before_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_MODEL_PORT", "1")
    assert parse_settings(ModelSettings, ["--port", "2"]).port == 2


def test_all_programs_share_the_variables_for_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_LOG_FORMAT", "json")
    monkeypatch.setenv("RELAY_LOG_LEVEL", "debug")
    monkeypatch.setenv("RELAY_MODEL_LOG_LEVEL", "warning")
    settings = parse_settings(ModelSettings, [])
    assert (settings.log_format, settings.log_level) == ("json", "warning")


def test_variables_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_HOST", "0.0.0.0")  # noqa: S104 - not listened on
    monkeypatch.setenv("RELAY_MODEL_TARGET", "127.0.0.1:50051")
    monkeypatch.setenv("RELAY_MODEL_MODEL_PATH", "")
    assert parse_settings(ModelSettings, []) == ModelSettings.model_construct()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--port", "x"], "--port (RELAY_MODEL_PORT): "),
        (["--port", "65536"], "--port (RELAY_MODEL_PORT): "),
        (["--demo-delay", "-1"], "--demo-delay (RELAY_MODEL_DEMO_DELAY): "),
        (["--demo-delay", "inf"], "--demo-delay (RELAY_MODEL_DEMO_DELAY): "),
        (["--max-concurrent", "0"], "--max-concurrent (RELAY_MODEL_MAX_CONCURRENT): "),
        (["--log-level", "loud"], "--log-level (RELAY_MODEL_LOG_LEVEL): "),
        (
            ["--backend", "magic"],
            (
                "--backend (RELAY_MODEL_BACKEND): must be one of demo, local, anthropic, openai,"
                " ollama, not 'magic'"
            ),
        ),
    ],
)
def test_a_wrong_value_is_one_line(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(arguments, capsys)
    assert line.startswith(f"relay-model: error: {complaint}")
    assert line.endswith(f"not {arguments[1]!r}")


@pytest.mark.parametrize(
    "url", ["sk-secret", "ftp://sk-secret", "https://user:sk-secret@host", "https://[sk-secret"]
)
def test_an_address_that_is_wrong_is_not_shown(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(["--base-url", url], capsys)
    assert line.startswith("relay-model: error: --base-url (RELAY_MODEL_BASE_URL): must be http")
    assert "secret" not in line


def test_an_address_is_not_in_the_settings_repr() -> None:
    assert "models.example" not in repr(ModelSettings(base_url="https://models.example/v1"))


def test_a_wrong_variable_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RELAY_MODEL_PORT", "http")
    assert "RELAY_MODEL_PORT" in refusal([], capsys)


def test_an_unknown_flag_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        parse_settings(ModelSettings, ["--prot", "1"])
    assert raised.value.code == EXIT_USAGE
    assert "unrecognized arguments: --prot 1" in capsys.readouterr().err


def test_help_names_every_flag_and_loads_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from relay_model.__main__ import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "finally:\n"
        "    heavy = {'trio', 'anyio', 'grpclib', 'betterproto', 'h2', 'xllamacpp'}\n"
        "    print(heavy & sys.modules.keys())\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True
    )
    assert result.stderr == ""
    assert result.stdout.endswith("set()\n")
    for name in OTHER_VALUES:
        assert f"--{name.replace('_', '-')} " in result.stdout
