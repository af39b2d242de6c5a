# prints: two whole frames
import trio


async def writer(stream, frames):  # the only task that waits for the socket
    async for frame in frames:
        await stream.send_all(frame)


async def main():
    ours, peer = map(trio.SocketStream, trio.socket.socketpair())
    send, receive = trio.open_memory_channel(8)
    async with trio.open_nursery() as nursery, send:
        nursery.start_soon(writer, ours, receive)
        for body in (b"A" * 5_000_000, b"B"):
            with trio.move_on_after(1):  # a call, which is cancelled while it waits
                await send.send(b"<" + body + b">")
                await trio.sleep_forever()  # for its answer
        wire = bytearray()
        while not wire.endswith(b"B>"):
            wire += await peer.receive_some()
    print("a frame is cut short" if b"A<" in wire else "two whole frames")


trio.run(main)
