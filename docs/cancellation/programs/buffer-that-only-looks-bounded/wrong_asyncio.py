# prints: more than 5 MB wait in memory
import asyncio
import socket


async def answer(writer):
    for _ in range(100):
        writer.write(bytes(100_000))  # returns at once, whatever the peer does
        await asyncio.sleep(0)


async def main():
    ours, _peer = socket.socketpair()  # the peer reads nothing
    _, writer = await asyncio.open_connection(sock=ours)
    await answer(writer)
    size = writer.transport.get_write_buffer_size()
    print("more" if size > 5_000_000 else "less", "than 5 MB wait in memory")
    writer.transport.abort()


asyncio.run(main())
