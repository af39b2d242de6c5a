# prints: call 2 received c
import trio

FRAMES = [(1, "a"), (1, "b"), (2, "c")]


async def read_connection(calls):
    for number, data in FRAMES:
        try:
            calls[number].send_nowait(data)
        except trio.WouldBlock:  # it was granted a window of one, and there is a second
            calls[number].close()
            print(f"call {number} is reset: flow control error")


async def main():
    ends = {number: trio.open_memory_channel(1) for number in (1, 2)}
    calls = {number: send for number, (send, _) in ends.items()}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_connection, calls)
        print("call 2 received", await ends[2][1].receive())


trio.run(main)
