# prints: the shutdown is complete
import asyncio
import socket


async def answer(writer):
    try:
        writer.write(bytes(10_000_000))
        await writer.drain()  # the peer reads nothing
    finally:
        writer.transport.abort()  # a plain call, which drops what is not sent


async def main():
    ours, _peer = socket.socketpair()
    _, writer = await asyncio.open_connection(sock=ours)
    task = asyncio.create_task(answer(writer))
    asyncio.get_running_loop().call_soon(task.cancel)
    _, pending = await asyncio.wait([task], timeout=5)
    print("the shutdown", "still waits" if pending else "is complete")
    writer.transport.abort()


asyncio.run(main())
