# prints: still waiting after an hour
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
            silence = trio.CancelScope()
            while not silence.cancelled_caught:  # each event has 60 seconds, a ping as well
                with trio.move_on_after(60) as silence:
                    await receive.receive()
        print("still waiting after an hour" if hour.cancelled_caught else "no token: given up")
        nursery.cancel_scope.cancel()


trio.run(main, clock=MockClock(autojump_threshold=0))
