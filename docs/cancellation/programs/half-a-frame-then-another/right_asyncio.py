# prints: two whole frames
import asyncio
import socket


async def call(writer, body):
    writer.write(b"<" + body + b">")  # a plain call: the transport has the whole frame
    await writer.drain()


async def main():
    ours, peer = socket.socketpair()
    _, writer = await asyncio.open_connection(sock=ours)
    task = asyncio.create_task(call(writer, b"A" * 5_000_000))
    await asyncio.wait([task], timeout=1)  # the peer does not read yet
    task.cancel()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(call(writer, b"B"))
        wire = bytearray()
        while not wire.endswith(b"B>"):
            wire += await asyncio.to_thread(peer.recv, 65536)
    print("a frame is cut short" if b"A<" in wire else "two whole frames")


asyncio.run(main())
