# prints: after the loop the model has stopped
from contextlib import aclosing

import asyncio

state = []


async def tokens():
    try:
        state.append("still runs")
        yield "token"
    finally:
        state.append("has stopped")


async def main():
    async with aclosing(tokens()) as answer:
        async for _token in answer:
            break
    print("after the loop the model", state[-1])


asyncio.run(main())
