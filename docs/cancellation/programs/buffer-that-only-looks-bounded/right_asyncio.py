# prints: less than 5 MB wait in memory
import asyncio
import socket


async def answer(writer):
    for _ in range(100):
        writer.write(bytes(100_000))
        async with asyncio.timeout(0.5):  # this peer never reads: give up
            await writer.drain()


async def main():
    ours, _peer = socket.socketpair()
    _, writer = await asyncio.open_connection(sock=ours)
    try:
        await answer(writer)
    except TimeoutError:
        size = writer.transport.get_write_buffer_size()
        print("more" if size > 5_000_000 else "less", "than 5 MB wait in memory")
    writer.transport.abort()


asyncio.run(main())
