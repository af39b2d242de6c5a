# prints: ClosedResourceError
import trio


async def beat(send):
    with send:
        await send.send("ping")


async def read(send):
    with send:
        for number in range(3):
            await send.send(number)


async def main():
    send, receive = trio.open_memory_channel(10)
    async with trio.open_nursery() as tasks:
        tasks.start_soon(beat, send)
        tasks.start_soon(read, send)
    with receive:
        print("events received:", len([event async for event in receive]))


trio.run(main)
