# prints: the answer was saved
import asyncio


class Call:
    def __init__(self):
        self._deadline = asyncio.get_running_loop().time() + 0.5

    async def receive(self):
        async with asyncio.timeout_at(self._deadline):  # only around the call's own wait
            await asyncio.sleep(0)
            return "answer"


async def main():
    call = Call()
    await call.receive()
    await asyncio.sleep(0.7)  # the caller's own work
    print("the answer was saved")


asyncio.run(main())
