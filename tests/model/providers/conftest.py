"""What every test of a provider's backend gets: a key, and each wire format."""

from pathlib import Path

import pytest
import trustme

from tests.support.provider_wires import WIRES, Wire

KEY = "sk-0123456789-abcdefghij"


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Give who signs the certificates of servers."""
    return trustme.CA()


@pytest.fixture(scope="session")
def certificates(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the file of those whom clients trust: the system's would take 30 ms for each client."""
    path = tmp_path_factory.mktemp("certificates") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, certificates: Path) -> None:
    """Have keys, and nothing else that a library would look for in the environment."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates))
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
