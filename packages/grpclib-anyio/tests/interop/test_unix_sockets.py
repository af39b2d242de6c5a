"""Unix sockets instead of TCP."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from interop.conftest import Pair
from interop.contract import Reply, tokens
from interop.peer import Endpoint

pytestmark = pytest.mark.anyio


async def test_unix_socket(pair: Pair) -> None:
    # pytest's own directory may be too deep for the 108 bytes of a socket's path.
    with TemporaryDirectory() as directory:
        async with pair.connected(Endpoint(path=str(Path(directory, "socket")))) as client:
            assert await client.unary("Echo", "hello") == Reply("hello")
            assert await client.generate("count 100") == tokens(100)
            async with client.open("hang 1", "s") as call:
                assert await call.receive() == "0 "
                await call.cancel()
                await pair.witness.see_ended("s")
