"""Running a program until a signal."""

import os
import signal
import subprocess
import sys
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from relay_common.errors import StartupError
from relay_common.running import run


async def fails_in_a_group(*errors: Exception) -> None:
    await anyio.lowlevel.checkpoint()
    raise ExceptionGroup("of a task group", [ExceptionGroup("of another", errors)])


def test_an_error_of_starting_comes_out_of_its_groups() -> None:
    error = StartupError("no")
    with pytest.raises(StartupError) as raised:
        run(partial(fails_in_a_group, error))
    assert raised.value is error


def test_other_errors_stay_as_they_are() -> None:
    with pytest.RaisesGroup(StartupError, ZeroDivisionError, flatten_subgroups=True):
        run(partial(fails_in_a_group, StartupError("no"), ZeroDivisionError()))


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal to its own process")
def test_interrupted_before_it_has_begun_it_is_silent_as_well() -> None:
    program = (
        "import os, signal\n"
        # As from a terminal: who is started in the background by a shell is to ignore it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from relay_common.running import run\n"
        "async def main(): os.kill(os.getpid(), signal.SIGINT)\n"
        "raise SystemExit(run(main))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env=os.environ, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (130, b"", b"")


def kill_self(number: int) -> None:
    os.kill(os.getpid(), number)


async def until_cancelled(number: int) -> None:
    kill_self(number)
    await anyio.sleep_forever()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_cancels_a_program(number: int, code: int) -> None:
    assert run(partial(until_cancelled, number)) == code


@pytest.mark.parametrize(
    ("number", "code", "name"),
    [(signal.SIGINT, 130, "on_interrupt"), (signal.SIGTERM, 0, "on_terminate")],
)
def test_asked_it_can_end_in_its_own_time(number: int, code: int, name: str) -> None:
    asked = anyio.Event()

    async def main() -> None:
        kill_self(number)
        await asked.wait()

    options: dict[str, Any] = {name: asked.set}
    assert run(main, **options) == code


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_cancels(second: int) -> None:
    asked = anyio.Event()

    async def main() -> None:
        kill_self(signal.SIGTERM)
        await asked.wait()  # two of a kind that are on their way at once are one
        await until_cancelled(second)

    assert run(main, on_terminate=asked.set) == 0


def test_interrupted_it_is_not_asked() -> None:
    calls: list[str] = []
    ends = partial(until_cancelled, signal.SIGINT)
    assert run(ends, on_terminate=partial(calls.append, "asked")) == 130
    assert not calls
