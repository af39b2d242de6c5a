# prints: closed, and the model is reset
from contextlib import aclosing

import asyncio


async def events():
    try:
        yield "data: token"
        yield "event: done"  # only when the answer has ended
    finally:
        print("closed, and the model is reset")


async def main():
    async with aclosing(events()) as answer:
        async for _event in answer:
            break  # the browser leaves


asyncio.run(main())
