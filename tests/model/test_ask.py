"""`relay-model ask` and `relay-model backends`: what a terminal sees, and what the service does."""

import os
import pty
import signal
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.metadata import EntryPoint, entry_points, metadata, version
from typing import Any

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from grpclib.const import Status

from grpclib_anyio.server import Server
from relay_model.__main__ import main
from relay_model.backends.registry import BACKENDS
from relay_model.commands import backends_command
from relay_model.conversation import Conversation
from relay_model.errors import BackendError
from relay_model.service import AiService
from relay_proto.ai import AiServiceBase, GenerateRequest, GenerateResponse
from tests.support.scripted_backend import ScriptedBackend

pytestmark = pytest.mark.usefixtures("logging_restored")

FOREVER = float("inf")


@asynccontextmanager
async def _served(service: AiServiceBase) -> AsyncGenerator[str, None]:
    async with anyio.create_task_group() as tasks:
        ((host, port),) = await tasks.start(Server([service]).serve, "127.0.0.1", 0)
        yield f"{host}:{port}"
        tasks.cancel_scope.cancel()


@contextmanager
def served(service: AiServiceBase) -> Generator[str, None, None]:
    """Serve in a thread, because the command takes the main one; give the address."""
    with (
        start_blocking_portal("trio") as portal,
        portal.wrap_async_context_manager(_served(service)) as target,
    ):
        yield target


def ask(target: str, *arguments: str) -> int:
    """Give the exit code."""
    # The service logs in the same process.
    options = ["--target", target, "--log-level", "error"]
    try:
        return main(["ask", *options, *(arguments or ["Hello?"])])
    except SystemExit as error:
        return int(error.code or 0)


def counted(service: AiService) -> dict[str, float]:
    """Count the ends of requests by their causes."""
    (metric,) = service.metrics.requests.collect()
    return {s.labels["cause"]: s.value for s in metric.samples if s.name.endswith("_total")}


def test_an_answer_is_written_as_it_comes(capfd: pytest.CaptureFixture[str]) -> None:
    backend = ScriptedBackend("caf\u00e9 ", "", "au\n", "lait")
    with served(AiService(backend)) as target:
        assert ask(target, "--session-id", "s", "null") == 0
    assert backend.conversations == [Conversation.of("null", session_id="s")]
    assert capfd.readouterr() == ("caf\u00e9 au\nlait\n", "")


def test_an_answer_that_ends_its_line_gets_no_other(capfd: pytest.CaptureFixture[str]) -> None:
    with served(AiService(ScriptedBackend("x\n", ""))) as target:
        assert ask(target) == 0
    assert capfd.readouterr() == ("x\n", "")


@pytest.mark.parametrize(
    ("retry_after", "hint"), [(None, ""), (1.5, " (in 1.5 s)"), (30.0, " (in 30 s)")]
)
def test_a_failure_is_one_line(
    retry_after: float | None, hint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    busy = BackendError(Status.RESOURCE_EXHAUSTED, "Try later.", retry_after=retry_after)
    with served(AiService(ScriptedBackend("half", busy))) as target:
        assert ask(target) == 1
    line = f"relay-model ask: error: RESOURCE_EXHAUSTED: Try later.{hint}\n"
    assert capfd.readouterr() == ("half\n", line)


def test_nobody_there_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert ask(f"127.0.0.1:{port}") == 1
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("relay-model ask: error: UNAVAILABLE: ")


def test_a_deadline_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with served(AiService(ScriptedBackend(FOREVER))) as target:
        assert ask(target, "--deadline-seconds", "0.1", "x") == 1
    assert "DEADLINE_EXCEEDED" in capfd.readouterr().err


class CutShort(AiServiceBase):
    async def generate(  # noqa: ASYNC900 - closed by the transport
        self, generate_request: GenerateRequest
    ) -> AsyncIterator[GenerateResponse]:
        yield GenerateResponse(generate_request.prompt)


def test_a_cut_answer_does_not_pass_for_a_whole_one(capfd: pytest.CaptureFixture[str]) -> None:
    with served(CutShort()) as target:
        assert ask(target, "half") == 1
    line = "relay-model ask: error: DATA_LOSS: The answer was cut short.\n"
    assert capfd.readouterr() == ("half\n", line)


class Signalling(ScriptedBackend):
    """Sends the process a signal in the middle of its answer."""

    def __init__(self, number: int) -> None:
        super().__init__("x", FOREVER)
        self._number = number

    @asynccontextmanager
    async def stream(self, conversation: Conversation) -> AsyncGenerator[Any, None]:
        async with (
            super().stream(conversation) as pieces,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(self._signal_soon)
            yield pieces
            tasks.cancel_scope.cancel()

    async def _signal_soon(self) -> None:
        await anyio.sleep(0.1)  # for the piece to be on its way; the test asks no more than that
        os.kill(os.getpid(), self._number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_model(
    number: int, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    service = AiService(Signalling(number))
    with served(service) as target:
        assert ask(target) == code
    assert capfd.readouterr().err == ""
    assert counted(service) == {"client_disconnect": 1}


def test_what_nobody_reads_is_not_asked_for(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    service = AiService(ScriptedBackend("x", FOREVER))
    with served(service) as target, os.fdopen(writing, "w", encoding="utf-8") as out:
        monkeypatch.setattr("sys.stdout", out)
        assert ask(target) == 1
    line = "relay-model ask: error: cannot write the answer: broken pipe\n"
    assert capfd.readouterr().err == line
    assert counted(service) == {"client_disconnect": 1}


def test_interrupted_while_its_reader_stalls_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    service = AiService(Signalling(signal.SIGINT))
    with served(service) as target, os.fdopen(writing, "w", encoding="utf-8") as out:
        os.set_blocking(writing, False)
        with suppress(BlockingIOError):
            while os.write(writing, b"x" * 65_536):
                pass
        os.set_blocking(writing, True)
        monkeypatch.setattr("sys.stdout", out)
        assert ask(target) == 130
        os.read(reading, 2**20)  # lets go of the thread that was left behind
        os.close(reading)
    assert counted(service) == {"client_disconnect": 1}


def test_an_answer_cannot_steer_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    controlling, terminal = pty.openpty()
    backend = ScriptedBackend("a\x1b[2J\x9bb\tc\r\n")
    with served(AiService(backend)) as target, os.fdopen(terminal, "w", encoding="utf-8") as out:
        monkeypatch.setattr("sys.stdout", out)
        assert ask(target) == 0
        shown = os.read(controlling, 1000).decode()
    os.close(controlling)
    # The terminal itself puts the carriage return before the line break.
    assert shown == "a\ufffd[2J\ufffdb\tc\ufffd\r\n"


def test_a_prompt_is_needed(capfd: pytest.CaptureFixture[str]) -> None:
    assert main_code(["ask", ""]) == 2
    line = "relay-model ask: error: --prompt (RELAY_MODEL_PROMPT): must not be empty\n"
    assert capfd.readouterr() == ("", line)


def main_code(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    return int(raised.value.code or 0)


# -- backends -------------------------------------------------------------------------------------


def test_backends_are_listed_with_what_they_need(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(backends_command, "find_spec", {"anthropic": "found"}.get)
    assert main(["backends"]) == 0
    out, err = capfd.readouterr()
    lines = [line.strip() for line in out.splitlines()]
    assert err == ""
    assert "secret" not in out
    assert "needs the extra anthropic: installed" in lines
    assert "reads ANTHROPIC_API_KEY: set" in lines
    assert "needs the extra openai: not installed" in lines
    assert "reads OPENAI_API_KEY: not set" in lines
    assert all(any(line.startswith(name) for line in lines) for name in BACKENDS)


def test_backends_of_other_packages_are_listed_with_where_they_come_from(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (point,) = entry_points(group="console_scripts", name="relay-model")  # for want of another
    unpackaged = EntryPoint("home-made", "home.made:open_backend", "token_relay.backends")
    found = {"acme": point, "home-made": unpackaged}
    monkeypatch.setattr(backends_command, "installed_backends", lambda: found)
    assert main(["backends"]) == 0
    lines = [line.split(maxsplit=1) for line in capfd.readouterr().out.splitlines()[-3:]]
    assert lines[0] == ["acme", metadata("token-relay")["Summary"]]
    assert lines[1] == ["from", f"token-relay {version('token-relay')}"]
    assert lines[2] == ["home-made", "home.made:open_backend"]


def test_backends_takes_no_arguments(capfd: pytest.CaptureFixture[str]) -> None:
    assert main_code(["backends", "--port", "1"]) == 2
    assert "unrecognized arguments" in capfd.readouterr().err
