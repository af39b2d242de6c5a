"""Each check sees what it is for, and says what it was."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parents[1]

#: Each of these tests passes but for what it leaves, which is told by these words.
LEAKY = """
import asyncio, os, socket, threading
import anyio, pytest, trio
from grpclib_anyio._base.config import Configuration
from grpclib_anyio._connection.connection import Connection
from grpclib_anyio._stream.stream import MessageStream
from grpclib_anyio.testing import ChannelFor, memory_pair
from harness.peer import Call, Methods, Raw
from harness.leaks import process

kept = []
process.THREAD_EXIT_TIMEOUT = 0.1


async def forever():
    while True:
        yield
        await anyio.lowlevel.checkpoint()


@pytest.mark.trio
async def test_task_on_trio():  # task
    trio.lowlevel.spawn_system_task(trio.sleep_forever)
    await trio.lowlevel.checkpoint()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_task_on_asyncio():  # task
    kept.append(asyncio.create_task(asyncio.sleep(1000)))
    await asyncio.sleep(0)


@pytest.mark.trio
async def test_generator_not_closed():  # generator that was not closed: forever
    kept.append(forever())
    await anext(kept[-1])


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_generator_dropped():  # generator that was dropped: forever
    async for _ in forever():
        break


@pytest.mark.trio
async def test_connection_not_left():  # 1 connections that were not left
    near, _ = memory_pair()
    kept.append(Connection(near, Configuration().__for_client__(), client_side=True))
    async with trio.open_nursery() as nursery:
        await kept[-1].__aenter__()
        kept[-1].close()
        kept[-1]._tasks.cancel_scope.cancel()
        kept[-1]._scope.cancel()
        await kept[-1]._tasks.__aexit__(None, None, None)


@pytest.mark.trio
async def test_stream_not_released():  # holds ConnectionStatistics(streams=1
    async def answer(stream):
        await trio.sleep_forever()

    async with ChannelFor([Methods(stream=answer)], Raw()) as channel:
        call = Call(channel).open()
        await call.send_message(b"request")
        kept.extend(channel._connector.connections)


@pytest.mark.trio
async def test_memory_channel():  # memory channel
    namespace = {"__name__": "grpclib_anyio.client", "trio": trio}
    kept.append(eval("trio.open_memory_channel(1)", namespace))
    await trio.lowlevel.checkpoint()


def test_descriptor():  # descriptor
    kept.append(os.pipe())


def test_thread():  # thread
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def test_unclosed_socket_in_a_cycle():  # unclosed
    cycle = [socket.socket()]
    cycle.append(cycle)


def test_coroutine_in_a_cycle():  # was never awaited
    async def function():
        pass

    cycle = [function()]
    cycle.append(cycle)


def test_exception_in_a_finalizer():  # ZeroDivisionError
    class Faulty:
        def __del__(self):
            1 / 0

    cycle = [Faulty()]
    cycle.append(cycle)


def test_garbage(no_garbage):  # garbage in a cycle: 1
    wire = []
    wire.append(MessageStream(wire, 1, Configuration().__for_client__()))


@pytest.mark.may_leak("it is what this is for")
def test_that_may_leak():
    kept.append(os.pipe())


def test_that_leaves_nothing():
    pass
"""

_TEST = re.compile(r"^(?:async )?def (test_\w+)\(.*\):(?:  # (.*))?$", re.MULTILINE)


def test_each_leak_is_seen(tmp_path: Path) -> None:
    leaky, report = tmp_path / "test_leaky.py", tmp_path / "report.xml"
    leaky.write_text(LEAKY)
    plugins = ("-p", "conftest", "-p", "no:cacheprovider")
    options = ("-c", ROOT / "pyproject.toml", "--rootdir", tmp_path, f"--junit-xml={report}")
    command = [sys.executable, "-m", "pytest", *plugins, *map(str, options), str(leaky)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    seen = _failures(report)
    expected = dict(
        re.findall(r"^(?:async )?def (test_\w+)\(.*\):(?:  # (.*))?$", LEAKY, re.MULTILINE)
    )
    assert seen.keys() == expected.keys()
    missing = {name: seen[name] for name, words in expected.items() if words not in seen[name]}
    assert missing == {}
    assert [name for name, words in expected.items() if not words and seen[name]] == []


def _failures(report: Path) -> dict[str, str]:
    """Give what each test failed with, by its name."""
    failures: dict[str, str] = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest's own
        name = case.get("name", "").partition("[")[0]
        texts = [*case.itertext()]
        failures[name] = failures.get(name, "") + "".join(texts)
    return failures
