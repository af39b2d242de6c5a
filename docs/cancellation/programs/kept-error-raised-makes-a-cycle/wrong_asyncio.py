# prints: the call is garbage, for the collector
import asyncio
import gc
import weakref


class Call:
    error = ConnectionError("reset by the peer")

    async def receive(self):
        raise self.error  # which now holds this frame, and this frame holds self


async def main():
    gc.disable()
    alive = weakref.ref(call := Call())
    try:
        await call.receive()
    except ConnectionError:
        del call
    print("the call is", "garbage, for the collector" if alive() else "freed at once")


asyncio.run(main())
