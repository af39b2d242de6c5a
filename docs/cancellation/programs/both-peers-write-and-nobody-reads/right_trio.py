# prints: both have their answer
import trio


async def peer(stream):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, bytes(5_000_000))
        received = 0
        while received < 5_000_000:
            received += len(await stream.receive_some())


async def main():
    ours, theirs = map(trio.SocketStream, trio.socket.socketpair())
    with trio.move_on_after(4) as limit:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer, ours)
            nursery.start_soon(peer, theirs)
    print("both wait for ever" if limit.cancelled_caught else "both have their answer")


trio.run(main)
