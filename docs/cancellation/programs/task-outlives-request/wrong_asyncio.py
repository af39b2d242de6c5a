# prints: readers that still wait: 3
import asyncio

tasks = set()


async def read_model(queue):
    while True:
        await queue.put("token")  # waits for somebody to get it


async def handle_request():
    queue = asyncio.Queue(1)
    tasks.add(asyncio.create_task(read_model(queue)))  # a task of nobody
    await queue.get()  # and then the browser leaves


async def main():
    for _ in range(3):
        await handle_request()
    count = len(asyncio.all_tasks()) - 1  # without this one
    print(f"readers that still wait: {count}")


asyncio.run(main())
