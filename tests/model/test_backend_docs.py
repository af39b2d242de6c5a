"""What docs/backends.md says: the package in it is installed, found and run."""

import re
import sys
import tomllib
from pathlib import Path

import anyio
import pytest
from grpclib.const import Status

from relay_model.backends.registry import BACKENDS, open_backend
from relay_model.conversation import Conversation
from relay_model.errors import BackendError
from relay_model.outcome import FinishReason
from relay_model.settings import ModelSettings
from tests.support.answers import opening_failure, text

TEXT = Path(__file__, "../../../docs/backends.md").resolve().read_text(encoding="utf-8")

pytestmark = pytest.mark.trio


def code(language: str) -> str:
    *_, block = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    return str(block)


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the package of the document, as a wheel would be."""
    ((group, points),) = tomllib.loads(code("toml"))["project"]["entry-points"].items()
    ((name, value),) = points.items()
    (tmp_path / f"{value.partition(':')[0]}.py").write_text(code("python"), encoding="utf-8")
    metadata = tmp_path / "program_backend-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Name: program-backend\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "program_backend", raising=False)


def program(path: Path, script: str) -> ModelSettings:
    """Have the backend run a script of the shell."""
    command = path / "command"
    command.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    command.chmod(0o700)
    return ModelSettings(backend="program", model=str(command))


async def test_it_answers(tmp_path: Path) -> None:
    settings = program(tmp_path, 'echo "You said: $1"')
    async with open_backend(settings) as backend, backend.stream(Conversation.of("hi")) as pieces:
        assert "".join([text(piece) async for piece in pieces]) == "You said: hi\n"
        assert pieces.outcome.finish_reason is FinishReason.STOP


async def test_leaving_it_ends_the_program(tmp_path: Path) -> None:
    settings = program(tmp_path, "echo $$; exec sleep 60")
    pid = ""
    with anyio.fail_after(10), anyio.CancelScope() as scope:
        async with (
            open_backend(settings) as backend,
            backend.stream(Conversation.of("x")) as pieces,
        ):
            pid = text(await anext(pieces)).strip()
            scope.cancel()
            await anext(pieces)
    assert pid
    assert not await anyio.Path("/proc", pid).exists()


async def test_a_program_that_fails_is_no_whole_answer(tmp_path: Path) -> None:
    settings = program(tmp_path, "echo half; exit 3")

    async def ask() -> None:
        async with (
            open_backend(settings) as backend,
            backend.stream(Conversation.of("x")) as pieces,
        ):
            assert await anext(pieces) == "half\n"
            await anext(pieces)

    with pytest.raises(BackendError) as raised:
        await ask()
    assert (raised.value.status, raised.value.detail) == (Status.INTERNAL, "exit code 3")


async def test_it_says_what_it_needs() -> None:
    assert "needs --model" in await opening_failure(ModelSettings(backend="program"))


async def test_every_backend_is_described() -> None:
    await anyio.lowlevel.checkpoint()
    described = set(re.findall(r"^\| `(\w+)` \|", TEXT.partition("\n## ")[0], re.MULTILINE))
    assert described == set(BACKENDS)
