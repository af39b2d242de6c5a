# prints: saved into an open database
import asyncio


async def save(database):
    await asyncio.sleep(0.1)
    print("saved into", database["state"], "database")


async def handle(database):
    saving = asyncio.create_task(save(database))
    try:
        await asyncio.shield(saving)
    finally:  # do not leave before save() has ended, or 5 seconds have passed
        await asyncio.wait([saving], timeout=5)


async def main():
    database = {"state": "an open"}
    request = asyncio.create_task(handle(database))
    asyncio.get_running_loop().call_soon(request.cancel)
    await asyncio.wait([request])


asyncio.run(main())
