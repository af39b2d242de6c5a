"""Errors of a start: their exit codes, and how they are found in exception groups."""

import pytest

from relay_common.errors import EXIT_FAILURE, EXIT_USAGE, StartupError, startup_error


def test_a_wrong_setting_is_the_usual_reason() -> None:
    assert StartupError("x").exit_code == EXIT_USAGE
    assert StartupError("x", exit_code=EXIT_FAILURE).exit_code == EXIT_FAILURE


def test_the_error_of_a_group_is_found_however_deep() -> None:
    error = StartupError("x")
    assert startup_error(BaseExceptionGroup("", [error])) is error
    assert startup_error(ExceptionGroup("", [ExceptionGroup("", [error])])) is error


def test_of_several_the_first_is_told() -> None:
    first, second = StartupError("a"), StartupError("b")
    assert startup_error(ExceptionGroup("", [first, second])) is first


@pytest.mark.parametrize("other", [ZeroDivisionError(), KeyboardInterrupt()])
def test_a_group_with_another_error_is_not_about_the_start(other: BaseException) -> None:
    assert startup_error(BaseExceptionGroup("", [other])) is None
    assert startup_error(BaseExceptionGroup("", [StartupError("x"), other])) is None
