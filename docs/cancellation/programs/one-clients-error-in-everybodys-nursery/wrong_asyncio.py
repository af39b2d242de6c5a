# prints: the server ends
import asyncio


async def handle(request):
    request.decode("ascii")  # raises for the second client
    await asyncio.sleep(1)
    print("answered", request)


async def main():
    try:
        async with asyncio.TaskGroup() as tasks:
            for request in (b"good", b"\xff"):
                tasks.create_task(handle(request))
    except* ValueError as errors:
        print("the server ends:", *errors.exceptions)


asyncio.run(main())
