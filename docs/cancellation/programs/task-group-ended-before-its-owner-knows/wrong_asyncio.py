# prints: is finished
import asyncio


async def reader(requests, handlers):
    while request := await requests.get():
        handlers.create_task(asyncio.sleep(request))


async def main(requests):
    try:
        async with asyncio.TaskGroup() as connection:
            async with asyncio.TaskGroup() as handlers:
                connection.create_task(reader(requests, handlers))
            requests.put_nowait(0.1)  # a request that comes before the connection is closed
            requests.put_nowait(None)
        print("the connection says good-bye")
    except* RuntimeError as errors:
        print(*errors.exceptions)


asyncio.run(main(asyncio.Queue()))
