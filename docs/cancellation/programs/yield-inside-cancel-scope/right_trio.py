# prints: ExceptionGroup: Exceptions from Trio nursery (1 sub-exception)
from contextlib import asynccontextmanager

import trio


async def fail():
    raise ValueError("in the background")


@asynccontextmanager
async def open_chunks():
    async with trio.open_nursery() as nursery:  # entered and left by the same task
        nursery.start_soon(fail)
        yield ["first"]


async def main():
    async with open_chunks() as chunks:
        for _chunk in chunks:
            await trio.sleep(1)


trio.run(main)
