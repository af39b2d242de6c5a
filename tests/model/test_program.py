"""``relay-model`` as a program: signals, exit codes, and what it writes."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import anyio
import anyio.to_thread
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from grpclib_anyio.client import Channel
from relay_proto.ai import AiServiceStub, GenerateRequest
from tests.support.local_model import needs_local_model

COMMAND = (sys.executable, "-m", "relay_model", "--port", "0", "--log-format", "json")

# Seconds; only a program that hangs takes as long.
PATIENCE = 20

BACKENDS = ["demo", pytest.param("local", marks=needs_local_model)]


class Program:
    """The program, up and listening."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._stderr = cast("IO[str]", process.stderr)
        self.port: int = json.loads(self._stderr.readline())["addresses"][0][1]

    def end(self, *signals: int) -> tuple[int, list[str]]:
        """Send signals, each when there was something to read about the one before.

        Give the exit code and what was written from the first on.
        """
        self._process.send_signal(signals[0])
        before: list[str] = []
        for number in signals[1:]:
            before.append(self._stderr.readline())
            self._process.send_signal(number)
        _, written = self._process.communicate(timeout=PATIENCE)
        return self._process.returncode, [*before, *written.splitlines()]


@contextmanager
def running(*arguments: str) -> Generator[Program, None, None]:
    with subprocess.Popen(
        [*COMMAND, *arguments], stderr=subprocess.PIPE, encoding="utf-8"
    ) as process:
        try:
            yield Program(process)
        finally:
            process.kill()


def outcome(*arguments: str) -> tuple[int, str]:
    """Give the exit code and the output of a program that ends by itself."""
    result = subprocess.run(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )
    return result.returncode, result.stdout


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, []), (signal.SIGTERM, 0, ["draining"])]
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_signal_ends_it_at_once(number: int, code: int, said: list[str], backend: str) -> None:
    with running("--backend", backend, "--drain-seconds", "1000") as program:
        exit_code, written = program.end(number)
    assert exit_code == code
    assert [json.loads(line)["event"] for line in written] == said


@pytest.mark.parametrize(
    ("backend", "signals"),
    [
        ("demo", [signal.SIGINT]),
        ("demo", [signal.SIGTERM]),
        ("demo", [signal.SIGTERM, signal.SIGINT]),
        pytest.param("local", [signal.SIGTERM], marks=needs_local_model),
    ],
)
@pytest.mark.trio
async def test_signals_end_answers_too(backend: str, signals: list[int]) -> None:
    """SIGTERM after its grace, a second one during that at once."""
    grace = "0.3" if signals == [signal.SIGTERM] else "1000"
    arguments = ("--backend", backend, "--demo-delay", "1000", "--drain-seconds", grace)
    with running(*arguments) as program:
        async with Channel("127.0.0.1", program.port) as channel:
            answer = AiServiceStub(channel).generate(
                GenerateRequest(prompt="Write a very long story about a dog.")
            )
            assert (await anext(answer)).token
            _, written = await anyio.to_thread.run_sync(program.end, *signals)
            with pytest.raises(GRPCError) as raised:
                _ = [message async for message in answer]
    assert raised.value.status is Status.UNAVAILABLE
    lines = [json.loads(line) for line in written]
    (line,) = [line for line in lines if line["event"] == "request ended"]
    assert (line["cause"], line["status"]) == ("shutdown", "UNAVAILABLE")


@pytest.mark.trio
async def test_a_drain_waits_for_answers() -> None:
    with running("--demo-delay", "0.2", "--drain-seconds", "1000") as program:
        async with Channel("127.0.0.1", program.port) as channel:
            answer = AiServiceStub(channel).generate(GenerateRequest(prompt="hello"))
            said = [(await anext(answer)).token]
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.to_thread.run_sync, program.end, signal.SIGTERM)
                said += [message.token async for message in answer]
    assert "".join(said) == "Streaming response to: hello "


def test_a_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert outcome("--port", str(port)) == (
            1,
            f"relay-model: error: cannot listen on 127.0.0.1:{port}: address already in use\n",
        )


@needs_local_model
def test_a_missing_model_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "none.gguf"
    assert outcome("--backend", "local", "--model-path", str(path)) == (
        2,
        f"relay-model: error: cannot read the model {path}: No such file or directory\n",
    )


def test_a_wrong_setting_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_MODEL_BACKEND", "magic")
    assert outcome() == (
        2,
        (
            "relay-model: error: --backend (RELAY_MODEL_BACKEND): must be one of demo, local,"
            " anthropic, openai, ollama, not 'magic'\n"
        ),
    )
