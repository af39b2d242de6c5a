# prints: the shutdown still waits
import asyncio
import socket


async def answer(writer):
    try:
        writer.write(bytes(10_000_000))
        await writer.drain()  # the peer reads nothing
    finally:
        writer.close()
        await writer.wait_closed()  # until all is sent; cancelled once, it is not again


async def main():
    ours, _peer = socket.socketpair()
    _, writer = await asyncio.open_connection(sock=ours)
    task = asyncio.create_task(answer(writer))
    asyncio.get_running_loop().call_soon(task.cancel)
    _, pending = await asyncio.wait([task], timeout=0.5)
    print("the shutdown", "still waits" if pending else "is complete")
    writer.transport.abort()


asyncio.run(main())
