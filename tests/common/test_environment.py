"""Variables that look like settings: which are said to be odd."""

import pytest

from relay_common.environment import odd_variables

FIELDS = ["host", "port", "deadline_seconds", "model_target"]


def said(prefix: str = "RELAY_", **environment: str) -> list[str]:
    return list(odd_variables(environment, FIELDS, prefix))


def test_what_is_a_setting_is_not_odd() -> None:
    assert said(RELAY_HOST="x", RELAY_MODEL_TARGET="x:1", PATH="/", relay_host="") == []


def test_a_typing_mistake_is_said_with_what_was_meant() -> None:
    assert said(RELAY_DEADLIN_SECONDS="5") == [
        "RELAY_DEADLIN_SECONDS is no setting: did you mean RELAY_DEADLINE_SECONDS?"
    ]


def test_what_is_like_no_setting_is_said_alone() -> None:
    assert said(RELAY_XYZZY="5") == ["RELAY_XYZZY is no setting"]


def test_an_empty_value_is_said() -> None:
    assert said(RELAY_HOST="") == ["RELAY_HOST is empty, and counts as not set"]


@pytest.mark.parametrize(
    "name",
    ["RELAY_SERVICE_HOST", "RELAY_SERVICE_PORT", "RELAY_SERVICE_PORT_HTTP", "RELAY_PORT_80_TCP"],
)
def test_what_a_platform_sets_for_a_service_of_the_name_is_not_odd(name: str) -> None:
    assert said(**{name: "tcp://192.0.2.1:80"}) == []


def test_variables_of_the_other_programs_are_theirs() -> None:
    assert said(RELAY_MODEL_PRT="x", RELAY_DEMO_PRT="x") == []
    assert said("RELAY_MODEL_", RELAY_MODEL_PRT="x", RELAY_MODEL_TARGET="x", RELAY_PRT="x") == [
        "RELAY_MODEL_PRT is no setting: did you mean RELAY_MODEL_PORT?"
    ]


def test_variables_for_all_programs_are_looked_at_by_the_one_that_runs() -> None:
    environment = {"RELAY_LOG_FROMAT": "json", "RELAY_LOG_LEVEL": "info"}
    meant = "RELAY_LOG_FROMAT is no setting: did you mean RELAY_LOG_FORMAT?"
    for prefix in ("RELAY_MODEL_", "RELAY_DEMO_"):
        assert list(odd_variables(environment, FIELDS, prefix, with_shared=True)) == [meant]
        assert list(odd_variables(environment, FIELDS, prefix)) == []
