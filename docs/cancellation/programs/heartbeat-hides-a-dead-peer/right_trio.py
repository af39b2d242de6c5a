# prints: no token: given up
import trio
from trio.testing import MockClock


async def beat(send):  # the relay's own pings: the model behind it is dead
    while True:
        await trio.sleep(15)
        await send.send("ping")


async def main():
    send, receive = trio.open_memory_channel(0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(beat, send)
        with trio.move_on_after(3600) as hour:
            with trio.move_on_after(60):  # for the next token, however many pings come first
                while await receive.receive() == "ping":
                    pass
        print("still waiting after an hour" if hour.cancelled_caught else "no token: given up")
        nursery.cancel_scope.cancel()


trio.run(main, clock=MockClock(autojump_threshold=0))
