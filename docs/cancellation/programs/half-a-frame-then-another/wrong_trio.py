# prints: a frame is cut short
import trio


async def call(stream, body):
    await stream.send_all(b"<" + body + b">")  # cancelled here, a part of the frame is sent


async def main():
    ours, peer = map(trio.SocketStream, trio.socket.socketpair())
    with trio.move_on_after(1):  # the peer does not read yet
        await call(ours, b"A" * 5_000_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, ours, b"B")
        wire = bytearray()
        while not wire.endswith(b"B>"):
            wire += await peer.receive_some()
    print("a frame is cut short" if b"A<" in wire else "two whole frames")


trio.run(main)
