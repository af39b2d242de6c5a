# prints: 16 calls were reset at once
import asyncio


async def call(number, resets):
    try:
        await asyncio.sleep(60)
    finally:
        resets.add(number)


async def main():
    resets = set()
    tasks = [asyncio.create_task(call(number, resets)) for number in range(16)]
    await asyncio.sleep(0)
    for number, task in enumerate(tasks):  # sixteen browsers leave
        resets.add(number)  # a plain call, where the news arrives
        task.cancel()
    print(len(resets), "calls were reset at once")


asyncio.run(main())
