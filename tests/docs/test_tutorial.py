"""docs/tutorial.md, followed to the letter in an empty folder.

Each block of the page is a step. A block with a file's name as its title is that file. A block of
``sh`` is what a person types, and a block of ``text`` is what they then see. "terminal 1" is where
the server runs. For example, ``terminal 1 shows`` waits for these lines of the server.

Two things differ from what a person does. Packages are not installed, because this environment has
them; the test asks that it does. And another port than 50051 is used, because tests run side by
side.
"""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)
_SECONDS = 50

pytestmark = pytest.mark.timeout(120)  # it starts six Pythons, one after the other


@dataclass(frozen=True)
class Block:
    """One block of the page."""

    language: str
    title: str
    text: str


def blocks() -> Iterator[Block]:
    """Give the page's blocks in their order."""
    for language, title, text in _BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        yield Block(language, title, text)


@dataclass
class Reader:
    """A person who follows the page, block by block, in one folder and two terminals."""

    folder: Path
    port: int
    exits: ExitStack
    #: What the last command printed that the page does not yet have shown.
    printed: str = ""
    server: subprocess.Popen[str] | None = None
    environment: dict[str, str] = field(default_factory=lambda: {**os.environ})

    def follow(self, block: Block) -> None:
        """Do what a block says, or see what it shows."""
        text = block.text.replace("50051", str(self.port))
        if block.language == "text":
            self._see(block.title, text)
        elif block.language == "sh":
            self._type(block.title, text)
        else:
            (self.folder / block.title).write_text(text, encoding="utf-8")

    def _type(self, terminal: str, commands: str) -> None:
        done = list(self._without_installation(commands))
        if terminal == "terminal 1":
            (command,) = done
            self.server = self.exits.enter_context(self._started(command))
            self.exits.callback(self.server.kill)
        elif done:
            self.printed = self._run("\n".join(done))

    def _without_installation(self, commands: str) -> Iterator[str]:
        for line in commands.splitlines():
            words = shlex.split(line, comments=True)
            if line.startswith("mkdir countdown"):
                (self.folder / "countdown").mkdir()
            elif line.startswith("cd "):
                self.folder /= words[1]
            elif words[:4] == ["python", "-m", "pip", "install"]:
                _is_installed(words[4:])
            elif "venv" not in line and not line.startswith("export "):
                yield line

    def _run(self, commands: str) -> str:
        done = subprocess.run(
            ["/bin/sh", "-e", "-c", commands],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def _started(self, command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            shlex.split(command),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def _see(self, terminal: str, expected: str) -> None:
        if terminal == "terminal 1 shows":
            assert self.server is not None
            if expected == "goodbye\n":
                self.server.send_signal(signal.SIGINT)  # "Press Ctrl-C in the first terminal"
            shown = _read_lines(self.server.stdout, expected.count("\n"))
        else:
            shown = self.printed
        assert _without_times(shown) == _without_times(expected)


def _is_installed(requirements: list[str]) -> None:
    """Ask whether each distribution is here, in the version that is asked for."""
    for requirement in requirements:
        # "$TOKEN_RELAY/packages/grpclib-anyio[betterproto]" is ours, imported from wherever it is.
        name, _, wanted = requirement.rpartition("/")[2].partition("==")
        name = name.partition("[")[0]
        if name != "grpclib-anyio":
            assert version(name).startswith(wanted)


def _read_lines(stream: IO[str] | None, count: int) -> str:
    assert stream is not None
    return "".join(stream.readline() for _ in range(count))


def _without_times(text: str) -> str:
    return re.sub(r"in [\d.]+s", "in a moment", text)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A person in an empty folder, whose server is killed in the end."""
    with socket.create_server(("127.0.0.1", 0)) as found, ExitStack() as exits:
        reader = Reader(tmp_path, found.getsockname()[1], exits)
        found.close()
        # `python` is this one, as if its environment had been activated.
        reader.environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        yield reader


def test_tutorial_works_as_it_is_written(reader: Reader) -> None:
    for block in blocks():
        reader.follow(block)
    assert reader.server is not None
    assert reader.server.wait(_SECONDS) == 0


def test_every_file_and_terminal_is_known() -> None:
    titles = {block.title for block in blocks() if block.title}
    files = {title for title in titles if "." in title}
    assert files == {
        "countdown.proto",
        "server.py",
        "client.py",
        "impatient.py",
        "test_countdown.py",
    }
    assert titles - files == {"terminal 1", "terminal 2", "terminal 1 shows", "terminal 2 shows"}
