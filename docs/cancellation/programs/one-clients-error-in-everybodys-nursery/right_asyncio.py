# prints: answered b'good'
import asyncio


async def handle(request):
    try:
        request.decode("ascii")  # raises for the second client
        await asyncio.sleep(1)
        print("answered", request)
    except Exception as error:  # ends this connection, and no other
        print("closed a connection:", error)


async def main():
    async with asyncio.TaskGroup() as tasks:
        for request in (b"good", b"\xff"):
            tasks.create_task(handle(request))


asyncio.run(main())
