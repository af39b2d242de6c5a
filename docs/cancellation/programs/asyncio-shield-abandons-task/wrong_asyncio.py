# prints: saved into a closed database
import asyncio


async def save(database):
    await asyncio.sleep(0.1)
    print("saved into", database["state"], "database")


async def handle(database):
    await asyncio.shield(save(database))  # cancelled, it raises at once; save() goes on


async def main():
    database = {"state": "an open"}
    request = asyncio.create_task(handle(database))
    asyncio.get_running_loop().call_soon(request.cancel)
    await asyncio.wait([request])
    database["state"] = "a closed"  # the request is over, so nobody uses it any more
    await asyncio.sleep(0.5)


asyncio.run(main())
