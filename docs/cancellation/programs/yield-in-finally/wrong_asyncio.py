# prints: RuntimeError: async generator ignored GeneratorExit
from contextlib import aclosing

import asyncio


async def events():
    try:
        yield "data: token"
    finally:
        yield "event: done"  # also when the browser has left and the generator is closed


async def main():
    async with aclosing(events()) as answer:
        async for _event in answer:
            break  # the browser leaves


asyncio.run(main())
