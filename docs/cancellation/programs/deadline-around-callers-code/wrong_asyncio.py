# prints: TimeoutError in the caller's own work
import asyncio


class Call:
    async def __aenter__(self):
        self._timeout = asyncio.timeout(0.1)
        await self._timeout.__aenter__()
        return self

    async def __aexit__(self, *error):
        return await self._timeout.__aexit__(*error)


async def main():
    try:
        async with Call() as _call:
            # ... the answer is here in time, and what follows is the caller's own work:
            await asyncio.sleep(0.5)
            print("the answer was saved")
    except TimeoutError:
        print("TimeoutError in the caller's own work")


asyncio.run(main())
