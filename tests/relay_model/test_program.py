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
import anyio.lowlevel
import anyio.to_thread
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from grpclib_anyio.client import Channel
from relay_proto.ai import AiServiceStub, GenerateRequest
from tests.relay_model.installed import needs_local_model

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

    def end(self, number: int) -> tuple[int, list[str]]:
        """Send a signal; give the exit code and what was written from then on."""
        self._process.send_signal(number)
        _, written = self._process.communicate(timeout=PATIENCE)
        return self._process.returncode, written.splitlines()


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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_signal_ends_it_in_silence(number: int, code: int, backend: str) -> None:
    with running("--backend", backend) as program:
        assert program.end(number) == (code, [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.trio
async def test_a_signal_ends_answers_too(number: int, backend: str) -> None:
    with running("--backend", backend, "--demo-delay", "1000") as program:
        async with Channel("127.0.0.1", program.port) as channel:
            answer = AiServiceStub(channel).generate(
                GenerateRequest(prompt="Write a very long story about a dog.")
            )
            assert (await anext(answer)).token
            _, written = await anyio.to_thread.run_sync(program.end, number)
            with pytest.raises(GRPCError) as raised:
                _ = [message async for message in answer]
    assert raised.value.status is Status.UNAVAILABLE
    (line,) = [json.loads(line) for line in written]
    assert (line["event"], line["cause"]) == ("request ended", "shutdown")


def test_a_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert outcome("--port", str(port)) == (
            1,
            f"relay-model: error: cannot listen on 127.0.0.1:{port}: address already in use\n",
        )


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
