# prints: ROLLBACK on an open connection
import asyncio
import socket


async def handle(database):
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.1)
        state = "a closed" if database.fileno() == -1 else "an open"
        print("ROLLBACK on", state, "connection")


async def main():
    with socket.socket() as database:  # closed when no task is left
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(handle(database))
            await asyncio.sleep(0.1)
            task.cancel()


asyncio.run(main())
