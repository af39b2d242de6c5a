# prints: nothing was charged
import asyncio


async def reserve():
    raise ValueError("sold out")


async def charge():
    await asyncio.sleep(0.1)
    print("charged after the order had failed")


async def main():
    try:
        async with asyncio.TaskGroup() as order:
            order.create_task(reserve())
            order.create_task(charge())
    except* ValueError:
        await asyncio.sleep(0.5)  # the server goes on
        print("nothing was charged")


asyncio.run(main())
