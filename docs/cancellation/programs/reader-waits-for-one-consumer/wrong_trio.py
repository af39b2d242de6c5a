# prints: call 2 is still waiting
import trio

FRAMES = [(1, "a"), (1, "b"), (2, "c")]


async def read_connection(calls):
    for number, data in FRAMES:
        await calls[number].send(data)  # waits for call 1, which reads nothing


async def main():
    ends = {number: trio.open_memory_channel(1) for number in (1, 2)}
    calls = {number: send for number, (send, _) in ends.items()}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_connection, calls)
        with trio.move_on_after(0.5) as patience:
            print("call 2 received", await ends[2][1].receive())
        if patience.cancelled_caught:
            print("call 2 is still waiting")
        nursery.cancel_scope.cancel()


trio.run(main)
