"""A client of model services: grpcio's, in a process of its own.

For example::

    python -m bench.grpc_load '{"port": 50051, "streams": 1, "work": {"tokens": 200000}}'

It asks once for a warm-up and prints a line of JSON. Then it asks for all streams at once, reads
them to their ends, and prints a second line: the number of tokens, and the seconds that they took.
"""

import asyncio
import json
import sys
import time
from typing import Any

import grpc.aio
import uvloop

from bench.peers import import_stubs
from bench.work import Work

_WARM_UP = Work(tokens=1000)

messages, services = import_stubs()


async def _read(stub: Any, work: Work) -> int:
    request = messages.GenerateRequest(prompt=work.prompt())
    tokens = 0
    async for _ in stub.Generate(request):
        tokens += 1
    return tokens - 1  # the last message has no token


async def _measure(port: int, streams: int, work: Work) -> dict[str, Any]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = services.AIServiceStub(channel)
        await _read(stub, _WARM_UP)
        print(json.dumps({"begins": True}), flush=True)
        began = time.monotonic()
        tokens = await asyncio.gather(*(_read(stub, work) for _ in range(streams)))
        return {"tokens": sum(tokens), "seconds": time.monotonic() - began}


def main() -> None:
    """Do the job that the command line describes."""
    job = json.loads(sys.argv[1])
    measurement = _measure(job["port"], job["streams"], Work(**job["work"]))
    print(json.dumps(uvloop.run(measurement)), flush=True)


if __name__ == "__main__":
    main()
