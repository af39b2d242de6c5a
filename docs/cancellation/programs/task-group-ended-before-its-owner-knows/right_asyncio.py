# prints: the connection says good-bye
import asyncio


async def reader(requests, handlers, stopping):
    while request := await requests.get():
        if not stopping.is_set():
            handlers.create_task(asyncio.sleep(request))


async def main(requests):
    try:
        async with asyncio.TaskGroup() as connection:
            async with asyncio.TaskGroup() as handlers:
                stopping = asyncio.Event()
                connection.create_task(reader(requests, handlers, stopping))
                stopping.set()  # before the group ends
            requests.put_nowait(0.1)  # a request that comes before the connection is closed
            requests.put_nowait(None)
        print("the connection says good-bye")
    except* RuntimeError as errors:
        print(*errors.exceptions)


asyncio.run(main(asyncio.Queue()))
