"""What every test of a provider's backend gets: a key, and the wire formats in turn."""

import pytest

from tests.relay_model.providers.wires import WIRES, Wire

KEY = "sk-0123456789-abcdefghij"


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have keys, and nothing else that a library would look for in the environment."""
    for variable in (
        "ANTHROPIC_BASE_URL",
        "ANTHROPIC_AUTH_TOKEN",
        "OPENAI_BASE_URL",
        "OLLAMA_HOST",
    ):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OLLAMA_API_KEY"):
        monkeypatch.setenv(variable, KEY)


@pytest.fixture(params=WIRES, ids=[wire.name for wire in WIRES])
def wire(request: pytest.FixtureRequest) -> Wire:
    """Give each provider's format."""
    given: Wire = request.param
    return given
