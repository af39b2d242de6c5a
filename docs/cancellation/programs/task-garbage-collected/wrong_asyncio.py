# prints: Task was destroyed but it is pending!
import asyncio
import gc


async def listen():
    message = asyncio.get_running_loop().create_future()
    await message  # only this task knows the future, and only the future knows the task


async def main():
    asyncio.create_task(listen())
    await asyncio.sleep(0)
    gc.collect()
    print("tasks:", len(asyncio.all_tasks()))


asyncio.run(main())
