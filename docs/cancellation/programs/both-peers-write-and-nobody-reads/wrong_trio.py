# prints: both wait for ever
import trio


async def peer(stream):
    await stream.send_all(bytes(5_000_000))  # more than the buffers between them take
    with stream.socket:
        received = 0
        while received < 5_000_000:
            received += len(await stream.receive_some())


async def main():
    ours, theirs = map(trio.SocketStream, trio.socket.socketpair())
    with trio.move_on_after(1) as limit:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer, ours)
            nursery.start_soon(peer, theirs)
    print("both wait for ever" if limit.cancelled_caught else "both have their answer")


trio.run(main)
