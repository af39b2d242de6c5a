# prints: after the loop the model still runs
import asyncio

state = []


async def tokens():
    try:
        state.append("still runs")
        yield "token"
    finally:
        state.append("has stopped")


async def main():
    async for _token in tokens():
        break
    print("after the loop the model", state[-1])


asyncio.run(main())
