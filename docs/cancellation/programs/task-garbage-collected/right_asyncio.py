# prints: tasks: 2
import asyncio
import gc


async def listen():
    message = asyncio.get_running_loop().create_future()
    await message


async def main():
    async with asyncio.TaskGroup() as group:  # holds its tasks, and waits for them
        listener = group.create_task(listen())
        await asyncio.sleep(0)
        gc.collect()
        print("tasks:", len(asyncio.all_tasks()))
        listener.cancel()


asyncio.run(main())
