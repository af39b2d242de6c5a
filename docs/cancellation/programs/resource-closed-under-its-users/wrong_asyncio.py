# prints: ROLLBACK on a closed connection
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
    async with asyncio.TaskGroup() as tasks:
        with socket.socket() as database:  # closed first, and then the task ends
            task = tasks.create_task(handle(database))
            await asyncio.sleep(0.1)
            task.cancel()


asyncio.run(main())
