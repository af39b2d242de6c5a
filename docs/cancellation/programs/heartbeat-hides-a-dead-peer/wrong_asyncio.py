# prints: still waiting after six limits
import asyncio


async def beat(queue):  # the relay's own pings: the model behind it is dead
    while True:
        await queue.put("ping")
        await asyncio.sleep(0.01)


async def token(queue):
    event = "ping"
    while event == "ping":  # each event has half a second, a ping as well
        event = await asyncio.wait_for(queue.get(), 0.5)


async def main():
    pings = asyncio.create_task(beat(queue := asyncio.Queue(1)))
    done, _ = await asyncio.wait([asyncio.create_task(token(queue))], timeout=3)
    print(*[repr(task.exception()) for task in done] or ["still waiting after six limits"])
    pings.cancel()


asyncio.run(main())
