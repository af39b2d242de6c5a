# prints: the call is freed at once
import gc
import weakref

import trio


class Call:
    error = ConnectionError("reset by the peer")

    async def receive(self):
        raise type(self.error)(*self.error.args)  # an equal one, which nobody keeps


async def main():
    gc.disable()
    alive = weakref.ref(call := Call())
    try:
        await call.receive()
    except ConnectionError:
        del call
    print("the call is", "garbage, for the collector" if alive() else "freed at once")


trio.run(main)
