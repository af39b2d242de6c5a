# prints: events received: 4
import anyio


async def beat(send):
    with send:
        await send.send("ping")


async def read(send):
    with send:
        for number in range(3):
            await send.send(number)


async def main():
    send, receive = anyio.create_memory_object_stream(10)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(beat, send.clone())
        tasks.start_soon(read, send)
    with receive:
        print("events received:", len([event async for event in receive]))


anyio.run(main)
