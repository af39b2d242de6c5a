# prints: the proxy got a ping
import trio
from trio.testing import MockClock


async def beat(proxy):
    while True:
        await proxy.send("a ping")
        await trio.sleep(15)


async def main():
    send, receive = trio.open_memory_channel(0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(beat, send)  # the model thinks for 90 seconds meanwhile
        event = "nothing for 60 seconds: closed"
        with trio.move_on_after(60):
            event = await receive.receive()
        print("the proxy got", event)
        nursery.cancel_scope.cancel()


trio.run(main, clock=MockClock(autojump_threshold=0))
