"""What a provider's backend needs before it opens: a library, a model, a key."""

import sys

import pytest

from relay_model.settings import ModelSettings
from tests.support.answers import opening_failure
from tests.support.provider_backend import settings_for
from tests.support.provider_wires import ANTHROPIC, OPENAI, Wire

pytestmark = pytest.mark.trio

URL = "http://127.0.0.1:1"


async def test_without_its_library_it_says_how_to_get_it(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, wire.name, None)
    message = await opening_failure(settings_for(wire, URL))
    assert message.startswith(f"{wire.name} is not installed: pip install '")
    assert f"'{wire.name}" in message
    assert "token-relay" not in message  # which is on no index


async def test_without_a_model_it_says_so(wire: Wire) -> None:
    message = await opening_failure(settings_for(wire, URL, model=None))
    assert message == f"the {wire.name} backend needs --model (RELAY_MODEL_MODEL)"


@pytest.mark.parametrize("given", [ANTHROPIC, OPENAI], ids=["anthropic", "openai"])
async def test_without_a_key_it_says_so(given: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = f"{given.name.upper()}_API_KEY"
    monkeypatch.delenv(variable)
    message = await opening_failure(ModelSettings(backend=given.name, model="m"))
    assert message == f"{variable} is not set"


@pytest.mark.parametrize("key", ["sk-0123456789\n", "sk-0123 456789", "sk-0123456789\u00e9"])
async def test_what_cannot_be_a_key_is_not_tried_and_not_shown(
    wire: Wire, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"{wire.name.upper()}_API_KEY"
    monkeypatch.setenv(variable, key)
    message = await opening_failure(settings_for(wire, URL))
    assert message.startswith(f"{variable} holds a space, a line break or another character")
    assert "0123" not in message


async def test_anthropics_own_api_takes_no_temperature() -> None:
    message = await opening_failure(ModelSettings(backend="anthropic", model="m", temperature=0.5))
    assert message == "--temperature is not for the anthropic backend: the provider takes none"
