# prints: a frame is cut short
import asyncio
import socket


async def call(sock, body):  # cancelled here, a part of the frame is sent
    await asyncio.get_running_loop().sock_sendall(sock, b"<" + body + b">")


async def main():
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    task = asyncio.create_task(call(ours, b"A" * 5_000_000))
    await asyncio.wait([task], timeout=1)  # the peer does not read yet
    task.cancel()
    await asyncio.wait([task])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(call(ours, b"B"))
        wire = bytearray()
        while not wire.endswith(b"B>"):
            wire += await asyncio.to_thread(peer.recv, 65536)
    print("a frame is cut short" if b"A<" in wire else "two whole frames")


asyncio.run(main())
