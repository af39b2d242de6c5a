"""Backends of other packages: settings of their own, and a start that fails in one line."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from pydantic_settings import BaseSettings, SettingsConfigDict

from relay_common.errors import StartupError
from relay_model.backends import registry
from relay_model.backends.demo import DemoBackend
from relay_model.backends.settings import BackendSettings
from tests.support.answers import opening_failure, whole_answer

pytestmark = pytest.mark.anyio

MINE = BackendSettings(backend="mine")


class OwnSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="MINE_")

    delay: float = 0.0


class Point:
    """An entry point that gives what a test wants."""

    value = "mine:open_backend"

    def __init__(self, loaded: Any) -> None:
        self.load = lambda: loaded


def install(monkeypatch: pytest.MonkeyPatch, opener: Any) -> None:
    monkeypatch.setattr(registry, "installed_backends", lambda: {"mine": Point(opener)})


@asynccontextmanager
async def open_own(settings: BackendSettings) -> AsyncGenerator[DemoBackend]:
    del settings
    yield DemoBackend(OwnSettings().delay)


async def test_it_has_settings_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, open_own)
    monkeypatch.setenv("MINE_DELAY", "0")
    async with registry.open_backend(MINE) as backend:
        assert (await whole_answer(backend, "hi"))[0][-1] == "hi "


async def test_a_wrong_setting_of_its_own_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, open_own)
    monkeypatch.setenv("MINE_DELAY", "sk-secret")
    line = await opening_failure(MINE)
    assert line.startswith("the backend mine does not start: delay: Input should be a valid number")
    assert "sk-secret" not in line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (StartupError("needs a program"), "needs a program"),
        (OSError("no\nsuch file"), "the backend mine does not start: OSError: no such file"),
        (KeyError("x"), "the backend mine does not start: KeyError: 'x'"),
        (ExceptionGroup("two", [StartupError("needs a program")]), "needs a program"),
    ],
)
async def test_a_start_that_fails_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    @asynccontextmanager
    async def fail(settings: BackendSettings) -> AsyncGenerator[DemoBackend]:
        await anyio.lowlevel.checkpoint()
        if settings.retries >= 0:
            raise error
        yield DemoBackend(0)

    install(monkeypatch, fail)
    assert await opening_failure(MINE) == line


async def test_a_start_that_fails_before_its_context_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, lambda: None)
    assert "TypeError" in await opening_failure(MINE)


async def test_what_fails_later_is_no_failed_start(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, open_own)
    with pytest.raises(ZeroDivisionError):
        async with registry.open_backend(MINE):
            raise ZeroDivisionError
