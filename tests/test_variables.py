"""The variables of all programs together: none takes another's for a mistake."""

import pytest

from relay_common.cli import parse_settings
from relay_common.log import LogSettings
from relay_demo.__main__ import DemoSettings
from relay_gateway.settings import GatewaySettings
from relay_model.commands.ask import AskSettings
from relay_model.settings import ModelSettings

PROGRAMS: dict[type[LogSettings], list[str]] = {
    GatewaySettings: [],
    ModelSettings: [],
    AskSettings: ["hello"],
    DemoSettings: [],
}


def variables(settings: type[LogSettings]) -> list[str]:
    prefix = settings.model_config.get("env_prefix", "")
    return [f"{prefix}{field.upper()}" for field in settings.model_fields]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_variable_of_any_program_is_no_mistake(
    program: type[LogSettings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for settings in PROGRAMS:
        for name in variables(settings):
            monkeypatch.setenv(name, "")  # is said to be empty by its own program only
    parse_settings(program, PROGRAMS[program])
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "is no setting" in line] == []
    assert all("is empty, and counts as not set" in line for line in said)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_mistake_is_said_once(
    program: type[LogSettings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = variables(program)[-1]
    monkeypatch.setenv(f"{name}X", "1")
    monkeypatch.setenv("RELAY_LOG_LEVLE", "1")
    parse_settings(program, PROGRAMS[program])
    said = capsys.readouterr().err
    assert said.count(f"{name}X is no setting: did you mean {name}?") == 1
    assert said.count("RELAY_LOG_LEVLE is no setting: did you mean RELAY_LOG_LEVEL?") == 1
