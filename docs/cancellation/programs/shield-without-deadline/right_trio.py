# prints: the shutdown is complete
import trio


async def write(stream):
    with trio.move_on_after(0.5, shield=True) as patience:
        await stream.send_all(bytes(10_000_000))
    if patience.cancelled_caught:
        stream.socket.close()  # a plain call; half of an answer must not be followed by another


async def main():
    ours, _peer = trio.socket.socketpair()  # the peer reads nothing
    async with trio.open_nursery() as server:
        server.start_soon(write, trio.SocketStream(ours))
        server.cancel_scope.cancel()  # the shutdown
    print("the shutdown is complete")


trio.run(main)
