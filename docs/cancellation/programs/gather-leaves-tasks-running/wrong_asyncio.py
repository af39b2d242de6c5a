# prints: charged after the order had failed
import asyncio


async def reserve():
    raise ValueError("sold out")


async def charge():
    await asyncio.sleep(0.1)
    print("charged after the order had failed")


async def main():
    try:
        await asyncio.gather(reserve(), charge())
    except ValueError:
        await asyncio.sleep(0.5)  # the server goes on


asyncio.run(main())
